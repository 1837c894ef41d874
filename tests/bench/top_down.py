"""Top-down: everybody of a frame in one batch, against one inference per person; the detector's time is not in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from bench.case import BenchCase
from bench.networks import network
from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.engines import open_engine
from pose_runtime.manifest import Detector, Manifest
from pose_runtime.pipeline import Pipeline
from pose_runtime.poses import Poses
from pose_runtime.skeletons import BOX2
from pose_runtime.top_down import TopDownPipeline

NETWORK = {"width": 16}
"""HRNet at a quarter of W32's work."""
PEOPLE = (1, 5, 20)
HOW = Detector(every=1, min_score=0.3, max_people=max(PEOPLE), rescore="box", min_keypoint=0.2, nms_oks=0.9)


class Given(BasePipeline):
    """A detector that knows where the people are, and takes no time."""

    def __init__(self, manifest: Manifest, found: Poses) -> None:
        super().__init__(manifest, None, 1)
        self.found = found

    def close(self) -> None:
        """Nothing to free."""

    def _all(self, frames: Sequence[Any], boxes: Sequence[Any]) -> list[Poses]:
        return [self.found] * len(frames)


def cases() -> Iterator[BenchCase]:
    """1, 5 and 20 people in a 1280 x 720 frame, one thread; everything from the boxes to the people left."""
    of, graph = network("hrnet", NETWORK)
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (720, 1280, 3), np.uint8), (0, 0), 4)
    crops = {
        name: Pipeline(of, open_engine("onnxruntime", graph, threads=1), max_batch=most)
        for name, most in (("one batch", HOW.max_people), ("one by one", 1))
    }
    for people in PEOPLE:
        found = boxes(rng, people)
        for name, pipeline in crops.items():
            top_down = TopDownPipeline(HOW, Given(of, found), pipeline)
            yield BenchCase(f"top-down HRNet, {name}", people, partial(top_down, image), None)


def boxes(rng: np.random.Generator, people: int) -> Poses:
    """What a detector finds: people 100 to 300 pixels tall and half as wide, as box2."""
    tall = rng.uniform(100, 300, people)
    corners = np.ones((people, 2, 3), np.float32)
    corners[:, 0, :2] = rng.uniform((0, 0), (1100, 400), (people, 2))
    corners[:, 1, :2] = corners[:, 0, :2] + np.stack([tall / 2, tall], axis=1)
    return Poses(corners, np.full(people, 0.9, np.float32), BOX2)
