"""MakeHuman's .mhclo: what a garment hangs on, in lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.garment import Garment, skinning_of
from pose_export.synthetic.mesh import indices, numbers, read_obj, read_text
from pose_export.synthetic.surface import Kind
from pose_runtime.errors import ExportError


def read_garment(path: Path, kind: Kind, count: int, shares: NDArray[np.float32]) -> Garment:
    """Read one .mhclo and its .obj; the base mesh has `count` vertices, moved by bones as `shares` (count, B) says.

    Raises:
        ExportError: a file is missing or damaged, or does not fit the base mesh.
    """
    lines = [words for line in read_text(path).splitlines() if (words := line.split("#")[0].split())]
    header = {words[0]: words[1:] for words in lines if len(words) > 1 and not _numeric(words[0])}
    starts = [row for row, words in enumerate(lines) if words[0] == "verts"]
    if not starts or not header.get("obj_file"):
        raise ExportError(f"{path}: wanted the lines obj_file and verts")
    obj = Path(header["obj_file"][0])
    if obj.name != str(obj):
        raise ExportError(f"{path}: obj_file: got {obj}, wanted a name in the same folder")
    mesh = read_obj(path.parent / obj)
    ends = [row for row, words in enumerate(lines) if words[0] == "delete_verts"] or [len(lines)]
    fitted = [words for words in lines[starts[0] + 1 : ends[0]] if _numeric(words[0])]
    if len(fitted) != len(mesh.points):
        raise ExportError(f"{path}: {len(fitted)} vertices, but {len(mesh.points)} in {obj}")
    anchors, weights, offsets = _hangers(fitted, count, path)
    between, size = _scales(header, count, path)
    return Garment(
        kind=_kind(kind, path.stem),
        name=path.stem,
        role="none",
        mesh=mesh,
        anchors=anchors,
        shares=weights,
        offsets=offsets,
        scale_between=between,
        scale_from=size,
        ease=np.zeros(len(anchors), np.float32),
        hides=_ranges([word for words in lines[ends[0] + 1 :] for word in words], count, path),
        skinning=skinning_of(_blend(shares, anchors, weights)),
    )


def _numeric(word: str) -> bool:
    return word[0] in "+-.0123456789"


def _kind(kind: Kind, name: str) -> Kind:
    if kind == "cloth" and name.startswith("shoes"):
        return "shoe"
    return "hat" if kind == "cloth" and name.startswith("fedora") else kind


def _hangers(
    rows: list[list[str]], count: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Anchors (v, 3), shares (v, 3) and offsets (v, 3); a line of one number hangs on that vertex alone."""
    words = [word for row in rows for word in (row if len(row) == 9 else [*(row * 3), "1", *["0"] * 5])]
    if any(len(row) not in (1, 9) for row in rows) or len(words) != 9 * len(rows):
        raise ExportError(f"{path}: wanted 1 or 9 numbers a vertex")
    table = numbers(words, 9, path, "vertex")
    anchors = indices(table[:, :3].astype(np.int64).ravel(), count, path, "vertex").reshape(-1, 3)
    return anchors, table[:, 3:6].astype(np.float32), table[:, 6:].astype(np.float32)


def _scales(header: Mapping[str, list[str]], count: int, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    words = [word for axis in "xyz" for word in header.get(f"{axis}_scale", [])[:3]]
    if len(words) != 9:
        raise ExportError(f"{path}: wanted x_scale, y_scale and z_scale with three numbers each")
    table = numbers(words, 3, path, "scale")
    if table[:, 2].min() <= 0:
        raise ExportError(f"{path}: a scale is not above 0")
    between = indices(table[:, :2].astype(np.int64).ravel(), count, path, "scale").reshape(3, 2)
    return between, table[:, 2].astype(np.float32)


def _ranges(words: list[str], count: int, path: Path) -> NDArray[np.int64]:
    """Vertices named one by one or as `a - b`."""
    hidden = np.zeros(count, np.bool_)
    row = 0
    while row < len(words):
        span = row + 2 < len(words) and words[row + 1] == "-"
        ends = (words[row], words[row + 2] if span else words[row])
        if not all(end.isdigit() and len(end) < 8 and int(end) < count for end in ends):
            raise ExportError(f"{path}: delete_verts: wanted vertices from 0 to {count - 1} or ranges a - b")
        hidden[int(ends[0]) : int(ends[1]) + 1] = True
        row += 3 if span else 1
    return np.flatnonzero(hidden)


def _blend(
    shares: NDArray[np.float32], anchors: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bone shares of fitted points: those of their anchors; far outside a triangle, where shares fall below 0, cut."""
    kept = weights.clip(0)
    total = kept.sum(axis=1, keepdims=True)
    kept = np.divide(kept, total, out=np.full_like(kept, 1 / 3), where=total > 1e-6)
    return np.asarray(np.einsum("vk,vkb->vb", kept, shares[anchors]))
