"""What is known of a rendered picture: where keypoints are, which are seen, boxes and areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.render import Rendering
from pose_export.synthetic.view import View
from pose_export.training.record import HIDDEN, VISIBLE

Floats = NDArray[np.float32]

IN_FRONT = 2.3
"""A surface hides a joint when it is this many radii of the flesh nearer, and 15 mm of cloth: joints lie inside."""
MIN_PIXELS = 40
MIN_SEEN = 0.05
"""Who shows fewer pixels, or a smaller share of the body, is not labelled: nobody could tell who that is."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One person in the world.

    Attributes:
        owner: as in `Rendering.owner`.
        keypoints: float32 (17, 3), metres, world.
        radii: float32 (17,), metres.
        outline: float32 (n, 3), some points of the surface, metres, world.
    """

    owner: int
    keypoints: Floats
    radii: Floats
    outline: Floats


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of N people, as `Record` has them; `ignored` covers people who can be seen but not told."""

    keypoints: Floats
    boxes: Floats
    areas: Floats
    ids: NDArray[np.int64]
    ignored: NDArray[np.bool_] | None


def label(view: View, rendering: Rendering, figures: list[Figure]) -> Labels:
    """Exact labels of everybody who can be told in the picture."""
    ignored = np.zeros(rendering.owner.shape, np.bool_)
    rows: list[tuple[Floats, Floats, float, int]] = []
    for figure in figures:
        seen = rendering.owner == figure.owner
        area = int(seen.sum())
        if not area:
            continue
        keypoints = _keypoints(view, rendering, figure)
        visible = int((keypoints[:, 2] == VISIBLE).sum())
        if area < MIN_PIXELS or visible < 2 or area < MIN_SEEN * _whole(view, figure):
            ignored |= seen
            continue
        rows.append((keypoints, _box(seen), float(area), figure.owner))
    return Labels(
        keypoints=np.stack([row[0] for row in rows]) if rows else np.zeros((0, 17, 3), np.float32),
        boxes=np.stack([row[1] for row in rows]) if rows else np.zeros((0, 4), np.float32),
        areas=np.array([row[2] for row in rows], np.float32),
        ids=np.array([row[3] for row in rows], np.int64),
        ignored=ignored if ignored.any() else None,
    )


def _keypoints(view: View, rendering: Rendering, figure: Figure) -> Floats:
    """(17, 3): x, y, v; zeros, which is not labelled, outside the picture."""
    points, depth = view.project(figure.keypoints.astype(np.float64))
    width, height = view.size_wh
    result = np.zeros((17, 3), np.float32)
    for i, ((x, y), metres) in enumerate(zip(points, depth, strict=True)):
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        if metres <= 0.05 or not (0 <= column < width and 0 <= row < height):
            continue
        owner = rendering.owner[row, column]
        flesh = IN_FRONT * float(figure.radii[i]) + 0.015 if owner == figure.owner else 0.0
        nearer = float(metres) - float(rendering.depth[row, column])
        result[i] = x, y, HIDDEN if nearer > flesh else VISIBLE
    return result


def _box(seen: NDArray[np.bool_]) -> Floats:
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    return np.array([columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]], np.float32)


def _whole(view: View, figure: Figure) -> float:
    """Pixels that the body would cover inside the picture if nothing stood before it, roughly."""
    points, depth = view.project(figure.outline.astype(np.float64))
    inside = (depth > 0.05) & (points >= 0).all(1) & (points < view.size_wh).all(1)
    if inside.sum() < 3:
        return 0.0
    extent = np.ptp(points[inside], axis=0)
    return 0.35 * float(extent[0] * extent[1])
