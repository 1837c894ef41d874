"""G-RMI (Papandreou et al., CVPR 2017, arXiv 1701.01779): a disk around each keypoint, and from its pixels the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_runtime.arrays import FloatArray


def disks_and_offsets(
    xy: ArrayLike, labelled: ArrayLike, map_wh: tuple[int, int], *, radius: float
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Targets of one person (eqs. 1, 2 of section 3.2).

    Args:
        xy: (K, 2) in map pixels; anything where not labelled.
        labelled: (K,).
        map_wh: width and height of the maps.
        radius: of the disks, map pixels; pixels at exactly this distance belong to them.

    Returns:
        disks bool (K, H, W); offsets float32 (K, 2, H, W), x and y from the pixel to the keypoint in map pixels,
        0 outside the disk.
    """
    points, known = np.asarray(xy, np.float64), np.asarray(labelled, np.bool_)
    points = np.where(known[:, None], points, np.inf)
    away_x = points[:, 0, None] - np.arange(map_wh[0])
    away_y = points[:, 1, None] - np.arange(map_wh[1])
    disks = (away_x**2)[:, None, :] + (away_y**2)[:, :, None] <= radius**2
    offsets = np.zeros((len(points), 2, map_wh[1], map_wh[0]), np.float32)
    joint, y, x = np.nonzero(disks)
    offsets[joint, 0, y, x] = away_x[joint, x]
    offsets[joint, 1, y, x] = away_y[joint, y]
    return disks, offsets
