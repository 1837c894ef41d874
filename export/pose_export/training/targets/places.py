"""From input pixels to map pixels, and which map pixels may be learnt."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_runtime.arrays import Float64Array
from pose_runtime.decode import Grid
from pose_runtime.errors import ExportError


def map_size(input_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Width and height of a map of that stride.

    Raises:
        ExportError: the input is not a whole number of map pixels.
    """
    width, height = input_wh
    if width % stride or height % stride or min(width, height) < stride:
        raise ExportError(f"input size: got {width} x {height}, wanted multiples of the map's stride {stride}")
    return width // stride, height // stride


def to_map(xy: NDArray[np.floating], input_wh: tuple[int, int], map_wh: tuple[int, int], grid: Grid) -> Float64Array:
    """Points (..., 2) of the input in pixels of a map: what a decoder with that `grid` takes back."""
    points = np.asarray(xy, np.float64)
    source, target = np.array(input_wh, np.float64), np.array(map_wh, np.float64)
    if grid == "aligned":
        return points * ((target - 1) / np.maximum(source - 1, 1))
    if grid == "corner":
        return points * (target / source)
    return (points + 0.5) * (target / source) - 0.5


def learnt(ignored: NDArray[np.bool_] | None, map_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W) of the map: True where the loss counts, which is where less than half of a cell is ignored."""
    if ignored is None:
        return np.ones((map_wh[1], map_wh[0]), np.bool_)
    share = cv2.resize(ignored.astype(np.float32), map_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(share < 0.5)
