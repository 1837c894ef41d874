"""Closed meshes of simple shapes, and how they become a prop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.surface import Surface

Array = NDArray[np.float64]
Point = Sequence[float] | Array


@dataclass(frozen=True)
class Shape:
    """A closed mesh: positions, unit normals (n, 3) that point outwards, uv (n, 2), triangles (t, 3), seen from outside
    counter-clockwise.
    """

    positions: Array
    normals: Array
    uv: Array
    triangles: NDArray[np.int64]

    def moved(self, by: Point) -> Shape:
        """Shifted by a vector, metres."""
        return Shape(self.positions + np.asarray(by, np.float64), self.normals, self.uv, self.triangles)

    def turned(self, axis: str, degrees: float) -> Shape:
        """Rotated about the x, y or z axis through the origin, right-handed."""
        i = "xyz".index(axis)
        j, k = (i + 1) % 3, (i + 2) % 3
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rotation = np.eye(3)
        rotation[[j, j, k, k], [j, k, j, k]] = c, -s, s, c
        return Shape(self.positions @ rotation.T, self.normals @ rotation.T, self.uv, self.triangles)


def surface(name: str, shapes: Iterable[Shape]) -> Surface:
    """Shapes of one material as one surface of kind prop, carried whole by bone 0."""
    parts = list(shapes)
    starts = np.cumsum([0, *(len(part.positions) for part in parts)])
    n = int(starts[-1])
    weights = np.zeros((n, 4), np.float32)
    weights[:, 0] = 1
    triangles = [part.triangles + start for part, start in zip(parts, starts[:-1], strict=True)]
    return Surface(
        kind="prop",
        name=name,
        positions=np.concatenate([part.positions for part in parts]).astype(np.float32),
        normals=np.concatenate([part.normals for part in parts]).astype(np.float32),
        uv=np.concatenate([part.uv for part in parts]).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.uint32),
        bones=np.zeros((n, 4), np.uint8),
        weights=weights,
        region=np.zeros(n, np.uint8),
    )


def box(low: Point, high: Point) -> Shape:
    """A cuboid between two corners; texture in metres."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    positions: list[Array] = []
    normals, uv, triangles = [], [], []
    for axis in range(3):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            corners = np.tile(low, (4, 1))
            corners[:, axis] = (low, high)[side][axis]
            corners[[1, 2], j] = high[j]
            corners[[2, 3], k] = high[k]
            normal = np.zeros((4, 3))
            normal[:, axis] = 2 * side - 1
            order = [[0, 1, 2], [0, 2, 3]] if side else [[0, 2, 1], [0, 3, 2]]
            triangles.append(np.array(order) + 4 * len(positions))
            positions.append(corners)
            normals.append(normal)
            uv.append(corners[:, [j, k]] - low[[j, k]])
    return Shape(np.concatenate(positions), np.concatenate(normals), np.concatenate(uv), np.concatenate(triangles))


def block(centre: Point, size: Point) -> Shape:
    """A cuboid around a centre."""
    centre, half = np.asarray(centre, np.float64), np.asarray(size, np.float64) / 2
    return box(centre - half, centre + half)


def tube(path: Sequence[Point] | Array, radius: float | Sequence[float] | Array, sides: int = 8) -> Shape:
    """A round bar along a path (m, 3), with flat ends; `radius` once or per point, above 0; a vase, a cone."""
    path = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(path),))
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    rings, slopes, lengths = _rings(path, tangents, sides), _slopes(path, radii), _lengths(path)
    positions = path[:, None] + rings * radii[:, None, None]
    normals = rings - tangents[:, None] * slopes[:, None, None]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    around = np.linspace(0, 1, sides + 1) * 2 * np.pi * float(radii.mean())
    uv = np.stack(np.broadcast_arrays(around[None, :], lengths[:, None]), axis=2)
    side = Shape(positions.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), _quads(len(path), sides + 1))
    return _joined([side, _lid(positions[0], -tangents[0]), _lid(positions[-1], tangents[-1])])


def hoop(centre: Point, radius: float, thickness: float, axis: str = "x", sides: int = 8, steps: int = 24) -> Shape:
    """A torus around an axis: a tyre, a rim, a handle."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, steps + 1), np.linspace(0, 2 * np.pi, sides + 1), indexing="ij")
    outward = np.stack([np.sin(v), np.cos(v) * np.cos(u), np.cos(v) * np.sin(u)], axis=2)
    ring = np.stack([np.zeros_like(u), np.cos(u), np.sin(u)], axis=2) * radius
    roll = "xyz".index(axis)
    positions = np.roll(ring + outward * thickness, roll, axis=2).reshape(-1, 3) + np.asarray(centre, np.float64)
    uv = np.stack([v * thickness, u * radius], axis=2).reshape(-1, 2)
    triangles = _quads(steps + 1, sides + 1)[:, ::-1]
    return Shape(positions, np.roll(outward, roll, axis=2).reshape(-1, 3), uv, triangles)


def blob(centre: Point, radii: Point, squareness: float = 1.0, steps: int = 10) -> Shape:
    """An ellipsoid (squareness 1) up to a cushion with rounded edges (0.3): a superellipsoid (Barr 1981)."""
    rows, columns = steps, 2 * steps
    v, u = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij"
    )
    v[0], v[-1] = -np.pi / 2 + 1e-3, np.pi / 2 - 1e-3

    # Rounded: a power below 1 would make a step of what should be 0.
    waves = [np.round(wave, 12) for wave in (np.cos(u), np.sin(u), np.cos(v), np.sin(v))]

    def point(power: float) -> Array:
        cu, su, cv, sv = (np.sign(f) * np.abs(f) ** power for f in waves)
        return np.stack([cv * su, sv, cv * cu], axis=2)

    positions = point(squareness) * np.asarray(radii, np.float64)
    normals = point(2 - squareness) / np.asarray(radii, np.float64)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    size = float(np.mean(np.asarray(radii, np.float64)))
    uv = np.stack([u * size, (v + np.pi / 2) * size], axis=2)
    positions = positions + np.asarray(centre, np.float64)
    side = Shape(
        positions.reshape(-1, 3),
        normals.reshape(-1, 3),
        uv.reshape(-1, 2),
        _quads(rows + 1, columns + 1),
    )
    up = np.array([0.0, 1.0, 0.0])
    return _joined([side, _lid(positions[0], -up), _lid(positions[-1], up)])


def slab(outline: Sequence[tuple[float, float]] | Array, thickness: float) -> Shape:
    """A plate in the x-y plane, `thickness` along z about 0; the outline (n, 2) runs counter-clockwise and is seen
    whole from its centre.
    """
    outline = np.asarray(outline, np.float64)
    n, half = len(outline), thickness / 2
    front = np.concatenate([outline, np.full((n, 1), half)], axis=1)
    back = front * (1, 1, -1)
    ahead = np.array([0.0, 0.0, 1.0])
    edges = np.roll(outline, -1, axis=0) - outline
    lengths = np.linalg.norm(edges, axis=1)
    out = np.stack([edges[:, 1], -edges[:, 0], np.zeros(n)], axis=1) / lengths[:, None]
    rim = np.stack([back, np.roll(back, -1, axis=0), np.roll(front, -1, axis=0), front], axis=1)
    start = np.cumsum(lengths) - lengths
    uv = np.stack([np.stack([start, start + lengths] * 2, axis=1), np.tile([-half, -half, half, half], (n, 1))], axis=2)
    uv[:, [2, 3], 0] = uv[:, [3, 2], 0]
    faces = (np.array([[0, 1, 2], [0, 2, 3]])[None] + 4 * np.arange(n)[:, None, None]).reshape(-1, 3)
    side = Shape(rim.reshape(-1, 3), np.repeat(out, 4, axis=0), uv.reshape(-1, 2), faces)
    first, last = np.concatenate([front, front[:1]]), np.concatenate([back, back[:1]])
    return _joined([side, _lid(first, ahead), _lid(last, -ahead)])


def ellipse(width: float, height: float, steps: int = 20, up: float = 0.0) -> Array:
    """An outline (steps, 2) for `slab`, counter-clockwise; full width and height, its centre at (0, up), metres."""
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.asarray(np.stack([np.cos(t) * width / 2, np.sin(t) * height / 2 + up], axis=1), np.float64)


def shifted(point: Point, x: float, y: float, z: float) -> Array:
    """A point moved by a vector."""
    return np.asarray(np.asarray(point, np.float64) + np.array([x, y, z]), np.float64)


def _joined(parts: list[Shape]) -> Shape:
    starts = np.cumsum([0, *(len(part.positions) for part in parts[:-1])])
    return Shape(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)]),
    )


def _quads(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangles of a grid; its normal is (along columns) x (along rows)."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    b, c, d = a + 1, a + columns + 1, a + columns
    return np.asarray(np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]), np.int64)


def _lid(ring: Array, normal: Array) -> Shape:
    """A fan that closes a ring whose last point is its first."""
    centre = ring[:-1].mean(axis=0)
    n = len(ring)
    positions = np.concatenate([ring, centre[None]])
    fan = np.stack([np.arange(n - 1), np.arange(1, n), np.full(n - 1, n)], axis=1)
    first = positions[fan[:, 0]] - centre
    if float((np.cross(first, positions[fan[:, 1]] - centre) @ normal).sum()) < 0:
        fan = fan[:, [1, 0, 2]]
    side = np.cross(normal, np.eye(3)[int(np.abs(normal).argmin())])
    uv = np.stack([(positions - centre) @ side, (positions - centre) @ np.cross(normal, side)], axis=1)
    return Shape(positions, np.tile(normal, (n + 1, 1)), uv, fan)


def _rings(path: Array, tangents: Array, sides: int) -> Array:
    """Unit vectors around the path, (m, sides + 1, 3); carried along without twist, the last repeats the first."""
    across = np.cross(tangents[0], np.eye(3)[int(np.abs(tangents[0]).argmin())])
    rings = np.empty((len(path), sides + 1, 3))
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    for i, tangent in enumerate(tangents):
        across = across - tangent * (across @ tangent)
        across /= np.linalg.norm(across)
        rings[i] = np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * np.cross(tangent, across)
    rings[:, -1] = rings[:, 0]
    return rings


def _lengths(path: Array) -> Array:
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return np.asarray(np.concatenate([np.zeros(1), np.cumsum(steps)]), np.float64)


def _slopes(path: Array, radii: Array) -> Array:
    return np.asarray(np.gradient(radii, np.maximum.accumulate(_lengths(path) + 1e-6 * np.arange(len(path)))))
