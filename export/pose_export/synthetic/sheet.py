"""Many photographs in one picture, to look at."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.files import check_folder, write_file
from pose_export.synthetic.people import SyntheticPeople
from pose_export.synthetic.stage import Stage
from pose_export.training.record import VISIBLE, Record
from pose_runtime.errors import ExportError

MAX_SIDE = 32768
"""Pixels of a sheet."""
SUFFIXES = (".png", ".jpg")
_LIMB, _SEEN, _HIDDEN = (90, 220, 90), (255, 220, 60), (40, 40, 230)


def write_sheet(
    path: Path, stage: Stage, assets: Path | None, backgrounds: Path | None, *, count: int, skeletons: bool = False
) -> None:
    """The first `count` photographs of a stage in a square grid; the kind of picture follows from the file's name.

    Raises:
        ExportError: as `SyntheticPeople`; a name that is no picture's, more photographs than fit, a file that cannot be
            written.
    """
    columns = math.ceil(math.sqrt(count))
    if columns * max(stage.size_wh) > MAX_SIDE:
        raise ExportError(f"{path}: {count} photographs of {stage.size_wh} do not fit {MAX_SIDE} pixels; wanted fewer")
    if path.suffix.lower() not in SUFFIXES:
        raise ExportError(f"{path}: wanted a name that ends in {' or '.join(SUFFIXES)}")
    check_folder(path)
    people = SyntheticPeople(stage, assets, backgrounds)
    try:
        tiles = [_drawn(people[i]) if skeletons else people[i].image for i in range(count)]
    finally:
        people.close()
    tiles += [np.zeros_like(tiles[0])] * (-count % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    write_file(path, cv2.imencode(path.suffix, np.vstack(rows))[1].tobytes())


def _drawn(record: Record) -> NDArray[np.uint8]:
    """The photograph with limbs, and a dot per keypoint: blue where seen, red where hidden."""
    image: NDArray[np.uint8] = record.image.copy()
    for person in record.keypoints:
        at = [(round(float(x)), round(float(y))) for x, y, _ in person]
        for a, b in record.skeleton.limbs:
            if person[a, 2] and person[b, 2]:
                cv2.line(image, at[a], at[b], _LIMB, 1, cv2.LINE_AA)
        for place, v in zip(at, person[:, 2], strict=True):
            if v:
                cv2.circle(image, place, 2, _SEEN if v == VISIBLE else _HIDDEN, -1, cv2.LINE_AA)
    return image
