"""COCO's segmentations as masks: polygons, and run lengths as a list or as COCO's packed text.

Run lengths count pixels column by column, 0 first. They are decoded here because pycocotools' decoder leaves memory
uninitialised where they cover less than the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]

MAX_POLYGONS = 1000
MAX_COORDINATES = 100_000
"""Of one annotation; COCO's longest has a few thousand."""


def segmentation_mask(segmentation: Any, size_wh: tuple[int, int]) -> Mask:
    """bool (H, W) of one annotation's `segmentation`, as JSON gives it.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...], of which those with less than three corners are left out,
            or {"size": [H, W], "counts": list or text}.
        size_wh: of the picture.

    Raises:
        ValueError: neither of them, one of another size, or run lengths that do not cover the picture exactly.
    """
    if isinstance(segmentation, dict):
        return _runs_mask(segmentation, size_wh)
    if not isinstance(segmentation, list) or len(segmentation) > MAX_POLYGONS:
        raise ValueError(f"segmentation: wanted run lengths or at most {MAX_POLYGONS} polygons")
    return _polygon_mask(segmentation, size_wh)


def _polygon_mask(polygons: list[Any], size_wh: tuple[int, int]) -> Mask:
    width, height = size_wh
    kept = []
    for polygon in polygons:
        corners = _corners(polygon)
        if len(corners) >= 3:  # pycocotools takes two corners for a box
            kept.append(np.clip(corners, 0, (width, height)).ravel().tolist())
    if not kept:
        return np.zeros((height, width), bool)
    runs = coco_mask.merge(coco_mask.frPyObjects(kept, height, width))
    return _runs_mask({"size": [height, width], "counts": runs["counts"].decode("ascii")}, size_wh)


def _corners(polygon: Any) -> NDArray[np.float64]:
    """float64 (n, 2)."""
    if not isinstance(polygon, list) or len(polygon) > MAX_COORDINATES or len(polygon) % 2:
        raise ValueError("segmentation: wanted polygons of pairs of numbers")
    if not all(type(value) in (int, float) for value in polygon):
        raise ValueError("segmentation: wanted polygons of numbers")
    corners = np.array(polygon, np.float64).reshape(-1, 2)
    if not np.isfinite(corners).all():
        raise ValueError("segmentation: wanted finite numbers")
    return corners


def _runs_mask(segmentation: dict[str, Any], size_wh: tuple[int, int]) -> Mask:
    width, height = size_wh
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"segmentation: got the size {segmentation.get('size')}, wanted [{height}, {width}]")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = unpack_runs(counts, width * height)
    if not isinstance(counts, list) or len(counts) > width * height + 1:
        raise ValueError("segmentation: wanted run lengths")
    if not all(type(count) is int and 0 <= count <= width * height for count in counts):
        raise ValueError("segmentation: wanted run lengths within the picture")
    if sum(counts) != width * height:
        raise ValueError(f"segmentation: run lengths cover {sum(counts)} pixels of {width * height}")
    values = np.arange(len(counts)) % 2 == 1
    mask: Mask = np.repeat(values, counts).reshape(width, height).T
    return mask


def unpack_runs(text: str, pixels: int) -> list[int]:
    """Run lengths in COCO's packed text: 5 bits a character from '0' on, the 6th says that more follow.

    From the fourth on, each is stored as its difference to the one before the last.

    Raises:
        ValueError: characters that are none of these, or a run length above `pixels`.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("segmentation: packed run lengths are damaged")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if not 0 <= value <= pixels:
            raise ValueError("segmentation: packed run lengths are damaged")
        runs.append(value)
        value = shift = 0
    if shift:
        raise ValueError("segmentation: packed run lengths are cut off")
    return runs
