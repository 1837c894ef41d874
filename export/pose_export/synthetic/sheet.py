"""Many photographs in one picture, to look at."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.files import write_file
from pose_export.synthetic.people import SyntheticPeople
from pose_export.synthetic.stage import Stage
from pose_export.training.record import VISIBLE, Record
from pose_runtime.errors import ExportError

_LIMB, _SEEN, _HIDDEN = (90, 220, 90), (255, 220, 60), (40, 40, 230)


def write_sheet(
    path: Path, stage: Stage, assets: Path | None, backgrounds: Path | None, *, count: int, skeletons: bool = False
) -> None:
    """The first `count` photographs of a stage in a square grid; the kind of picture follows from the file's name.

    Raises:
        ExportError: as `SyntheticPeople`; a name that is no picture's, a file that cannot be written.
    """
    people = SyntheticPeople(stage, assets, backgrounds)
    try:
        tiles = [_drawn(people[i]) if skeletons else people[i].image for i in range(count)]
    finally:
        people.close()
    columns = math.ceil(math.sqrt(count))
    tiles += [np.zeros_like(tiles[0])] * (-count % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    try:
        fine, data = cv2.imencode(path.suffix, np.vstack(rows))
    except cv2.error as error:
        raise ExportError(f"{path}: wanted a name that ends in .png or .jpg") from error
    if not fine:
        raise ExportError(f"{path}: cannot be made into a picture")
    write_file(path, data.tobytes())


def _drawn(record: Record) -> NDArray[np.uint8]:
    """The photograph with limbs, and a dot per keypoint: blue where seen, red where hidden."""
    image = record.image.copy()
    for person in record.keypoints:
        at = [(round(float(x)), round(float(y))) for x, y, _ in person]
        for a, b in record.skeleton.limbs:
            if person[a, 2] and person[b, 2]:
                cv2.line(image, at[a], at[b], _LIMB, 1, cv2.LINE_AA)
        for place, v in zip(at, person[:, 2], strict=True):
            if v:
                cv2.circle(image, place, 2, _SEEN if v == VISIBLE else _HIDDEN, -1, cv2.LINE_AA)
    return image
