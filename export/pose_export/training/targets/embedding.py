"""Where the tags of each person are read: associative embedding (Newell et al., NeurIPS 2017, arXiv 1611.05424)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def tag_places(xy: ArrayLike, labelled: ArrayLike, map_wh: tuple[int, int], *, max_people: int) -> NDArray[np.int32]:
    """int32 (max_people, K, 2): index into the flattened tag maps (K, H, W), and 1; 0, 0 where there is no joint.

    The pixel is the truncated point, as in the authors' code and HigherHRNet; joints off the map are left out.

    Args:
        xy: (N, K, 2) in map pixels; anything where not labelled. People beyond `max_people` are left out.
        labelled: (N, K).
        map_wh: width and height of the tag maps.
        max_people: rows of the result.
    """
    width, height = map_wh
    points = np.asarray(xy, np.float64)[:max_people]
    known = np.asarray(labelled, np.bool_)[:max_people]
    pixel = np.trunc(np.where(known[..., None], np.nan_to_num(points, nan=-1.0), -1))
    inside = np.asarray(((pixel >= 0) & (pixel < map_wh)).all(axis=-1))
    x, y = np.where(inside[..., None], pixel, 0).astype(np.int64).transpose(2, 0, 1)
    places = np.zeros((max_people, points.shape[1], 2), np.int32)
    index = (np.arange(points.shape[1]) * height + y) * width + x
    places[: len(points), :, 0] = np.where(inside, index, 0)
    places[: len(points), :, 1] = inside
    return places
