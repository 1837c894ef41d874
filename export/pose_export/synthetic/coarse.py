"""Meshes with fewer triangles, for people who are far away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pose_export.synthetic.surface import Surface

LEVELS = (0.0, 0.006, 0.012, 0.024, 0.05)
"""Sides of the cells, metres."""


def level_for(metres_per_pixel: float) -> int:
    """The coarsest level whose cells are smaller than three quarters of a pixel."""
    return max(i for i, side in enumerate(LEVELS) if side <= 0.75 * metres_per_pixel)


def coarser(surface: Surface, level: int) -> Surface:
    """All vertices in a cell become one, at their mean; collapsed triangles are dropped (Rossignac & Borrel 1993)."""
    side = LEVELS[level]
    if not side or len(surface.positions) < 200:
        return surface
    cells = np.floor(surface.positions / side).astype(np.int64) + (1 << 16)
    # vertices that face opposite ways stay apart, as do lips and cheeks
    towards = (surface.normals > 0) @ np.array([1, 2, 4])
    key = ((cells[:, 0] << 34) | (cells[:, 1] << 17) | cells[:, 2]) * 64 + towards * 8 + surface.region % 8
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    count = np.bincount(inverse)[:, None].astype(np.float32)
    normals = _mean(surface.normals, inverse, count)
    triangles = inverse[surface.triangles.astype(np.int64)]
    whole = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 0] != triangles[:, 2])
    )
    return replace(
        surface,
        positions=_mean(surface.positions, inverse, count),
        normals=normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6),
        uv=surface.uv[first],
        triangles=triangles[whole].astype(np.uint32),
        bones=surface.bones[first],
        weights=surface.weights[first],
        region=surface.region[first],
    )


def _mean(values: np.ndarray, inverse: np.ndarray, count: np.ndarray) -> np.ndarray:
    sums = [np.bincount(inverse, values[:, i], len(count)) for i in range(3)]
    return (np.stack(sums, axis=1) / count).astype(np.float32)
