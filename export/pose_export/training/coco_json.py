"""COCO's keypoint JSON, read entry by entry so that one bad entry does not cost the others.

Format: https://cocodataset.org/#format-data, section 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from pose_export.training.coco_layout import is_safe
from pose_runtime.arrays import FloatArray, IntArray
from pose_runtime.errors import ExportError
from pose_runtime.frame import MAX_SIDE
from pose_runtime.skeletons import SKELETONS, Skeleton

MAX_BYTES = 2 << 30
MAX_PEOPLE = 1000
"""In one picture."""
FAR = 1e5
"""Coordinates beyond it, in pixels, are damage."""
BOX_SHARE = 0.53
"""Of a person's box that the person covers, where no area is given (the usual figure for CrowdPose and others)."""

Id = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
_T = TypeVar("_T")


class Picture(Struct, frozen=True, gc=False):
    """An entry of `images`."""

    id: Id
    file_name: str
    width: Side
    height: Side

    def __post_init__(self) -> None:
        if not is_safe(self.file_name):
            raise ValueError(f"file_name {self.file_name[:80]!r} leaves the folder of the pictures")


class Annotation(Struct, frozen=True, gc=False):
    """An entry of `annotations`; `segmentation` stays JSON until its picture is read."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    keypoints: Annotated[list[float], Meta(max_length=3 * 1024)] = []
    num_keypoints: int | None = None
    area: float | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] | bool = 0
    segmentation: Raw = Raw()

    def __post_init__(self) -> None:
        if not all(-FAR <= value <= FAR for value in self.bbox):
            raise ValueError(f"bbox: got {self.bbox}, wanted finite pixels")
        if self.area is not None and not 0 <= self.area <= FAR * FAR:
            raise ValueError(f"area: got {self.area}, wanted square pixels")


class _Category(Struct, frozen=True):
    id: Id
    name: str = ""
    keypoints: Annotated[list[str], Meta(max_length=1024)] = []


class _File(Struct, frozen=True):
    images: list[Raw]
    annotations: list[Raw]
    categories: list[_Category] = []


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What an annotation covers, in a picture of which something is to be ignored.

    Attributes:
        id: of the annotation.
        labelled: False for crowds and people without a labelled keypoint: those are to be ignored.
        box: x, y, width, height.
        segmentation: JSON, or nothing.
    """

    id: int
    labelled: bool
    box: tuple[float, float, float, float]
    segmentation: bytes


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a file says of P pictures and the N labelled people in them.

    People are in arrays, not objects, since all of this travels to every worker process.

    Attributes:
        skeleton: of the K keypoints.
        pictures: P of them, in the order of the file.
        first: int64 (P + 1,): the people of picture i are rows first[i] to first[i + 1].
        keypoints: float32 (N, K, 3) in the skeleton's order; x = y = 0 where v is 0.
        boxes: float32 (N, 4): x, y, width, height.
        areas: float32 (N,): square pixels.
        ids: int64 (N,): of the annotations.
        outlines: by number of the picture, of those where something is to be ignored.
        left_out: one line for each kind of entry of which some were bad.
    """

    skeleton: Skeleton
    pictures: tuple[Picture, ...]
    first: IntArray
    keypoints: FloatArray
    boxes: FloatArray
    areas: FloatArray
    ids: IntArray
    outlines: dict[int, tuple[Outline, ...]]
    left_out: tuple[str, ...]


def read_annotations(path: Path) -> Annotations:
    """A COCO keypoint file.

    Raises:
        ExportError: no such file, too large, no COCO JSON, or no category with the keypoints of a known skeleton.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExportError(f"{path}: over {MAX_BYTES >> 30} GiB; split the annotations")
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ExportError(f"{path}: no COCO keypoint annotations: {error}") from error
    category, skeleton, order = _skeleton(path, file.categories)
    bad_pictures, bad_people = _Bad("images"), _Bad("annotations")
    pictures = tuple(_entries(file.images, Picture, bad_pictures))
    number = {picture.id: i for i, picture in enumerate(pictures)}
    entries = [a for a in _entries(file.annotations, Annotation, bad_people) if a.category_id == category]
    entries = _placed(entries, number, bad_people)
    labelled, keypoints = _keypoints(entries, order, bad_people)
    outlines = _outlines(entries, {entry.id for entry in labelled}, number)
    left_out = tuple(bad.line(path) for bad in (bad_pictures, bad_people) if bad.number)
    if not pictures:
        raise ExportError(left_out[0] if left_out else f"{path}: lists no images")
    boxes = np.array([entry.bbox for entry in labelled], np.float32).reshape(-1, 4)
    areas = np.array([entry.area or 0 for entry in labelled], np.float32)
    places = np.array([number[entry.image_id] for entry in labelled], np.int64)
    return Annotations(
        skeleton=skeleton,
        pictures=pictures,
        first=np.searchsorted(places, np.arange(len(pictures) + 1)).astype(np.int64),
        keypoints=keypoints,
        boxes=boxes,
        areas=np.where(areas > 0, areas, BOX_SHARE * boxes[:, 2] * boxes[:, 3]).astype(np.float32),
        ids=np.array([entry.id for entry in labelled], np.int64),
        outlines=outlines,
        left_out=left_out,
    )


class _Bad:
    """Counts bad entries of one list and keeps the first reason."""

    def __init__(self, what: str) -> None:
        self.what, self.number, self.first = what, 0, ""

    def __call__(self, where: str, reason: object) -> None:
        self.number += 1
        self.first = self.first or f"{where}: {reason}"

    def line(self, path: Path) -> str:
        return f"{path}: {self.number} bad {self.what}, the first: {self.first}"


def _entries(raw: Sequence[Raw], kind: type[_T], bad: Callable[[str, object], None]) -> list[_T]:
    """The entries that are of that kind and whose id is new."""
    decoder = msgspec.json.Decoder(kind)
    seen: set[int] = set()
    good = []
    for number, entry in enumerate(raw):
        try:
            value: Any = decoder.decode(entry)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            bad(f"number {number}", error)
            continue
        if value.id in seen:
            bad(f"number {number}", f"the id {value.id} is there twice")
            continue
        seen.add(value.id)
        good.append(value)
    return good


def _skeleton(path: Path, categories: Sequence[_Category]) -> tuple[int, Skeleton, list[int]]:
    """The category with people, its skeleton, and for each of the skeleton's keypoints its place in the file."""
    for category in categories:
        names = [_joint_name(name) for name in category.keypoints]
        same = [s for s in SKELETONS.values() if list(s.names) == names]
        same += [s for s in SKELETONS.values() if len(names) == len(s.names) and set(s.names) == set(names)]
        if same:
            return category.id, same[0], [names.index(name) for name in same[0].names]
    for category in categories:
        if category.name == "person" and not category.keypoints:
            coco = SKELETONS["coco17"]
            return category.id, coco, list(range(len(coco.names)))
    listed = next((", ".join(category.keypoints) for category in categories if category.keypoints), "none")
    raise ExportError(f"{path}: got the keypoints {listed[:300]}; wanted those of one of {', '.join(SKELETONS)}")


def _joint_name(name: str) -> str:
    name = name.strip().lower().replace(" ", "_").replace("-", "_")
    return "head_top" if name == "top_head" else name  # CrowdPose's word


def _placed(
    entries: Sequence[Annotation], number: Mapping[int, int], bad: Callable[[str, object], None]
) -> list[Annotation]:
    """Those of listed pictures, picture by picture."""
    count = Counter[int]()
    good = []
    for entry in entries:
        _, _, width, height = entry.bbox
        if entry.image_id not in number:
            bad(f"annotation {entry.id}", f"its image {entry.image_id} is not listed")
        elif width <= 0 or height <= 0:
            bad(f"annotation {entry.id}", f"bbox: got {width:g} x {height:g} pixels, wanted a positive size")
        elif count[entry.image_id] == MAX_PEOPLE:
            bad(f"annotation {entry.id}", f"image {entry.image_id} has over {MAX_PEOPLE} people")
        else:
            count[entry.image_id] += 1
            good.append(entry)
    return sorted(good, key=lambda entry: number[entry.image_id])


def _keypoints(
    entries: Sequence[Annotation], order: Sequence[int], bad: Callable[[str, object], None]
) -> tuple[list[Annotation], FloatArray]:
    """Those with labelled keypoints, and the keypoints, float32 (N, K, 3)."""
    wanted = 3 * len(order)
    candidates = []
    for entry in entries:
        if entry.iscrowd or entry.num_keypoints == 0:
            continue
        if len(entry.keypoints) == wanted:
            candidates.append(entry)
        else:
            bad(f"annotation {entry.id}", f"keypoints: got {len(entry.keypoints)} numbers, wanted {wanted}")
    points = np.array([entry.keypoints for entry in candidates], np.float64).reshape(-1, len(order), 3)[:, order]
    near = np.asarray((np.abs(points) <= FAR).all(axis=(1, 2)))
    known = np.asarray(np.isin(points[..., 2], (0, 1, 2)).all(axis=1))
    for row in np.flatnonzero(~(near & known)):
        reason = "wanted v of 0, 1 or 2" if near[row] else "wanted finite pixels"
        bad(f"annotation {candidates[row].id}", f"keypoints: {reason}")
    points[points[..., 2] == 0] = 0
    kept = np.flatnonzero(near & known & points[..., 2].any(axis=1))
    return [candidates[row] for row in kept], points[kept].astype(np.float32)


def _outlines(
    entries: Sequence[Annotation], labelled: Set[int], number: Mapping[int, int]
) -> dict[int, tuple[Outline, ...]]:
    """Of every picture that has an entry which is not labelled: nothing can be learnt from that one."""
    pictures = {entry.image_id for entry in entries if entry.id not in labelled}
    found: dict[int, list[Outline]] = {}
    for entry in entries:
        if entry.image_id in pictures:
            is_labelled, outline = entry.id in labelled, bytes(entry.segmentation)
            found.setdefault(number[entry.image_id], []).append(
                Outline(id=entry.id, labelled=is_labelled, box=entry.bbox, segmentation=outline)
            )
    return {picture: tuple(outlines) for picture, outlines in found.items()}
