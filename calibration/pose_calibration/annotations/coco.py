"""COCO's keypoint annotations, such as `person_keypoints_val2017.json`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pose_calibration.accuracy import PERSON, coco_tools
from pose_calibration.annotations._model import (
    Annotations,
    Limits,
    People,
    Picture,
    Protocol,
    inner_file,
    make_people,
    read_file,
)
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS, Skeleton

PROTOCOL = Protocol(name="COCO", length="box", threshold=0.2, within="<=", everybody=True)

Side = Annotated[int, Meta(ge=1, le=1 << 20)]


class Image(Struct):
    """An entry of `images`."""

    id: int
    file_name: Annotated[str, Meta(max_length=1000)]
    width: Side | None = None
    height: Side | None = None


class Person(Struct):
    """An entry of `annotations`."""

    image_id: int
    bbox: Annotated[list[float], Meta(min_length=4, max_length=4)]
    category_id: int = PERSON
    keypoints: Annotated[list[float], Meta(max_length=300)] = []
    area: float | None = None
    iscrowd: int = 0


class Content(Struct):
    """The file."""

    images: Annotated[list[Image], Meta(max_length=Limits.PICTURES)]
    annotations: Annotated[list[Person], Meta(max_length=Limits.PEOPLE)]


def read(path: Path) -> Annotations:
    """COCO-17 annotations; PoseError names what is wrong. Annotations of other categories are left out."""
    coco_tools()  # which will be needed: better to miss them now than after hours
    content = parse(path)
    pictures, notes = pictures_of(path, content, SKELETONS["coco17"])
    return Annotations(path, PROTOCOL, SKELETONS["coco17"], pictures, _for_pycocotools(content), notes)


def parse(path: Path) -> Content:
    """A file in COCO's form."""
    try:
        return msgspec.json.decode(read_file(path), type=Content)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise PoseError(f"{path}: no COCO keypoint annotations: {error}") from error


def _for_pycocotools(content: Content) -> dict[str, Any]:
    """The people with all that pycocotools reads; what a file leaves out would fail there, after hours of work."""
    people = [person for person in content.annotations if person.category_id == PERSON]
    annotations = [
        {
            "id": number,
            "image_id": person.image_id,
            "category_id": PERSON,
            "keypoints": person.keypoints or [0.0] * 51,
            "num_keypoints": sum(v > 0 for v in person.keypoints[2::3]),
            "area": _area(person),
            "bbox": person.bbox,
            "iscrowd": int(person.iscrowd != 0),
        }
        for number, person in enumerate(people, 1)
    ]
    images = [{"id": image.id} for image in content.images]
    return {"images": images, "annotations": annotations, "categories": [{"id": PERSON, "name": "person"}]}


def _area(person: Person) -> float:
    return person.bbox[2] * person.bbox[3] if person.area is None else person.area


def pictures_of(
    path: Path, content: Content, skeleton: Skeleton, *, first_pixel: float = 0.0
) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """The pictures ascending by id, and what is to be said of them.

    first_pixel: coordinate of the first pixel's centre: 1 in files that were made from MATLAB's.
    """
    of_image: dict[int, list[Person]] = defaultdict(list)
    for person in content.annotations:
        if person.category_id == PERSON:
            of_image[person.image_id].append(person)
    known: dict[int, Picture] = {}
    for image in sorted(content.images, key=lambda one: one.id):
        if image.id in known:
            raise PoseError(f"{path}: image id {image.id} is given twice")
        size_wh = None if image.width is None or image.height is None else (image.width, image.height)
        people = _people(path, of_image.pop(image.id, []), skeleton, first_pixel)
        known[image.id] = Picture(image.id, inner_file(image.file_name, path), size_wh, people)
    strays = sum(len(people) for people in of_image.values())
    notes = (f"{strays} annotations name images that the file does not list; they are left out",) if strays else ()
    return tuple(known.values()), notes


def _people(path: Path, people: list[Person], skeleton: Skeleton, first_pixel: float) -> People:
    numbers = 3 * len(skeleton.names)
    for person in people:
        if len(person.keypoints) not in (0, numbers):
            wanted = f"{numbers} for {skeleton.name}"
            raise PoseError(f"{path}: keypoints: got {len(person.keypoints)} numbers, wanted {wanted}")
    return make_people(
        path,
        [person.keypoints or [0.0] * numbers for person in people],
        skeleton,
        boxes=[person.bbox for person in people],
        areas=[_area(person) for person in people],
        counts=[not person.iscrowd for person in people],
        first_pixel=first_pixel,
    )
