"""JHMDB: the published folder `joint_positions` (CLASS/CLIP/joint_positions.mat), or one split as MMPose's JSON.

One person per frame. The folder's pictures are CLASS/CLIP/00001.png and so on under the images' folder, and its
people's boxes those around the keypoints; MMPose's JSON carries boxes of its own. In both pixels are counted from 1.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from pose_calibration.annotations import coco
from pose_calibration.annotations._matlab import FIRST_PIXEL, load, numbers
from pose_calibration.annotations._model import Annotations, Limits, People, Picture, Protocol, make_people
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS

PROTOCOL = Protocol(name="JHMDB", length="box", threshold=0.2, within="<")

_FILE = "joint_positions.mat"


def read(path: Path) -> Annotations:
    """A folder of MATLAB files, or a JSON in COCO's form with 15 keypoints."""
    skeleton = SKELETONS["jhmdb15"]
    if not path.is_dir():
        pictures, notes = coco.pictures_of(path, coco.parse(path), skeleton, first_pixel=FIRST_PIXEL)
        return Annotations(path, PROTOCOL, skeleton, pictures, notes=notes)
    clips = sorted(islice(path.glob(f"*/*/{_FILE}"), Limits.PICTURES))
    if not clips:
        raise PoseError(f"{path}: no CLASS/CLIP/{_FILE} in it; wanted JHMDB's folder joint_positions")
    frames = [frame for clip in clips for frame in _clip(path, clip)]
    pictures = tuple(Picture(i, file, None, people) for i, (file, people) in enumerate(frames, 1))
    note = "the boxes are those around the keypoints: PCK by the box is a little stricter than by the published masks"
    return Annotations(path, PROTOCOL, skeleton, pictures, notes=(note,))


def _clip(root: Path, file: Path) -> list[tuple[str, People]]:
    """The frames of one clip: file name and people."""
    table = numbers(file, "pos_img", load(file, "pos_img"), (2, 15, None)).transpose(2, 1, 0)  # (frames, 15, 2)
    known = np.isfinite(table).all(axis=2, keepdims=True)
    joints = np.concatenate([np.where(known, table, 0), known], axis=2)
    folder = file.parent.relative_to(root).as_posix()
    return [
        (f"{folder}/{i:05d}.png", make_people(file, frame[None], SKELETONS["jhmdb15"], first_pixel=FIRST_PIXEL))
        for i, frame in enumerate(joints, 1)
    ]
