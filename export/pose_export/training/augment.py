"""Random views of records for training networks that find everybody in a picture (bottom-up)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct, field, structs
from numpy.random import Generator

from pose_export.training.affine import Colour, warp
from pose_export.training.photometric import Chance, Photometric, occlude, photometric
from pose_export.training.record import Record
from pose_runtime.arrays import Float64Array
from pose_runtime.errors import ExportError

Pixels = Annotated[float, Meta(gt=0, le=4096)]
Side = Annotated[int, Meta(ge=8, le=4096)]
More = Callable[[], Record]
"""Draws another record of the same source."""


class Augmentation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may happen to a record. The defaults are for bottom-up training at 256 to 320 pixels.

    Attributes:
        size_wh: of the views.
        person: shortest and tallest that the person in the middle of attention becomes: the longer side of their box,
            in pixels; in between, every factor is as likely as any other.
        least_fill: the picture is not shrunk further than to this share of what would fit into the view.
        zoom: the picture is not enlarged further; goes before `person`.
        rotation: degrees to either side, at most.
        upright: chance of no rotation at all.
        any_rotation: chance of any angle.
        stretch: the sides may differ by at most exp(this).
        flip: chance of the mirror image.
        slack: share of the view that may show more of the surroundings than the picture's size asks for.
        black: chance that the surroundings are black, as in the runtime's letterbox; else they have a random dull
            colour.
        mosaic: chance that four records share the view.
        least_share: of a person's box that must be in the view for them to count; else they are ignored.
        smallest: longer side of the box, in pixels, that people must have to count.
        photometric: what happens to the pixels.
    """

    size_wh: tuple[Side, Side] = (256, 256)
    person: tuple[Pixels, Pixels] = (30.0, 300.0)
    least_fill: Annotated[float, Meta(gt=0, le=4)] = 0.9
    zoom: Annotated[float, Meta(gt=0, le=64)] = 3.0
    rotation: Annotated[float, Meta(ge=0, le=180)] = 40.0
    upright: Chance = 0.3
    any_rotation: Chance = 0.05
    stretch: Annotated[float, Meta(ge=0, le=1)] = 0.1
    flip: Chance = 0.5
    slack: Chance = 0.1
    black: Chance = 0.5
    mosaic: Chance = 0.0
    least_share: Chance = 0.1
    smallest: Annotated[float, Meta(ge=0, le=4096)] = 14.0
    photometric: Photometric = field(default_factory=Photometric)

    def __post_init__(self) -> None:
        if self.person[0] > self.person[1]:
            raise ValueError(f"person: got {self.person[0]} to {self.person[1]}, wanted the lower one first")


class Augmenter:
    """Prepares records for training; see `loader.Prepare`."""

    def __init__(self, settings: Augmentation) -> None:
        self.settings = settings

    def __call__(self, record: Record, more: More, rng: Generator) -> Record:
        """A random view of the record, or of it and three others."""
        if rng.random() < self.settings.mosaic:
            return mosaic((record, more(), more(), more()), self.settings, rng)
        return augment(record, self.settings, rng)


def augment(record: Record, settings: Augmentation, rng: Generator) -> Record:
    """A random view: one affine map, then things in front, light, colours, blur, noise and compression."""
    return _finish(random_view(record, settings, rng), settings, rng)


def mosaic(records: tuple[Record, Record, Record, Record], settings: Augmentation, rng: Generator) -> Record:
    """Random views of four records in one picture, parted at a random point; people get new ids, 0 to N - 1.

    People become as much smaller as their part of the view is.
    """
    width, height = settings.size_wh
    x, y = (max(4, round(side * rng.uniform(0.35, 0.65))) for side in (width, height))
    places = ((0, 0, x, y), (x, 0, width - x, y), (0, y, x, height - y), (x, y, width - x, height - y))
    parts = []
    for record, (left, top, w, h) in zip(records, places, strict=True):
        factor = math.sqrt(w * h / (width * height))
        part = _resized(settings, (w, h), factor)
        parts.append((random_view(record, part, rng), left, top))
    return _finish(_joined(parts, settings.size_wh), settings, rng)


def random_view(record: Record, settings: Augmentation, rng: Generator) -> Record:
    """The record through one random affine map; pixels keep their colours."""
    matrix = _random_map(record, settings, rng)
    fill: Colour = (0, 0, 0)
    if rng.random() >= settings.black:
        tint = rng.uniform(0, 255) + rng.uniform(-40, 40, 3)
        blue, green, red = (int(level) for level in np.clip(tint, 0, 255))
        fill = (blue, green, red)
    least, smallest = settings.least_share, settings.smallest
    return warp(record, matrix, settings.size_wh, fill=fill, least_share=least, smallest=smallest)


def _finish(record: Record, settings: Augmentation, rng: Generator) -> Record:
    record = occlude(record, settings.photometric, rng)
    return replace(record, image=photometric(record.image, settings.photometric, rng))


def _resized(settings: Augmentation, size_wh: tuple[int, int], factor: float) -> Augmentation:
    """The settings for a part of the view."""
    person = (max(settings.person[0] * factor, 1e-3), max(settings.person[1] * factor, 1e-3))
    return structs.replace(settings, size_wh=size_wh, person=person)


def _joined(parts: list[tuple[Record, int, int]], size_wh: tuple[int, int]) -> Record:
    """One record of several; each comes with the x and y of its corner."""
    first = parts[0][0]
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    ignored = np.zeros((size_wh[1], size_wh[0]), bool)
    keypoints, boxes = [], []
    for part, left, top in parts:
        if part.skeleton != first.skeleton:
            raise ExportError(f"{part.name}: got skeleton {part.skeleton.name}, wanted {first.skeleton.name}")
        height, width = part.image.shape[:2]
        image[top : top + height, left : left + width] = part.image
        if part.ignored is not None:
            ignored[top : top + height, left : left + width] = part.ignored
        shift = np.array([left, top, 0], np.float32) * (part.keypoints[..., 2:] > 0)
        keypoints.append(part.keypoints + shift)
        boxes.append(part.boxes + np.array([left, top, 0, 0], np.float32))
    areas = np.concatenate([part.areas for part, _, _ in parts])
    return replace(
        first,
        name=" + ".join(part.name for part, _, _ in parts),
        image=image,
        keypoints=np.concatenate(keypoints).astype(np.float32),
        boxes=np.concatenate(boxes).astype(np.float32),
        areas=areas,
        ids=np.arange(len(areas), dtype=np.int64),
        ignored=ignored if ignored.any() else None,
    )


# ---- the map -------------------------------------------------------------------------------------------------


def _random_map(record: Record, settings: Augmentation, rng: Generator) -> Float64Array:
    """float64 (2, 3), old to new pixels: a point of a random person comes to lie at a random place."""
    height, width = record.image.shape[:2]
    scale, point = _attention(record, settings, rng)
    fit = min(settings.size_wh[0] / width, settings.size_wh[1] / height)
    scale = min(max(scale, settings.least_fill * fit), settings.zoom)
    stretch = math.exp(rng.uniform(-settings.stretch, settings.stretch) / 2)
    angle = math.radians(_angle(settings, rng))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.diag([scale * stretch, scale / stretch])
    if rng.random() < settings.flip:
        linear[:, 0] *= -1
    place = np.array(settings.size_wh) * rng.uniform(0.15, 0.85, 2)
    shift = _held(linear, place - linear @ point, (width, height), settings)
    return np.column_stack([linear, shift])


def _attention(record: Record, settings: Augmentation, rng: Generator) -> tuple[float, Float64Array]:
    """The scale, and the old pixel that the view is placed by."""
    height, width = record.image.shape[:2]
    if not len(record.boxes):
        cover = max(settings.size_wh[0] / width, settings.size_wh[1] / height)
        return cover * math.exp(rng.uniform(-0.4, 0.4)), rng.uniform(0, 1, 2) * (width, height)
    box = record.boxes[rng.integers(len(record.boxes))].astype(np.float64)
    low, high = (math.log(size) for size in settings.person)
    return math.exp(rng.uniform(low, high)) / max(box[2:].max(), 1.0), box[:2] + box[2:] * rng.uniform(0.2, 0.8, 2)


def _angle(settings: Augmentation, rng: Generator) -> float:
    kind = rng.random()
    if kind < settings.any_rotation:
        return rng.uniform(-180, 180)
    if kind < settings.any_rotation + settings.upright:
        return 0.0
    return rng.uniform(-settings.rotation, settings.rotation)


def _held(linear: Float64Array, shift: Float64Array, old_wh: tuple[int, int], settings: Augmentation) -> Float64Array:
    """The shift, changed so that the view shows no more surroundings than the picture's size and `slack` ask for."""
    corners = np.array([[x, y] for x in (-0.5, old_wh[0] - 0.5) for y in (-0.5, old_wh[1] - 0.5)]) @ linear.T
    low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    view = np.array(settings.size_wh, np.float64)
    room, slack = view - extent, settings.slack * view
    start = np.clip(low + shift + 0.5, np.minimum(room, 0) - slack, np.maximum(room, 0) + slack)
    return np.asarray(start - 0.5 - low)
