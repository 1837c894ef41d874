"""COCO's keypoint JSON, read entry by entry so that one bad entry does not cost the others.

Format: https://cocodataset.org/#format-data, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from pose_export.training.coco_layout import is_safe
from pose_runtime.arrays import FloatArray
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


class Picture(Struct, frozen=True):
    """An entry of `images`."""

    id: Id
    file_name: str
    width: Side
    height: Side

    def __post_init__(self) -> None:
        if not is_safe(self.file_name):
            raise ValueError(f"file_name {self.file_name[:80]!r} leaves the folder of the pictures")


class Annotation(Struct, frozen=True):
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
class Person:
    """One annotation that can be learnt from, or, with `keypoints` None, one that must be ignored.

    Attributes:
        id: of the annotation.
        box: x, y, width, height.
        area: square pixels.
        keypoints: float32 (K, 3) in the skeleton's order; x = y = 0 where v is 0.
        segmentation: JSON, or nothing.
    """

    id: int
    box: tuple[float, float, float, float]
    area: float
    keypoints: FloatArray | None
    segmentation: bytes


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a file says: its pictures, the people of each, and one line per kind of entry that was left out."""

    skeleton: Skeleton
    pictures: tuple[Picture, ...]
    people: Mapping[int, Sequence[Person]]
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
    pictures = {p.id: p for p in _entries(file.images, Picture, bad_pictures)}
    people = _people(_entries(file.annotations, Annotation, bad_people), pictures, category, order, bad_people)
    left_out = tuple(bad.line(path) for bad in (bad_pictures, bad_people) if bad.number)
    if not pictures:
        raise ExportError(left_out[0] if left_out else f"{path}: lists no images")
    return Annotations(skeleton=skeleton, pictures=tuple(pictures.values()), people=people, left_out=left_out)


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


def _people(
    annotations: Sequence[Annotation],
    pictures: Mapping[int, Picture],
    category: int,
    order: Sequence[int],
    bad: Callable[[str, object], None],
) -> dict[int, list[Person]]:
    """By picture."""
    people: dict[int, list[Person]] = {}
    for annotation in annotations:
        if annotation.category_id != category:
            continue
        where = f"annotation {annotation.id}"
        if annotation.image_id not in pictures:
            bad(where, f"its image {annotation.image_id} is not listed")
            continue
        here = people.setdefault(annotation.image_id, [])
        if len(here) == MAX_PEOPLE:
            bad(where, f"image {annotation.image_id} has over {MAX_PEOPLE} people")
            continue
        try:
            here.append(_person(annotation, order))
        except ValueError as error:
            bad(where, error)
    return people


def _person(annotation: Annotation, order: Sequence[int]) -> Person:
    _, _, width, height = annotation.bbox
    if width <= 0 or height <= 0:
        raise ValueError(f"bbox: got {width:g} x {height:g} pixels, wanted a positive size")
    keypoints = None
    if not annotation.iscrowd and annotation.num_keypoints != 0:
        keypoints = _keypoints(annotation.keypoints, order)
        if not keypoints[:, 2].any():
            keypoints = None
    area = annotation.area or BOX_SHARE * width * height
    return Person(
        id=annotation.id,
        box=annotation.bbox,
        area=area,
        keypoints=keypoints,
        segmentation=bytes(annotation.segmentation),
    )


def _keypoints(values: Sequence[float], order: Sequence[int]) -> FloatArray:
    if len(values) != 3 * len(order):
        raise ValueError(f"keypoints: got {len(values)} numbers, wanted {3 * len(order)}")
    points = np.array(values, np.float64).reshape(-1, 3)[list(order)]
    if not (np.abs(points) <= FAR).all():
        raise ValueError("keypoints: wanted finite pixels")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints: wanted v of 0, 1 or 2")
    points[points[:, 2] == 0] = 0
    return points.astype(np.float32)
