"""Centres and boxes of people: "Objects as Points" (Zhou et al. 2019, arXiv 1904.07850, section 3).

Boxes count from the picture's edge, as `Record.boxes` do: the centre of map cell i lies at (i + 0.5) · stride.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_runtime.arrays import Float64Array, FloatArray

MIN_OVERLAP = 0.7
"""IoU that a box keeps when its corners move by the radius, as in the published code; CornerNet's paper has 0.3."""
_EDGE = 0.1  # of the Gaussian's height: what is lower teaches no distances


def gaussian_radius(sizes: NDArray[np.floating], min_overlap: float = MIN_OVERLAP) -> Float64Array:
    """How far both corners of a box may move, each in its own direction, before its IoU falls below `min_overlap`.

    CornerNet (Law and Deng 2018, arXiv 1808.01244, section 3.2): the smallest of three cases: both corners move
    inwards, both outwards, or the box moves. Their code divides the three roots wrongly; these are the right ones.

    Args:
        sizes: (N, 2): widths and heights, any unit.
        min_overlap: above 0, below 1.

    Returns:
        float64 (N,), in the unit of `sizes`.
    """
    width, height = np.asarray(sizes, np.float64).reshape(-1, 2).T
    around, area, t = width + height, width * height, min_overlap
    inwards = (around - np.sqrt(around**2 - 4 * (1 - t) * area)) / 4
    outwards = (np.sqrt(around**2 + 4 * (1 / t - 1) * area) - around) / 4
    moved = (around - np.sqrt(around**2 - 4 * (1 - t) / (1 + t) * area)) / 2
    return np.asarray(np.minimum(np.minimum(inwards, outwards), moved))


def box_targets(
    boxes: FloatArray, map_wh: tuple[int, int], stride: int
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """What the maps of a detector shall show.

    A peak is a Gaussian, sigma a third of `gaussian_radius` but at least a third of a cell, around the cell in which
    the box's centre lies; where people meet, the higher one counts. Distances are learnt around the peaks too, with
    the Gaussian as their weight (TTFNet, Liu et al. 2019, arXiv 1909.00700): with the centres alone, as published,
    they take several times as long. A cell belongs to the person whose peak is highest there, of equal ones to the
    smaller person.

    Args:
        boxes: (N, 4): left, top, width, height, input pixels, inside the input.
        map_wh: width and height of the maps.
        stride: input pixels per cell.

    Returns:
        heat float32 (h, w), 1 in the centres' cells; distances float32 (4, h, w), from a cell's centre to the left,
        top, right and bottom side, in strides; weights float32 (h, w) of the distances; centres bool (h, w).
    """
    width, height = map_wh
    heat = np.zeros((height, width), np.float32)
    distances = np.zeros((4, height, width), np.float32)
    centres = np.zeros((height, width), np.bool_)
    x, y = np.arange(width), np.arange(height)
    cells = np.asarray(boxes, np.float64) / stride
    radii = np.maximum(gaussian_radius(cells[:, 2:]), 1.0)
    for i in np.argsort(cells[:, 2] * cells[:, 3], kind="stable"):
        left, top, wide, high = cells[i]
        column = min(int(left + wide / 2), width - 1)
        row = min(int(top + high / 2), height - 1)
        peak = np.exp(-((x - column) ** 2 + (y - row)[:, None] ** 2) / (2 * (radii[i] / 3) ** 2))
        own = peak > heat
        heat[own] = peak[own]
        sides = (x + 0.5 - left, y + 0.5 - top, left + wide - x - 0.5, top + high - y - 0.5)
        for side, values in enumerate(sides):
            values = values if side % 2 == 0 else values[:, None]
            distances[side][own] = np.broadcast_to(values, own.shape)[own]
        centres[row, column] = True
    weights = np.where((heat >= _EDGE) & (distances > 0).all(axis=0), heat, np.float32(0))
    return heat, distances * (weights > 0), weights, centres
