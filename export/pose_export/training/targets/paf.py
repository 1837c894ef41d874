"""Part affinity fields (Cao et al., CVPR 2017, arXiv 1611.08050): along each limb, the direction it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.arrays import Float64Array, FloatArray, IntArray

Divisor = Literal["present", "people"]


def part_affinity_fields(
    xy: ArrayLike,
    labelled: ArrayLike,
    pairs: Sequence[tuple[int, int]],
    map_wh: tuple[int, int],
    *,
    half_width: float,
    overhang: float = 0.0,
    divisor: Divisor = "present",
) -> FloatArray:
    """Unit vectors from the first to the second keypoint of each limb, averaged over people.

    A pixel p belongs to a limb of length l and direction v that starts at a where 0 <= v·(p - a) <= l and p is at most
    `half_width` away from the line (section 2.3). Limbs of no length have no direction and are left out.
    The paper stops at the keypoints, so that a limb shorter than a pixel may touch none; the code of OpenPose and
    Lightweight OpenPose takes a box that is wider than the limb on all sides, which `overhang` is for.

    Args:
        xy: (N, K, 2) in map pixels; anything where not labelled.
        labelled: (N, K).
        pairs: of keypoints, one per limb.
        map_wh: width and height of the map.
        half_width: map pixels.
        overhang: map pixels beyond both ends that belong to the limb.
        divisor: `present`, the paper's: how many people have a vector at the pixel; `people`: how many people there
            are, labelled or not.

    Returns:
        float32 (2L, H, W): x and y of the first limb, then of the second, and so on.
    """
    points, known = np.asarray(xy, np.float64), np.asarray(labelled, np.bool_)
    width, height = map_wh
    ends = np.asarray(pairs, np.int64).reshape(-1, 2)
    fields = np.zeros((len(ends), 2, height, width), np.float32)
    start, way = points[:, ends[:, 0]], points[:, ends[:, 1]] - points[:, ends[:, 0]]
    usable = known[:, ends].all(axis=-1) & (np.isfinite(start) & np.isfinite(way)).all(axis=-1) & way.any(axis=-1)
    people, limbs = np.nonzero(usable)
    if not len(limbs):
        return fields.reshape(-1, height, width)
    start, way = start[people, limbs], way[people, limbs]
    length = np.hypot(way[:, 0], way[:, 1])
    which, rows, columns = _on_limb(start, way, length, map_wh, half_width, overhang)
    cell = (limbs[which] * height + rows) * width + columns
    share = np.ones(fields[:, 0].size)
    if divisor == "present":
        share = np.maximum(np.bincount(cell, minlength=share.size), share)
    else:
        share *= len(points)
    for axis in (0, 1):
        sums = np.bincount(cell, weights=(way[:, axis] / length)[which], minlength=share.size)
        fields[:, axis] = (sums / share).reshape(len(ends), height, width)
    return fields.reshape(-1, height, width)


def _on_limb(
    start: Float64Array,
    way: Float64Array,
    length: Float64Array,
    map_wh: tuple[int, int],
    half_width: float,
    overhang: float,
) -> tuple[IntArray, IntArray, IntArray]:
    """Limb, row and column of all pixels that lie on n limbs; start and way (n, 2), length (n,)."""
    width, height = map_wh
    reach, more, square = (half_width * length)[:, None], (overhang * length)[:, None], (way**2).sum(axis=1)[:, None]
    dy = np.arange(height) - start[:, 1:]
    # On each row a limb is a run of pixels. The run is taken a pixel too long, for divisions are not exact.
    low, high = _between(way[:, :1], way[:, 1:] * dy, -more, square + more)
    low_across, high_across = _between(-way[:, 1:], way[:, :1] * dy, -reach, reach)
    first = np.floor(np.clip(np.maximum(low, low_across) + start[:, :1], 0, width)).astype(np.int64)
    last = np.ceil(np.clip(np.minimum(high, high_across) + start[:, :1], -1, width - 1)).astype(np.int64)
    counts = np.maximum(last - first + 1, 0).ravel()
    run = np.repeat(np.arange(counts.size), counts)
    columns = np.arange(run.size) - np.repeat(np.cumsum(counts) - counts, counts) + first.ravel()[run]
    which, rows = run // height, run % height
    dx, dy = columns - start[which, 0], dy[which, rows]
    along = way[which, 0] * dx + way[which, 1] * dy
    across = way[which, 0] * dy - way[which, 1] * dx
    on = (along >= -more[which, 0]) & (along <= (square + more)[which, 0]) & (np.abs(across) <= reach[which, 0])
    return which[on], rows[on], columns[on]


def _between(
    factor: Float64Array, offset: Float64Array, least: Float64Array, most: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """The range of x in which factor · x + offset lies from least to most; everything where the factor is 0."""
    flat = factor == 0
    divisor = np.where(flat, 1, factor)
    ends = (least - offset) / divisor, (most - offset) / divisor
    return np.where(flat, -np.inf, np.minimum(*ends)), np.where(flat, np.inf, np.maximum(*ends))


def line_integral(field: ArrayLike, start: ArrayLike, end: ArrayLike, *, samples: int = 10) -> Float64Array:
    """How well a field agrees with the limbs from `start` to `end` (section 2.3): 1 on a limb's own target.

    Args:
        field: (2, H, W), x and y.
        start, end: (..., 2) x, y in map pixels.
        samples: points from end to end, both included, each at its nearest pixel; pixels off the map count 0.

    Returns:
        float64 (...): mean of the field's component along the limb; 0 where it has no length.
    """
    vectors, a, b = np.asarray(field), np.asarray(start, np.float64), np.asarray(end, np.float64)
    height, width = vectors.shape[1:]
    length = np.linalg.norm(b - a, axis=-1, keepdims=True)
    direction = np.divide(b - a, length, out=np.zeros_like(b - a), where=length > 0)
    points = a[..., None, :] + np.linspace(0, 1, samples)[:, None] * (b - a)[..., None, :]
    pixels = np.floor(points + 0.5).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=-1)
    x, y = np.where(inside, pixels[..., 0], 0), np.where(inside, pixels[..., 1], 0)
    agreement = vectors[0][y, x] * direction[..., None, 0] + vectors[1][y, x] * direction[..., None, 1]
    return np.asarray(np.where(inside, agreement, 0).mean(axis=-1), np.float64)
