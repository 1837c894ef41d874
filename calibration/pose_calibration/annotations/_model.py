"""What every format becomes, and how its files are read with care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from msgspec import Struct

from pose_calibration.keypoint_metrics import Within, torso_sizes
from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.errors import PoseError
from pose_runtime.oks import extent
from pose_runtime.skeletons import Skeleton


class Limits:
    """What an annotation file may hold at most; larger is refused before it is believed."""

    BYTES = 1 << 30
    PICTURES = 1 << 20
    PEOPLE = 1 << 22
    PIXELS = 1e6  # coordinates, either way


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The annotated people of one picture; N of them.

    Attributes:
        keypoints: float64 (N, K, 3): x, y in pixels, centre of the first pixel at (0, 0); 1 where annotated, else 0
            and x = y = NaN.
        boxes: float64 (N, 4): x, y, width, height; all 0 where there is none.
        areas: float64 (N,): pixels², s² of OKS.
        counts: bool (N,): false for crowds and people without keypoints, who are neither missed nor wrongly found.
        torso, head: float64 (N,): lengths in pixels by which errors are divided; NaN where unknown.
    """

    keypoints: Float64Array
    boxes: Float64Array
    areas: Float64Array
    counts: AnyArray
    torso: Float64Array
    head: Float64Array

    def __len__(self) -> int:
        return len(self.areas)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture: number, file inside the images' folder, width and height if the annotations say them, people."""

    id: int
    file: str
    size_wh: tuple[int, int] | None
    people: People


class Protocol(Struct, frozen=True, kw_only=True):
    """How the field evaluates on a data set.

    Attributes:
        name: of the data set.
        length: by which the headline PCK divides: box, torso or head.
        threshold: of that PCK.
        within: whether an error exactly at the threshold is correct.
        left_out: joints that its mean leaves out.
        everybody: whether every person of a picture is annotated: only then is there AP, and can somebody be invented.
    """

    name: str
    length: str
    threshold: float
    within: Within
    left_out: tuple[str, ...] = ()
    everybody: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """A data set.

    Attributes:
        path: of the file.
        protocol: how it is evaluated.
        skeleton: of the keypoints.
        pictures: ascending by id.
        coco: the file's content where it is COCO's, for pycocotools.
        notes: what a reader of the results should know of the annotations.
    """

    path: Path
    protocol: Protocol
    skeleton: Skeleton
    pictures: tuple[Picture, ...]
    coco: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_file(path: Path) -> bytes:
    """The bytes of an annotation file; raises PoseError."""
    try:
        if not path.is_file():
            raise PoseError(f"{path}: {'no file' if path.exists() else 'no such file'}; wanted annotations")
        if path.stat().st_size > Limits.BYTES:
            raise PoseError(f"{path}: got {path.stat().st_size} bytes, annotations may have {Limits.BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise PoseError(f"{path}: {error.strerror or error}") from error


def inner_file(name: str, path: Path) -> str:
    """A picture's file name if it stays inside the images' folder; PoseError names the annotations otherwise."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or len(name) > 1000 or "\0" in name or parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise PoseError(f"{path}: picture {name[:80]!r}: wanted a file inside the images' folder")
    return str(parts)


def make_people(
    path: Path,
    keypoints: Sequence[Any] | AnyArray,
    skeleton: Skeleton,
    *,
    boxes: Sequence[Any] | AnyArray | None = None,
    areas: Sequence[float] | AnyArray | None = None,
    counts: Sequence[bool] | AnyArray | None = None,
    torso: Sequence[float] | AnyArray | None = None,
    head: Sequence[float] | AnyArray | None = None,
    first_pixel: float = 0.0,
) -> People:
    """People from plain numbers, checked.

    Args:
        path: of the annotations, for messages.
        keypoints: (N, K, 3) x, y, annotated if above 0.
        skeleton: of the K.
        boxes, areas: without them, of the box around the annotated keypoints.
        counts: without it, everybody with a keypoint.
        torso: without it, from left shoulder to right hip where both are annotated.
        head: NaN without.
        first_pixel: coordinate of the first pixel's centre: 1 in what MATLAB wrote.
    """
    points = np.array(keypoints, np.float64).reshape(-1, len(skeleton.names), 3)
    n, there = len(points), np.asarray(points[..., 2] > 0)
    points[..., :2] -= first_pixel
    _bounded(path, points[there][:, :2], "keypoint")
    points[~there] = np.nan, np.nan, 0
    points[there, 2] = 1
    box = _around(points, there) if boxes is None else np.array(boxes, np.float64).reshape(n, 4)
    if boxes is not None:
        box[:, :2] -= first_pixel
    area = extent(points, there) if areas is None else np.array(areas, np.float64).reshape(n)
    _bounded(path, box, "box")
    if not (np.isfinite(area) & (area >= 0)).all() or (box[:, 2:] < 0).any():
        raise PoseError(f"{path}: got a box or an area that is negative or not finite")
    with_points: AnyArray = np.asarray(there.any(axis=1))
    return People(
        keypoints=points,
        boxes=box,
        areas=area,
        counts=with_points if counts is None else np.asarray(with_points & np.array(counts, bool).reshape(n)),
        torso=torso_sizes(points[..., :2], skeleton.names) if torso is None else np.array(torso, np.float64).reshape(n),
        head=np.full(n, np.nan) if head is None else np.array(head, np.float64).reshape(n),
    )


def _bounded(path: Path, values: Float64Array, what: str) -> None:
    wrong = values[~(np.abs(values) <= Limits.PIXELS)]
    if len(wrong):
        raise PoseError(f"{path}: {what}: got {wrong.reshape(-1)[0]:g}, wanted pixels of at most {Limits.PIXELS:g}")


def _around(points: Float64Array, there: AnyArray) -> Float64Array:
    """Boxes (N, 4) around the annotated keypoints (N, K, 3); 0 without any."""
    low = np.where(there[..., None], points[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(there[..., None], points[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    with_points = np.asarray(there.any(axis=1))[:, None]
    low = np.where(with_points, low, 0)
    return np.concatenate([low, np.where(with_points, high, 0) - low], axis=1)
