"""Views of records by the runtime's own rules: letterboxes of whole pictures, and crops of one person (top-down)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta, Struct, field
from numpy.random import Generator

from pose_export.training.affine import warp
from pose_export.training.augment import More, Side
from pose_export.training.photometric import Chance, Photometric, occlude, photometric
from pose_export.training.record import Record
from pose_export.training.source import RecordError
from pose_runtime.arrays import Float64Array
from pose_runtime.frame import Frame
from pose_runtime.geometry import (
    Crop,
    Geometry,
    Letterbox,
    ShortSide,
    Stretch,
    crop_frame,
    crop_inverse,
    plan,
)
from pose_runtime.preprocess import preprocess

LETTERBOX = Letterbox(interpolation="bilinear", round_pixels=True, pad=0.0, anchor="centre")
"""The rule of bottom-up networks of fixed input size."""

_TRIES = 50


def resize_only(record: Record, size_wh: tuple[int, int], rule: Stretch | Letterbox | ShortSide = LETTERBOX) -> Record:
    """The whole picture as the runtime would show it to the network, for validation; labels follow.

    Args:
        record: stays as it is.
        size_wh: of the network; (0, 0) for `ShortSide`.
        rule: of the bundle to be.
    """
    height, width = record.image.shape[:2]
    geometry = plan(rule, (width, height), size_wh)
    return _seen(record, geometry)


def crop_person(record: Record, person: int, size_wh: tuple[int, int], rule: Crop) -> Record:
    """One person as the runtime would show them to a top-down network; nobody else is in the result.

    Args:
        record: stays as it is.
        person: their row.
        size_wh: of the network.
        rule: of the bundle to be.

    Raises:
        FrameError: their box is tiny or far away.
    """
    x, y, width, height = (float(value) for value in record.boxes[person])
    frame_wh = (record.image.shape[1], record.image.shape[0])
    return _seen(only(record, person), plan(rule, frame_wh, size_wh, (x, y, width, height)))


def only(record: Record, person: int) -> Record:
    """The record with one of its people, by row."""
    one = slice(person, person + 1)
    return replace(
        record,
        name=f"{record.name}, person {record.ids[person]}",
        keypoints=record.keypoints[one],
        boxes=record.boxes[one],
        areas=record.areas[one],
        ids=record.ids[one],
    )


def _seen(record: Record, geometry: Geometry) -> Record:
    """Labels by the map, pixels by the runtime itself."""
    matrix = np.asarray(cv2.invertAffineTransform(geometry.inverse), np.float64)
    moved = warp(record, matrix, geometry.size_wh, least_share=0)
    width, height = geometry.size_wh
    values = np.empty((3, height, width), np.float32)
    frame = Frame.from_image(record.image)
    preprocess(frame, geometry, colour="bgr", mean=(0, 0, 0), std=(1, 1, 1), out=values)
    image = np.clip(np.rint(values), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return replace(moved, image=np.ascontiguousarray(image))


class Whole:
    """Prepares whole pictures for validation; see `loader.Prepare`."""

    def __init__(self, size_wh: tuple[int, int], rule: Stretch | Letterbox | ShortSide = LETTERBOX) -> None:
        self.size_wh, self.rule = size_wh, rule

    def __call__(self, record: Record, _more: More, _rng: Generator) -> Record:
        """The same view every time."""
        return resize_only(record, self.size_wh, self.rule)


# ---- training ------------------------------------------------------------------------------------------------


class CropAugmentation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may happen to a person's crop; the defaults are HRNet's (Sun et al. 2019) for 192 x 256.

    Attributes:
        size_wh: of the crops.
        rule: how a box becomes a crop where nothing is random; `round_pixels` has no meaning here.
        scale: the crop grows or shrinks by up to this share.
        rotate: chance of a rotation; `rotation`: degrees to either side, at most.
        shift: the box moves by up to this share of its sides, as a detector's boxes do.
        flip: chance of the mirror image.
        photometric: what happens to the pixels.
    """

    size_wh: tuple[Side, Side] = (192, 256)
    rule: Crop = Crop(enlarge=1.25, convention="udp", round_pixels=True)
    scale: Annotated[float, Meta(ge=0, lt=1)] = 0.35
    rotate: Chance = 0.6
    rotation: Annotated[float, Meta(ge=0, le=180)] = 45.0
    shift: Annotated[float, Meta(ge=0, le=1)] = 0.06
    flip: Chance = 0.5
    photometric: Photometric = field(default_factory=Photometric)


class CropAugmenter:
    """Prepares random crops of one random person; see `loader.Prepare`."""

    def __init__(self, settings: CropAugmentation) -> None:
        self.settings = settings

    def __call__(self, record: Record, more: More, rng: Generator) -> Record:
        """A crop of somebody in the record, or in the next one that has somebody."""
        for _ in range(_TRIES):
            for person in rng.permutation(len(record.ids)):
                crop = augment_crop(record, int(person), self.settings, rng)
                if len(crop.ids):
                    return crop
            record = more()
        raise RecordError(f"{record.name}: nobody to crop here, nor in {_TRIES} records before")


def augment_crop(record: Record, person: int, settings: CropAugmentation, rng: Generator) -> Record:
    """A random crop of one person; nobody is in it where no labelled joint is."""
    matrix = _random_crop(record, person, settings, rng)
    view = warp(only(record, person), matrix, settings.size_wh, least_share=0)
    view = occlude(view, settings.photometric, rng)
    return replace(view, image=photometric(view.image, settings.photometric, rng))


def _random_crop(record: Record, person: int, settings: CropAugmentation, rng: Generator) -> Float64Array:
    """float64 (2, 3), old to new pixels."""
    x, y, width, height = (float(value) for value in record.boxes[person])
    x, y = x + width * rng.uniform(-settings.shift, settings.shift), y + height * rng.uniform(-1, 1) * settings.shift
    size = (max(width, 2.0), max(height, 2.0))
    centre, shown_wh = crop_frame(settings.rule, (x, y, *size), settings.size_wh)
    factor = 1 + rng.uniform(-settings.scale, settings.scale)
    rotation = rng.uniform(-settings.rotation, settings.rotation) if rng.random() < settings.rotate else 0.0
    shown_wh = (max(shown_wh[0] * factor, 2.0), max(shown_wh[1] * factor, 2.0))
    inverse = crop_inverse(settings.rule.convention, centre, shown_wh, settings.size_wh, rotation)
    matrix = np.asarray(cv2.invertAffineTransform(inverse), np.float64)
    if rng.random() < settings.flip:
        matrix[0] = (0, 0, settings.size_wh[0] - 1) - matrix[0]
    return matrix
