"""Frames Labeled in Cinema: `examples.mat`, one person per film frame.

FLIC calls left what is at the left of the picture. Where most people's `lsho` is at the left of their `rsho`, left and
right are exchanged, so that they are the person's own (they face the camera) as in every network here. The torso is
that of the published labels, |lsho - rhip|, which the exchange turns into the other diagonal.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from pose_calibration.annotations._matlab import FIRST_PIXEL, Fields, Matrix, load, numbers, reading
from pose_calibration.annotations._model import Annotations, Limits, Picture, Protocol, inner_file, make_people
from pose_calibration.keypoint_metrics import torso_sizes
from pose_runtime.arrays import Float64Array
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS

PROTOCOL = Protocol(name="FLIC", length="torso", threshold=0.2, within="<=")

_COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)
"""Of FLIC's 29: shoulder, elbow, wrist of each side, hips, eyes, nose."""


def read(path: Path, split: str) -> Annotations:
    """FLIC's examples; `split` is train, test or all."""
    with reading(path):
        examples = list(islice(load(path, "examples").structs(), Limits.PICTURES))
        wanted = [(i, one) for i, one in enumerate(examples, 1) if _in_split(path, one, split)]
        files = [inner_file(_field(path, one, "filepath").text(), path) for _, one in wanted]
        coordinates = np.array([_joints(path, one) for _, one in wanted]).reshape(-1, 11, 3)
    torso = torso_sizes(np.where(coordinates[..., 2:] > 0, coordinates[..., :2], np.nan), SKELETONS["flic11"].names)
    observers = _are_observers(coordinates)
    if observers:
        coordinates = coordinates[:, SKELETONS["flic11"].flip_index]
    pictures = tuple(
        Picture(
            id=number,
            file=file,
            size_wh=None,
            people=make_people(path, points[None], SKELETONS["flic11"], torso=[length], first_pixel=FIRST_PIXEL),
        )
        for (number, _), file, points, length in zip(wanted, files, coordinates, torso, strict=True)
    )
    note = "left and right of the labels are the observer's; they are exchanged to be the person's own"
    return Annotations(path, PROTOCOL, SKELETONS["flic11"], pictures, notes=(note,) if observers else ())


def _in_split(path: Path, example: Fields, split: str) -> bool:
    return split == "all" or bool(_field(path, example, "istest" if split == "test" else "istrain").numbers().any())


def _joints(path: Path, example: Fields) -> Float64Array:
    """(11, 3): x, y, annotated."""
    table = numbers(path, "coords", _field(path, example, "coords"), (2, None))
    if table.shape[1] <= max(_COLUMNS):
        raise PoseError(f"{path}: coords: got {table.shape[1]} columns, wanted 29")
    xy = table[:, list(_COLUMNS)].T
    known = np.isfinite(xy).all(axis=1, keepdims=True)
    return np.concatenate([np.where(known, xy, 0), known], axis=1)


def _are_observers(coordinates: Float64Array) -> bool:
    left, right = coordinates[:, 0], coordinates[:, 3]  # shoulders
    both = (left[:, 2] > 0) & (right[:, 2] > 0)
    return bool((left[both, 0] < right[both, 0]).mean() > 0.5) if both.any() else False


def _field(path: Path, example: Fields, name: str) -> Matrix:
    if name not in example:
        raise PoseError(f"{path}: examples: has no field {name!r}; wanted FLIC's examples.mat")
    return example[name]
