"""Leeds Sports Poses: `joints.mat` of LSP (3, 14, 2000) or its extended training set (14, 3, 10000).

One person per picture, im0001.jpg and so on; the first 1000 of LSP are for training. All 14 joints count, occluded ones
too, as the field evaluates; in the extended set those that are marked as not annotated do not. Left and right must be
the person's own (the published file's are): with an observer's labels a good network looks bad.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose_calibration.annotations._matlab import FIRST_PIXEL, load, numbers
from pose_calibration.annotations._model import Annotations, Picture, Protocol, make_people
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS

PROTOCOL = Protocol(name="LSP", length="torso", threshold=0.2, within="<=")

_TRAIN = 1000  # of the 2000


def read(path: Path, split: str) -> Annotations:
    """LSP's joints; `split` is train, test or all."""
    matrix = load(path, "joints")
    extended = matrix.shape[:2] == (14, 3)
    table = numbers(path, "joints", matrix, (14, 3, None) if extended else (3, 14, None))
    joints = table.transpose(2, 0, 1) if extended else table.transpose(2, 1, 0)  # (N, 14, 3)
    joints = np.concatenate([joints[..., :2], np.where(extended, joints[..., 2:] > 0, True)], axis=2)
    if not np.isfinite(joints).all():
        raise PoseError(f"{path}: joints: got a value that is not finite, wanted pixels")
    chosen = _chosen(len(joints), split)
    digits = 5 if extended else 4
    pictures = tuple(
        Picture(
            id=i + 1,
            file=f"im{i + 1:0{digits}d}.jpg",
            size_wh=None,
            people=make_people(path, joints[i : i + 1], SKELETONS["lsp14"], first_pixel=FIRST_PIXEL),
        )
        for i in chosen
    )
    return Annotations(path, PROTOCOL, SKELETONS["lsp14"], pictures)


def _chosen(count: int, split: str) -> range:
    """Positions of a split; files that are not LSP's 2000 have none and are taken whole."""
    if count != 2 * _TRAIN or split == "all":
        return range(count)
    return range(_TRAIN) if split == "train" else range(_TRAIN, count)
