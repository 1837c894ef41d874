"""Records whose keypoints can be seen in the picture, and the little classes that loaders send to their workers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_export.training.record import Record
from pose_export.training.source import RecordError
from pose_runtime.skeletons import SKELETONS, Skeleton

LEFT, RIGHT, MIDDLE = (0, 0, 255), (255, 0, 0), (0, 255, 0)
"""B, G, R of the person's left joints, right joints, and those in between."""


def paint(
    size_wh: tuple[int, int] = (320, 240),
    people: int = 2,
    *,
    seed: int = 0,
    spread: float = 4.0,
    ignored: bool = False,
    skeleton: Skeleton = SKELETONS["coco17"],
) -> Record:
    """A black picture with one soft dot per keypoint on a jittered grid; people stand side by side."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    joints = len(skeleton.names)
    keypoints = np.full((people, joints, 3), 2, np.float32)
    for i in range(people):
        left, step = i * width / max(people, 1), width / max(people, 1) / 5
        column, row = np.arange(joints) % 4, np.arange(joints) // 4
        keypoints[i, :, 0] = np.round(left + step * (column + 0.8) + rng.uniform(-0.1, 0.1, joints) * step)
        keypoints[i, :, 1] = np.round(height / 7 * (row + 1) + rng.uniform(-0.1, 0.1, joints) * height / 7)
    low = keypoints[..., :2].min(axis=1) - 5.0
    high = keypoints[..., :2].max(axis=1) + 6.0
    mask = np.zeros((height, width), bool)
    mask[: height // 8, : width // 3] = True
    return Record(
        name=f"painted {seed}",
        image=dots(keypoints, skeleton, size_wh, spread),
        keypoints=keypoints,
        boxes=np.concatenate([low, high - low], axis=1).astype(np.float32).reshape(-1, 4),
        areas=(0.5 * (high - low).prod(axis=1)).astype(np.float32),
        ids=np.arange(10, 10 + people, dtype=np.int64),
        ignored=mask if ignored else None,
        skeleton=skeleton,
    )


def colour(name: str) -> tuple[int, int, int]:
    """Of a keypoint's dot."""
    return LEFT if name.startswith("left_") else RIGHT if name.startswith("right_") else MIDDLE


def dots(
    keypoints: NDArray[np.float32], skeleton: Skeleton, size_wh: tuple[int, int], spread: float
) -> NDArray[np.uint8]:
    width, height = size_wh
    xs, ys = np.arange(width), np.arange(height)[:, None]
    image = np.zeros((height, width, 3))
    for person in keypoints:
        for (x, y, _), name in zip(person, skeleton.names, strict=True):
            dot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2))
            image = np.maximum(image, dot[..., None] * colour(name))
    return np.rint(image).astype(np.uint8)


def distance_to_dot(record: Record, person: int, joint: int, reach: float, name: str) -> float:
    """Pixels between the keypoint and the centre of brightness of the named joint's colour within `reach` of it."""
    x, y, _ = (float(value) for value in record.keypoints[person, joint])
    height, width = record.image.shape[:2]
    ys, xs = np.mgrid[:height, :width]
    weight = record.image[..., int(np.argmax(colour(name)))].astype(float)
    weight[(xs - x) ** 2 + (ys - y) ** 2 > reach**2] = 0
    if weight.sum() < 100:
        return np.inf
    return float(np.hypot((weight * xs).sum() / weight.sum() - x, (weight * ys).sum() / weight.sum() - y))


class Painted:
    """A source of painted records; those of `bad` cannot be read."""

    def __init__(self, length: int, *, seed: int = 0, bad: tuple[int, ...] = ()) -> None:
        self.length, self.seed, self.bad = length, seed, bad
        self.skeleton, self.description = SKELETONS["coco17"], f"{length} painted"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Record:
        if index in self.bad:
            raise RecordError(f"painted {index}: is damaged")
        return paint((64, 48), index % 3, seed=1000 * self.seed + index, spread=1.0)


class Counting:
    """A method that learns how many people there are, and where the first keypoint is."""

    def targets(self, record: Record) -> dict[str, NDArray[Any]]:
        first = record.keypoints[:1, 0].sum(axis=0)
        return {"people": np.int64(len(record.ids)), "first": first}
