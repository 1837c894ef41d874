"""Read a folder of MakeHuman's CC0 assets: base body, shape targets, rig, weights, garments.

The formats are MakeHuman's published ones (.obj, .mhclo, .mhskel, .mhw); targets and vertex groups are expected as .npz
and .json. Files are as hostile as any: sizes are bounded, every index is checked, and an error names the file.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.garment import Garment, Skinning, in_metres, looking, skinning_of, split_suit, trim_fringe
from pose_export.synthetic.measures import Measures, measure
from pose_export.synthetic.mesh import Mesh, indices, read_obj, read_text
from pose_export.synthetic.mhclo import read_garment
from pose_export.synthetic.rig import BONE_NAMES, BONES, FOLLOWERS
from pose_export.synthetic.surface import Kind
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS

MAX_ARRAYS_BYTES = 1 << 30
REGIONS = ("face", "lips", "ears", "fingernails", "inside_mouth", "eyelids")
"""Regions of the skin, in the order of the codes 1 to 6 of `Surface.region`; toenails share the code of nails."""

SCALP = 7
"""Code of the region where hair grows."""

FOLDERS: dict[str, Kind] = {
    "clothes": "cloth",
    "hair": "hair",
    "eyes": "eye",
    "eyebrows": "brow",
    "eyelashes": "lash",
    "teeth": "teeth",
}

Index = Annotated[int, msgspec.Meta(ge=0)]
Range = Annotated[list[Index], msgspec.Meta(min_length=2, max_length=2)]
T = TypeVar("T")


class _Groups(msgspec.Struct):
    vertex_ranges: dict[str, list[Range]]


class _Bone(msgspec.Struct):
    head: str
    parent: str | None


class _Rig(msgspec.Struct):
    joints: dict[str, list[Index]]
    bones: dict[str, _Bone]


class _Weights(msgspec.Struct):
    weights: dict[str, list[tuple[Index, float]]]


class _Keypoint(msgspec.Struct):
    name: str
    vertices: list[Index]
    bone: str


class _Keypoints(msgspec.Struct):
    keypoints: Annotated[list[_Keypoint], msgspec.Meta(min_length=17, max_length=17)]


Target = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Base vertices, and how far each moves at weight 1, in decimetres."""


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Everything that people are made of, checked.

    Attributes:
        base: the whole base mesh with its helpers, in decimetres.
        groups: base vertices of the named groups (body, helper-skirt, joint-head ...).
        region: uint8 (V,), code of the skin's region (see `Surface.region`).
        measures: of the base vertices, for tailoring.
        targets: shapes by name.
        joints: for each bone of the rig, the base vertices whose mean is its head.
        shares: float32 (V, B), how much each moving bone has of each base vertex; rows have sum 1.
        skinning: the same, the four largest.
        garments: by name.
        keypoints: for each of COCO's 17 the base vertices whose mean it is, and the row of the bone that carries it.
    """

    base: Mesh
    groups: dict[str, NDArray[np.int64]]
    region: NDArray[np.uint8]
    measures: Measures
    targets: dict[str, Target]
    joints: dict[str, NDArray[np.int64]]
    shares: NDArray[np.float32]
    skinning: Skinning
    garments: dict[str, Garment]
    keypoints: tuple[tuple[NDArray[np.int64], int], ...]

    def of_kind(self, kind: Kind) -> list[Garment]:
        """The garments of one kind, by name."""
        return [garment for _, garment in sorted(self.garments.items()) if garment.kind == kind]


def open_assets(folder: Path) -> Assets:
    """Read and check the folder `makehuman` of the assets; about two seconds.

    Raises:
        ExportError: a file is missing, too large, damaged, or does not fit the base mesh.
    """
    base = read_obj(folder / "base.obj")
    count = len(base.points)
    for group in ("body", "helper-tights", "helper-skirt"):
        if group not in base.group_names:
            raise ExportError(f"{folder / 'base.obj'}: has no group {group}")
    rig = _json(folder / "rigs/default.mhskel", _Rig)
    joints = {
        name: indices(rig.joints.get(bone.head, []), count, folder / "rigs/default.mhskel", bone.head)
        for name, bone in rig.bones.items()
    }
    for bone in BONES:
        for wanted in filter(None, (bone.name, bone.towards)):
            if wanted not in joints:
                raise ExportError(f"{folder / 'rigs/default.mhskel'}: has no bone {wanted}")
    moved_by = _moved_by(rig, folder / "rigs/default.mhskel")
    shares = _shares(folder / "rigs/default_weights.mhw", moved_by, count)
    groups = _groups(folder / "groups.json", count)
    keypoints = _keypoints(folder / "coco17.json", moved_by, count)
    eyes = np.stack([base.points[vertices].mean(axis=0) for vertices, _ in keypoints[1:3]])
    heads = {name: base.points[vertices].mean(axis=0) for name, vertices in joints.items()}
    for bone in BONES:
        if bone.towards and np.linalg.norm(heads[bone.towards] - heads[bone.name]) < 1e-3:
            raise ExportError(f"{folder / 'rigs/default.mhskel'}: bone {bone.name} has no length")
    measures = measure(base.points, heads, shares)
    garments = [
        part
        for place, kind in FOLDERS.items()
        for path in sorted((folder / place).rglob("*.mhclo"))
        for part in _made_wearable(read_garment(path, kind, count, shares), base.points, eyes, measures)
    ]
    region = _regions(folder / "regions.npz", count)
    head = shares[:, BONE_NAMES.index("head")] + shares[:, BONE_NAMES.index("neck03")] > 0.5
    scalp = head & _scalp(base.points, eyes) & ((region == 0) | (region == 1))
    scalp[np.setdiff1d(np.arange(count), groups["body"])] = False
    region[scalp] = SCALP
    return Assets(
        base=base,
        groups=groups,
        region=region,
        measures=measures,
        targets=_targets(folder / "targets_macro.npz", count) | _targets(folder / "targets_detail.npz", count),
        joints=joints,
        shares=shares,
        skinning=skinning_of(shares),
        garments={garment.name: garment for garment in garments},
        keypoints=keypoints,
    )


def _covering_legs(part: Garment, measures: Measures) -> Garment:
    """A bottom that hides all of the legs that it covers: thighs come through a skirt when they are lifted."""
    if part.role != "bottom":
        return part
    own = part.blend(measures.down)
    covered = (measures.down > own.min() + 0.4) & (measures.down < own.max() - 0.15) & (measures.arm == 0)
    return replace(part, hides=np.union1d(part.hides, np.flatnonzero(covered)))


def _made_wearable(
    garment: Garment, base: NDArray[np.float32], eyes: NDArray[np.float32], measures: Measures
) -> list[Garment]:
    """Suits come apart; a fringe that would hide the eyes, for want of transparent hair, is cut at the brows."""
    if garment.kind in ("cloth", "shoe", "hat"):
        garment = replace(garment, mesh=in_metres(garment.mesh, garment.fit(base)))
    if garment.kind == "cloth":
        return [_covering_legs(part, measures) for part in split_suit(garment, base)]
    if garment.kind == "eye":
        return [looking(garment, base)]
    if garment.kind == "hair":
        return [trim_fringe(garment, base, eyes, brow=float(eyes[:, 1].max()) + 0.25)]
    return [garment]


def _scalp(points: NDArray[np.float32], eyes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where hair grows, given that a point is on the head: above a line from forehead over ears to nape."""
    eye_y, eye_z = eyes[:, 1].mean(), eyes[:, 2].mean()
    line = np.interp(points[:, 2] - eye_z, (-1.1, -0.75, -0.5, 0.1), (-0.45, -0.1, 0.25, 0.72))
    return np.asarray(points[:, 1] > eye_y + line)


def _json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_text(path), type=kind)
    except msgspec.DecodeError as error:
        raise ExportError(f"{path}: {error}") from error


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of an .npz, without pickles.

    Raises:
        ExportError: missing, no .npz, over 1 GiB unpacked, or with objects inside.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file; the assets folder is incomplete")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_ARRAYS_BYTES:
            raise ExportError(f"{path}: {size >> 20} MiB unpacked; wanted at most {MAX_ARRAYS_BYTES >> 20}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, MemoryError) as error:
        raise ExportError(f"{path}: cannot be read as arrays: {error}") from error


def _groups(path: Path, count: int) -> dict[str, NDArray[np.int64]]:
    groups = {}
    for name, ranges in _json(path, _Groups).vertex_ranges.items():
        if any(first > last or last >= count for first, last in ranges):
            raise ExportError(f"{path}: {name}: wanted ranges of vertices from 0 to {count - 1}")
        groups[name] = np.concatenate([np.arange(first, last + 1) for first, last in ranges])
    if "body" not in groups:
        raise ExportError(f"{path}: has no group body")
    return groups


def _regions(path: Path, count: int) -> NDArray[np.uint8]:
    arrays = read_arrays(path)
    region = np.zeros(count, np.uint8)
    for code, name in [*enumerate(REGIONS, 1), (4, "toenails")]:
        if name not in arrays:
            raise ExportError(f"{path}: has no region {name}")
        region[indices(arrays[name], count, path, name)] = code
    return region


def _targets(path: Path, count: int) -> dict[str, Target]:
    arrays = read_arrays(path)
    targets: dict[str, Target] = {}
    for key in arrays:
        name, _, part = key.rpartition("#")
        if part != "i":
            continue
        where, moves = arrays[key], arrays.get(f"{name}#d", np.zeros(0))
        if len(where) == 0:
            targets[name] = (np.zeros(0, np.int32), np.zeros((0, 3), np.float32))
            continue
        if moves.shape != (len(where), 3) or moves.dtype.kind != "f" or not np.isfinite(moves).all():
            raise ExportError(f"{path}: {name}: wanted {len(where)} finite offsets (x, y, z)")
        targets[name] = (indices(where, count, path, name).astype(np.int32), moves.astype(np.float32))
    return targets


def _moved_by(rig: _Rig, path: Path) -> dict[str, int]:
    """For every bone of the rig, the row of the moving bone whose transform it has."""
    rows = {name: row for row, name in enumerate(BONE_NAMES)}
    for name in rig.bones:
        trail = [name]
        while trail[-1] not in rows:
            bone = rig.bones.get(trail[-1])
            parent = FOLLOWERS.get(trail[-1]) or (bone.parent if bone else None)
            if parent is None or parent in trail:
                raise ExportError(f"{path}: bone {name} does not hang on the root")
            trail.append(parent)
        rows |= dict.fromkeys(trail, rows[trail[-1]])
    return rows


def _shares(path: Path, moved_by: Mapping[str, int], count: int) -> NDArray[np.float32]:
    shares = np.zeros((count, len(BONE_NAMES)), np.float32)
    for bone, pairs in _json(path, _Weights).weights.items():
        if bone not in moved_by:
            raise ExportError(f"{path}: {bone} is no bone of the rig")
        if pairs:
            vertices = indices([vertex for vertex, _ in pairs], count, path, bone)
            given = np.array([weight for _, weight in pairs])
            shares[:, moved_by[bone]] += np.bincount(vertices, given, count).astype(np.float32)
    total = shares.sum(axis=1, keepdims=True)
    if not np.isfinite(shares).all() or shares.min() < 0 or total.min() < 1e-6:
        raise ExportError(f"{path}: wanted weights from 0 up and a bone for each of {count} vertices")
    return np.asarray(shares / total)


def _keypoints(path: Path, moved_by: Mapping[str, int], count: int) -> tuple[tuple[NDArray[np.int64], int], ...]:
    keypoints = _json(path, _Keypoints).keypoints
    if tuple(keypoint.name for keypoint in keypoints) != SKELETONS["coco17"].names:
        raise ExportError(f"{path}: wanted the 17 keypoints of COCO in their order")
    for keypoint in keypoints:
        if keypoint.bone not in moved_by:
            raise ExportError(f"{path}: {keypoint.name}: {keypoint.bone} is no bone of the rig")
    return tuple((indices(k.vertices, count, path, k.name), moved_by[k.bone]) for k in keypoints)
