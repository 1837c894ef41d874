"""COCO keypoint data sets, and others in COCO's format, as records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pose_export.training.affine import box_mask
from pose_export.training.coco_json import Annotations, Outline, Picture, read_annotations
from pose_export.training.coco_layout import find_layout, image_folder
from pose_export.training.masks import Mask, segmentation_mask
from pose_export.training.record import Record
from pose_export.training.source import OnBad, RecordError
from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SourceError
from pose_runtime.sources.images import read_image


class Coco:
    """The pictures of one keypoint file; pictures are read when they are asked for.

    People without a labelled keypoint and crowds are not among a record's people: their masks are `ignored`.

    Args:
        folder: of the pictures.
        annotations: of all pictures.
        chosen: the numbers of those pictures that are records; None is all.
        description: one line on what was found and where.
    """

    def __init__(
        self, folder: Path, annotations: Annotations, description: str, chosen: Sequence[int] | None = None
    ) -> None:
        self.folder, self.skeleton, self.description = folder, annotations.skeleton, description
        self._annotations = annotations
        self._chosen = range(len(annotations.pictures)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        """The record of the picture with that number; RecordError names the file that cannot be read."""
        number, annotations = self._chosen[index], self._annotations
        path = self.folder / annotations.pictures[number].file_name
        image = _read(path, annotations.pictures[number])
        try:
            ignored = _ignored(annotations.outlines.get(number, ()), (image.shape[1], image.shape[0]))
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            raise RecordError(f"{path}: {error}") from error
        rows = slice(annotations.first[number], annotations.first[number + 1])
        return Record(
            name=str(path),
            image=image,
            keypoints=annotations.keypoints[rows].copy(),
            boxes=annotations.boxes[rows].copy(),
            areas=annotations.areas[rows].copy(),
            ids=annotations.ids[rows].copy(),
            ignored=ignored,
            skeleton=self.skeleton,
        )

    @property
    def image_ids(self) -> tuple[int, ...]:
        """COCO's id of every picture."""
        return tuple(self._annotations.pictures[number].id for number in self._chosen)

    def with_people(self) -> Coco:
        """Only the pictures in which somebody is labelled, as most training uses them."""
        first = self._annotations.first
        kept = [number for number in self._chosen if first[number] < first[number + 1]]
        return Coco(self.folder, self._annotations, f"{self.description}; the {len(kept)} with people", kept)


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
    counts = np.diff(annotations.first)
    description = (
        f"{len(counts)} pictures in {folder}, {np.count_nonzero(counts)} of them with {counts.sum()} people of "
        f"{annotations.skeleton.name}, by {layout.json}"
    )
    return Coco(folder, annotations, description)


def _read(path: Path, picture: Picture) -> ByteArray:
    """The picture, of the size that the annotations are for."""
    try:
        image = read_image(path)
    except SourceError as error:
        raise RecordError(str(error)) from error
    height, width = image.shape[:2]
    if (width, height) != (picture.width, picture.height):
        said = f"{picture.width} x {picture.height}"
        raise RecordError(f"{path}: got {width} x {height} pixels, the annotations say {said}")
    return image


def _ignored(outlines: Sequence[Outline], size_wh: tuple[int, int]) -> Mask | None:
    """bool (H, W): crowds and unlabelled people, except where labelled people are; None for nowhere."""
    if not outlines:
        return None
    ignored = np.zeros((size_wh[1], size_wh[0]), bool)
    for outline in sorted(outlines, key=lambda outline: outline.labelled):
        mask = _mask(outline, size_wh)
        if not outline.labelled:
            ignored |= _box_mask(outline, size_wh) if mask is None else mask
        elif mask is not None:
            ignored &= ~mask
    return ignored if ignored.any() else None


def _mask(outline: Outline, size_wh: tuple[int, int]) -> Mask | None:
    """What the annotation covers; None where it has no outline."""
    content = msgspec.json.decode(outline.segmentation) if outline.segmentation else None
    if not content:
        return None
    try:
        return segmentation_mask(content, size_wh)
    except ValueError as error:
        raise ValueError(f"annotation {outline.id}: {error}") from error


def _box_mask(outline: Outline, size_wh: tuple[int, int]) -> Mask:
    return box_mask(np.array([outline.box], np.float32), (size_wh[1], size_wh[0]))
