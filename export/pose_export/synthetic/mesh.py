"""Triangle meshes from Wavefront .obj text, and their normals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_runtime.errors import ExportError

MAX_TEXT_BYTES = 64 << 20
MAX_VERTICES = 200_000


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh whose vertices are split where texture coordinates differ.

    Attributes:
        points: float32 (v, 3), the vertices of the file, in the file's unit.
        corners: int (t, 3), triangles over `points`; for normals that do not break at a seam.
        source: int (n,), the row of `points` that each drawn vertex copies.
        uv: float32 (n, 2), texture coordinates of the drawn vertices; (0, 0) is bottom left.
        triangles: uint32 (t, 3), triangles over the drawn vertices.
        groups: int (t,), row of `group_names` of each triangle.
        group_names: names of the `g` lines.
    """

    points: NDArray[np.float32]
    corners: NDArray[np.int64]
    source: NDArray[np.int64]
    uv: NDArray[np.float32]
    triangles: NDArray[np.uint32]
    groups: NDArray[np.int64]
    group_names: tuple[str, ...]

    def keep(self, wanted: NDArray[np.bool_]) -> Mesh:
        """The same mesh with only some triangles; `wanted` is bool (t,)."""
        used, triangles = np.unique(self.triangles[wanted], return_inverse=True)
        return Mesh(
            points=self.points,
            corners=self.corners[wanted],
            source=self.source[used],
            uv=self.uv[used],
            triangles=triangles.reshape(-1, 3).astype(np.uint32),
            groups=self.groups[wanted],
            group_names=self.group_names,
        )


def read_text(path: Path) -> str:
    """The text of a file of bounded size.

    Raises:
        ExportError: it is missing, too large or no UTF-8.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file; the assets folder is incomplete")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ExportError(f"{path}: over {MAX_TEXT_BYTES >> 20} MiB; this is no asset file")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def numbers(words: list[str], width: int, path: Path, what: str) -> NDArray[np.float64]:
    """Words as finite numbers, (rows, width).

    Raises:
        ExportError: a word is no finite number, or rows are not full.
    """
    try:
        values = np.array(words, np.float64)
    except ValueError as error:
        raise ExportError(f"{path}: {what}: {error}") from error
    if len(values) % width or not np.isfinite(values).all() or (np.abs(values) > 1e6).any():
        raise ExportError(f"{path}: {what}: got {len(values)} values, wanted rows of {width} sensible numbers")
    return values.reshape(-1, width)


def indices(values: object, count: int, path: Path, what: str) -> NDArray[np.int64]:
    """Values as int64 (n,), n > 0, each the number of one of `count` vertices.

    Raises:
        ExportError: they are not.
    """
    array = np.asarray(values)
    good = array.ndim == 1 and len(array) and array.dtype.kind in "iu"
    if not good or array.min() < 0 or array.max() >= count:
        raise ExportError(f"{path}: {what}: wanted vertices from 0 to {count - 1}")
    return array.astype(np.int64)


def read_obj(path: Path) -> Mesh:
    """Read `v`, `vt`, `g` and `f` lines; faces are triangles or quads with texture coordinates (`1/1 2/2 3/3`).

    Raises:
        ExportError: the file is missing, too large, or not of this form.
    """
    rows: dict[str, list[str]] = {"v": [], "vt": [], "f": []}
    names: list[str] = []
    groups: list[int] = []
    for line in read_text(path).splitlines():
        key, _, rest = line.partition(" ")
        if key in rows:
            rows[key].append(rest)
            if key == "f":
                groups.append(max(len(names) - 1, 0))
        elif key == "g":
            names.append(rest.strip())
    points = _points(rows["v"], 3, path)
    uvs = _points(rows["vt"], 2, path)
    faces = _faces(rows["f"], len(points), len(uvs), path)
    return _split(points, uvs, faces, np.array(groups), tuple(names) or ("",))


def _points(rows: list[str], width: int, path: Path) -> NDArray[np.float32]:
    """The first `width` numbers of each line; all lines have as many."""
    words = " ".join(rows).split()
    if not 3 <= len(rows) <= MAX_VERTICES or len(words) < width * len(rows) or len(words) % len(rows):
        raise ExportError(f"{path}: {len(rows)} lines of {width} numbers; wanted 3 to {MAX_VERTICES} full lines")
    table = numbers(words, len(words) // len(rows), path, "vertex")
    return table[:, :width].astype(np.float32)


def _faces(rows: list[str], points: int, uvs: int, path: Path) -> NDArray[np.int64]:
    """Faces as (f, 4, 2), vertex and texture coordinate from 0; a triangle repeats its last corner."""
    corners = [row.split() for row in rows]
    if not 1 <= len(rows) <= 2 * MAX_VERTICES or not {len(row) for row in corners} <= {3, 4}:
        raise ExportError(f"{path}: wanted 1 to {2 * MAX_VERTICES} faces of 3 or 4 corners")
    flat = " ".join(" ".join(row if len(row) == 4 else [*row, row[-1]]) for row in corners)
    words = flat.replace("/", " ").split()
    if flat.count("/") != 4 * len(rows) or len(words) != 8 * len(rows):
        raise ExportError(f"{path}: a face corner is not vertex/texture")
    faces = numbers(words, 2, path, "face").astype(np.int64).reshape(-1, 4, 2) - 1
    if faces.min() < 0 or faces[..., 0].max() >= points or faces[..., 1].max() >= uvs:
        raise ExportError(f"{path}: a face names a vertex that is not there")
    return faces


def _split(
    points: NDArray[np.float32],
    uvs: NDArray[np.float32],
    faces: NDArray[np.int64],
    groups: NDArray[np.int64],
    names: tuple[str, ...],
) -> Mesh:
    halves = faces[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
    groups = groups.repeat(2)
    real = (halves[:, 0, 0] != halves[:, 1, 0]) & (halves[:, 1, 0] != halves[:, 2, 0])
    real &= halves[:, 0, 0] != halves[:, 2, 0]
    halves, groups = halves[real], groups[real]
    pairs, triangles = np.unique(halves[..., 0] * len(uvs) + halves[..., 1], return_inverse=True)
    return Mesh(
        points=points,
        corners=halves[..., 0],
        source=pairs // len(uvs),
        uv=uvs[pairs % len(uvs)],
        triangles=triangles.reshape(-1, 3).astype(np.uint32),
        groups=groups,
        group_names=names,
    )


def clip(
    mesh: Mesh, rows: NDArray[np.int64], field: NDArray[np.float32]
) -> tuple[Mesh, NDArray[np.int64], NDArray[np.float32]] | None:
    """Cut a mesh along the line where a field at its points, (v,), is 0, and keep the side above.

    Args:
        mesh: what is cut.
        rows: its triangles that are looked at.
        field: at its points; linear within a triangle.

    Returns:
        The piece; and for each of its points the two points of `mesh` that it lies between, (n, 2), and where,
        (n,): 0 at the first. None where no triangle is left.
    """
    triangles = mesh.triangles[rows].astype(np.int64)
    above = field[mesh.source[triangles]] > 0
    count = above.sum(axis=1)
    whole = triangles[count == 3]
    edges = [np.stack([whole, whole], axis=2).reshape(-1, 3, 2)]
    for number in (1, 2):  # corners above; the odd one of the three goes first
        some, odd = triangles[count == number], np.argmax(above[count == number] == (number == 1), axis=1)
        a, b, c = (some[np.arange(len(some)), (odd + i) % 3] for i in range(3))
        if number == 1:
            edges.append(_corner_pairs((a, a), (a, b), (a, c)))
        else:
            edges += [_corner_pairs((a, b), (b, b), (c, c)), _corner_pairs((a, b), (c, c), (a, c))]
    pairs = np.sort(np.concatenate(edges), axis=2)
    if not len(pairs):
        return None
    drawn, triangles = _unique_pairs(pairs)
    owned, source = _unique_pairs(np.sort(mesh.source[drawn], axis=1)[:, None])
    first, second = field[owned[:, 0]], field[owned[:, 1]]
    share = np.where(owned[:, 0] == owned[:, 1], 0, first / np.where(first == second, 1, first - second)).clip(0, 1)
    source = source[:, 0]
    flipped = mesh.source[drawn[:, 0]] != owned[source, 0]
    along = np.where(flipped, 1 - share[source], share[source])[:, None]
    piece = Mesh(
        points=_lerp(mesh.points, owned, share[:, None]),
        corners=source[triangles],
        source=source,
        uv=_lerp(mesh.uv, drawn, along),
        triangles=triangles.astype(np.uint32),
        groups=np.zeros(len(triangles), np.int64),
        group_names=("",),
    )
    return piece, owned, share.astype(np.float32)


def _lerp(values: NDArray[np.float32], ends: NDArray[np.int64], share: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values[ends[:, 0]] * (1 - share) + values[ends[:, 1]] * share, np.float32)


def _corner_pairs(*corners: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.stack([np.stack(pair, axis=1) for pair in corners], axis=1)


def _unique_pairs(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different pairs (n, 2) among (t, k, 2), and which each is, (t, k)."""
    keys, inverse = np.unique(pairs[..., 0] << 32 | pairs[..., 1], return_inverse=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), inverse.reshape(pairs.shape[:-1])


def normals_of(points: NDArray[np.float32], corners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Unit normals of the vertices, float32 (v, 3): the mean of the faces around, by area; (0, 0, 1) where none is."""
    a, b, c = (points[corners[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    flat = corners.T.reshape(-1)
    total = np.stack([np.bincount(flat, np.tile(faces[:, axis], 3), len(points)) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.divide(total, length, out=np.zeros_like(total), where=length > 1e-20)
    unit[length[:, 0] <= 1e-20] = (0, 0, 1)
    return np.asarray(unit, np.float32)
