"""G-RMI (Papandreou et al., CVPR 2017, arXiv 1701.01779): a disk around each keypoint, and from its pixels the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

_FAR = 1e7  # pixels; a disk so far away is off every map


def disks_and_offsets(
    xy: ArrayLike, labelled: ArrayLike, map_wh: tuple[int, int], *, radius: float, dtype: DTypeLike = np.float32
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Targets of one person (section 3.2 of the paper).

    Args:
        xy: (K, 2) in map pixels; anything where not labelled.
        labelled: (K,).
        map_wh: width and height of the maps.
        radius: of the disks, map pixels; pixels at exactly this distance belong to them.
        dtype: of the offsets; float16 is exact to 0.01 pixels up to a radius of 32.

    Returns:
        disks bool (K, H, W); offsets (K, 2, H, W), x and y from the pixel to the keypoint in map pixels,
        0 outside the disk.
    """
    points, known = np.asarray(xy, np.float64), np.asarray(labelled, np.bool_)
    known = known & (np.abs(points) < _FAR).all(axis=-1)
    disks = np.zeros((len(points), map_wh[1], map_wh[0]), np.bool_)
    offsets = np.zeros((len(points), 2, map_wh[1], map_wh[0]), dtype)
    # Of each joint only the pixels of the square around the disk.
    first = np.ceil(np.where(known[:, None], points, 0) - radius)
    pixels = first[:, :, None] + np.arange(int(2 * radius) + 1)
    away = points[:, :, None] - pixels
    on_map = (pixels >= 0) & (pixels < np.array(map_wh)[:, None]) & known[:, None, None]
    near = (away[:, 0] ** 2)[:, None, :] + (away[:, 1] ** 2)[:, :, None] <= radius**2
    joint, row, column = np.nonzero(near & on_map[:, 0][:, None, :] & on_map[:, 1][:, :, None])
    x, y = pixels[joint, 0, column].astype(np.int64), pixels[joint, 1, row].astype(np.int64)
    disks[joint, y, x] = True
    offsets[joint, 0, y, x] = away[joint, 0, column]
    offsets[joint, 1, y, x] = away[joint, 1, row]
    return disks, offsets
