"""COCO keypoint data sets, and others in COCO's format, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from pose_export.training.coco_json import Person, Picture, read_annotations
from pose_export.training.coco_layout import find_layout, image_folder
from pose_export.training.masks import Mask, segmentation_mask
from pose_export.training.record import Record
from pose_export.training.source import OnBad, RecordError
from pose_runtime.errors import SourceError
from pose_runtime.skeletons import Skeleton
from pose_runtime.sources.images import read_image


class Coco:
    """The pictures of one keypoint file; pictures are read when they are asked for.

    People without a labelled keypoint and crowds are not among a record's people: their masks are `ignored`.

    Args:
        folder: of the pictures.
        pictures: in the order of the file.
        people: of each picture.
        skeleton: of all people.
        description: one line on what was found and where.
    """

    def __init__(
        self,
        folder: Path,
        pictures: Sequence[Picture],
        people: Sequence[Sequence[Person]],
        skeleton: Skeleton,
        description: str,
    ) -> None:
        self.folder, self.skeleton, self.description = folder, skeleton, description
        self._pictures, self._people = pictures, people

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Record:
        """The record of the picture with that number; RecordError names the file that cannot be read."""
        picture, people = self._pictures[index], self._people[index]
        path = self.folder / picture.file_name
        try:
            image = read_image(path)
        except SourceError as error:
            raise RecordError(str(error)) from error
        height, width = image.shape[:2]
        if (width, height) != (picture.width, picture.height):
            said = f"{picture.width} x {picture.height}"
            raise RecordError(f"{path}: got {width} x {height} pixels, the annotations say {said}")
        try:
            ignored = _ignored(people, (width, height))
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise RecordError(f"{path}: {error}") from error
        known = [(person, person.keypoints) for person in people if person.keypoints is not None]
        return Record(
            name=str(path),
            image=image,
            keypoints=np.array([keypoints for _, keypoints in known], np.float32).reshape(
                -1, len(self.skeleton.names), 3
            ),
            boxes=np.array([person.box for person, _ in known], np.float32).reshape(-1, 4),
            areas=np.array([person.area for person, _ in known], np.float32),
            ids=np.array([person.id for person, _ in known], np.int64),
            ignored=ignored,
            skeleton=self.skeleton,
        )

    @property
    def image_ids(self) -> tuple[int, ...]:
        """COCO's id of every picture."""
        return tuple(picture.id for picture in self._pictures)

    def with_people(self) -> Coco:
        """Only the pictures in which somebody is labelled, as most training uses them."""
        kept = [i for i, people in enumerate(self._people) if any(p.keypoints is not None for p in people)]
        pictures, people = [self._pictures[i] for i in kept], [self._people[i] for i in kept]
        return Coco(self.folder, pictures, people, self.skeleton, f"{self.description}; the {len(kept)} with people")


def open_coco(text: str, *, on_bad: OnBad = None) -> Coco:
    """A COCO data set: `DIR`, `DIR:SPLIT` or `FILE.json`.

    Pictures are looked for in DIR/SPLIT, DIR/images/SPLIT, DIR/images, beside the JSON, and in DIR. Keypoints may be
    any of `pose_runtime.skeletons`, in any order; without names they are COCO's 17.

    Args:
        text: see above.
        on_bad: told once of bad entries of the JSON, which are left out; None refuses the file for them.

    Raises:
        ExportError: no such data, no keypoints of a known skeleton, or none of the pictures.
        RecordError: bad entries, and no on_bad.
    """
    layout = find_layout(text)
    annotations = read_annotations(layout.json)
    for line in annotations.left_out:
        if on_bad is None:
            raise RecordError(line)
        on_bad(RecordError(line))
    folder = image_folder(layout, [picture.file_name for picture in annotations.pictures])
    people = [_slim(annotations.people.get(picture.id, ())) for picture in annotations.pictures]
    labelled = [sum(person.keypoints is not None for person in here) for here in people]
    description = (
        f"{len(people)} pictures in {folder}, {sum(map(bool, labelled))} of them with {sum(labelled)} people of "
        f"{annotations.skeleton.name}, by {layout.json}"
    )
    return Coco(folder, annotations.pictures, people, annotations.skeleton, description)


def _slim(people: Sequence[Person]) -> tuple[Person, ...]:
    """The same people, without outlines where nothing is ignored: they are most of a large file."""
    if any(person.keypoints is None for person in people):
        return tuple(people)
    return tuple(replace(person, segmentation=b"") for person in people)


def _ignored(people: Sequence[Person], size_wh: tuple[int, int]) -> Mask | None:
    """bool (H, W): crowds and unlabelled people, except where labelled people are; None for nowhere."""
    unlabelled = [person for person in people if person.keypoints is None]
    if not unlabelled:
        return None
    ignored = np.zeros((size_wh[1], size_wh[0]), bool)
    for person in unlabelled:
        mask = _mask(person, size_wh)
        ignored |= _box_mask(person, size_wh) if mask is None else mask
    for person in people:
        mask = None if person.keypoints is None else _mask(person, size_wh)
        if mask is not None:
            ignored &= ~mask
    return ignored if ignored.any() else None


def _mask(person: Person, size_wh: tuple[int, int]) -> Mask | None:
    """What the annotation outlines; None where it has no outline."""
    content = msgspec.json.decode(person.segmentation) if person.segmentation else None
    if not content:
        return None
    try:
        return segmentation_mask(content, size_wh)
    except ValueError as error:
        raise ValueError(f"annotation {person.id}: {error}") from error


def _box_mask(person: Person, size_wh: tuple[int, int]) -> Mask:
    x, y, width, height = person.box
    mask = np.zeros((size_wh[1], size_wh[0]), bool)
    mask[max(round(y), 0) : max(round(y + height), 0), max(round(x), 0) : max(round(x + width), 0)] = True
    return mask
