"""MPII Human Pose: the published `mpii_human_pose_v1_u12_1.mat`, or HRNet's JSON with the head boxes of `gt_valid.mat`.

The .mat holds the labels of the training pictures, several people each, with head boxes. HRNet's `valid.json` lists the
usual 2958 validation people one by one, and `gt_valid.mat` (variable `headboxes_src`) their heads' boxes in the same
order. Without it there is no PCKh. Pixels are counted from 1 in all of them.

Not everybody in a picture is annotated, so nobody counts as invented, and there is no AP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from pose_calibration.annotations._matlab import FIRST_PIXEL, Fields, load, numbers, reading
from pose_calibration.annotations._model import (
    Annotations,
    Limits,
    Picture,
    Protocol,
    inner_file,
    make_people,
    read_file,
)
from pose_calibration.keypoint_metrics import head_sizes
from pose_runtime.arrays import Float64Array
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS

PROTOCOL = Protocol(name="MPII", length="head", threshold=0.5, within="<=", left_out=("pelvis", "thorax"))

_SIDE = 200.0  # pixels of a person's box at scale 1
_DOWN = 15.0  # pixels that HRNet moves the centre down at scale 1

Pair = Annotated[list[float], Meta(min_length=2, max_length=2)]


class Person(Struct):
    """One entry of HRNet's JSON."""

    image: Annotated[str, Meta(max_length=1000)]
    joints: Annotated[list[Pair], Meta(min_length=16, max_length=16)]
    joints_vis: Annotated[list[float], Meta(min_length=16, max_length=16)]
    center: Pair
    scale: Annotated[float, Meta(ge=0, le=1000)]


class _Found(Struct):
    """A person of either file: keypoints (16, 3), box x, y, width, height, head's size or NaN."""

    keypoints: Any
    box: list[float]
    head: float


def read(path: Path, head_boxes: Path | None) -> Annotations:
    """MPII's annotations; `head_boxes` belongs to a JSON only."""
    notes: tuple[str, ...] = ()
    if path.suffix.lower() == ".mat":
        if head_boxes is not None:
            raise PoseError(f"{head_boxes}: {path} holds the head boxes itself; leave them out")
        of_file = _published(path)
    else:
        of_file = _listed(path, head_boxes)
        if head_boxes is None:
            notes = ("no PCKh: give the heads' boxes (gt_valid.mat) by --head-boxes",)
    pictures = []
    for number, (file, people) in enumerate(of_file.items(), 1):
        made = make_people(
            path,
            np.array([one.keypoints for one in people]),
            SKELETONS["mpii16"],
            boxes=[one.box for one in people],
            head=[one.head for one in people],
            first_pixel=FIRST_PIXEL,
        )
        pictures.append(Picture(number, inner_file(file, path), None, made))
    return Annotations(path, PROTOCOL, SKELETONS["mpii16"], tuple(pictures), notes=notes)


def _listed(path: Path, head_boxes: Path | None) -> dict[str, list[_Found]]:
    try:
        people = msgspec.json.decode(read_file(path), type=list[Person])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise PoseError(f"{path}: no MPII annotations as HRNet lists them: {error}") from error
    if len(people) > Limits.PEOPLE:
        raise PoseError(f"{path}: got {len(people)} people, wanted at most {Limits.PEOPLE}")
    heads = np.full(len(people), np.nan)
    if head_boxes is not None:
        table = numbers(head_boxes, "headboxes_src", load(head_boxes, "headboxes_src"), (2, 2, None))
        if table.shape[2] != len(people):
            raise PoseError(f"{head_boxes}: got {table.shape[2]} head boxes for the {len(people)} people of {path}")
        heads = head_sizes(table.transpose(2, 0, 1).reshape(-1, 4))
    of_file: dict[str, list[_Found]] = defaultdict(list)
    for person, head in zip(people, heads, strict=True):
        points = np.column_stack([np.array(person.joints), np.array(person.joints_vis) > 0])
        centre = (person.center[0], person.center[1] + _DOWN * person.scale)
        of_file[person.image].append(_Found(points, _square(centre, person.scale), float(head)))
    return of_file


def _square(centre: tuple[float, float], scale: float) -> list[float]:
    side = _SIDE * scale
    return [centre[0] - side / 2, centre[1] - side / 2, side, side]


def _published(path: Path) -> dict[str, list[_Found]]:
    """MPII's own file: people with keypoints, by picture."""
    of_file: dict[str, list[_Found]] = defaultdict(list)
    with reading(path):
        for release in load(path, "RELEASE").structs():
            for picture in _inside(release, "annolist"):
                found = [person for one in _inside(picture, "annorect") if (person := _person(path, one))]
                for image in _inside(picture, "image") if found else ():
                    of_file[image["name"].text() if "name" in image else ""] += found
    return of_file


def _person(path: Path, rect: Fields) -> _Found | None:
    """Somebody of MPII's file; None without keypoints, as in the test pictures."""
    points = np.zeros((16, 3))
    for group in _inside(rect, "annopoints"):
        for point in _inside(group, "point"):
            joint, x, y = (_number(path, point, name) for name in ("id", "x", "y"))
            if joint not in range(16):
                raise PoseError(f"{path}: joint id: got {joint:g}, wanted 0 to 15")
            points[int(joint)] = x, y, 1
    if not points[:, 2].any():
        return None
    head = [_number(path, rect, name) for name in ("x1", "y1", "x2", "y2")]
    return _Found(points, _box(path, rect, points), float(head_sizes([head])[0]))


def _box(path: Path, rect: Fields, points: Float64Array) -> list[float]:
    """The box by place and scale, or around the keypoints where they are not given."""
    places = list(_inside(rect, "objpos"))
    if len(places) == 1 and "scale" in rect and rect["scale"].shape == (1, 1):
        scale = _number(path, rect, "scale")
        if 0 < scale < 1000:
            return _square((_number(path, places[0], "x"), _number(path, places[0], "y") + _DOWN * scale), scale)
    there = points[points[:, 2] > 0, :2]
    low, high = there.min(axis=0), there.max(axis=0)
    return [float(v) for v in (*low, *(high - low))]


def _inside(fields: Fields, name: str) -> Iterator[Fields]:
    """The structs in a field; none where it is missing or empty."""
    if name in fields:
        yield from fields[name].structs()


def _number(path: Path, fields: Fields, name: str) -> float:
    value = fields[name].numbers() if name in fields else np.zeros(0)
    if value.size != 1 or not np.isfinite(value).all():
        raise PoseError(f"{path}: field {name!r}: got no number, wanted one")
    return float(value.reshape(-1)[0])
