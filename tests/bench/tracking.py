"""Tracking and smoothing: twenty people who stand in a row and tremble, each frame a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, cycle

import numpy as np

from bench.case import BenchCase
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from pose_runtime.tracking import Smoother, Tracker

COCO = SKELETONS["coco17"]
FPS = 30


def trembling(people: int, frames: int = 50, seed: int = 0) -> list[Poses]:
    """Frames of people 60 by 150 pixels large, a tenth of whose keypoints is missing; half of them overlap."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(0, 1, (people, 17, 2)) * (60, 150) + rng.uniform(0, 1, (people, 1, 2)) * (1800, 600)
    keypoints = np.ones((frames, people, 17, 3), np.float32)
    keypoints[..., :2] = body + rng.normal(0, 2, (frames, people, 17, 2))
    keypoints[rng.random((frames, people, 17)) < 0.1] = (np.nan, np.nan, 0)
    return [Poses(one, np.ones(people, np.float32), COCO) for one in keypoints]


def step(people: int, *, smooth: bool) -> Callable[[], Poses]:
    """A call that takes the next frame."""
    tracker, smoother = Tracker(COCO), Smoother(COCO)
    frames, numbers = cycle(trembling(people)), count()

    def once() -> Poses:
        time_s = next(numbers) / FPS
        found = tracker(next(frames), time_s)
        return smoother(found, time_s) if smooth else found

    return once


def cases() -> Iterator[BenchCase]:
    """Tracking alone, and with smoothing."""
    for people in (1, 5, 20, 50):
        yield BenchCase("track", people, step(people, smooth=False), None)
        yield BenchCase("track and smooth", people, step(people, smooth=True), 0.2 if people <= 20 else None)
