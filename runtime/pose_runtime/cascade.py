"""A cascade: later networks look again at every joint, each in a crop of its own from the original image.

DeepPose (Toshev & Szegedy 2014, arXiv 1312.4659): stage s >= 2 crops the square b_i = (y_i, sigma diam(y)) around each
joint's last estimate y_i, and output i of its network is the joint's displacement in units of that square:

    y_i <- y_i + psi_i(N(x; b_i)) sigma diam(y)

Each stage is a pipeline as any other, whose boxes are those squares: a network with a crop rule and a `vector` decoder
gives all joints around the middle of each crop, of which the one that the crop is around counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.arrays import AnyArray, Float64Array, FloatArray
from pose_runtime.base_pipeline import BasePipeline, Image
from pose_runtime.decode import cascade_boxes
from pose_runtime.errors import EngineError
from pose_runtime.manifest import Manifest, Stage
from pose_runtime.poses import Poses

MAX_CROPS = 512
"""Crops per run of a later stage: the joints of everybody in a frame go through it together."""
_LARGEST = 1e5  # pixels: of a crop's side and its middle's distance from the first pixel


class CascadePipeline(BasePipeline):
    """All stages, as one pipeline.

    Args:
        manifest: of the whole bundle.
        stages: the networks' pipelines in order, the first being the bundle's own; this one closes them.

    Attributes:
        stages: what was given.
        timings: of the last call, all stages together.
    """

    def __init__(self, manifest: Manifest, stages: Sequence[BasePipeline]) -> None:
        first = stages[0]
        super().__init__(manifest, first.choice, first.max_batch)
        self.stages = tuple(stages)
        self.device_name = first.device_name
        self.engine_key, self.proof = first.engine_key, first.proof

    def close(self) -> None:
        """Close all stages; a second time does nothing."""
        with ExitStack() as closing:
            for stage in self.stages:
                closing.callback(stage.close)

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        first, *later = self.stages
        found = first(list(frames), boxes=list(boxes))
        self.timings = first.timings
        for stage, pipeline in zip(self.manifest.stages, later, strict=True):
            crops = [joint_crops(poses.keypoints, stage) for poses in found]
            seen = pipeline(list(frames), boxes=[boxes for boxes, _ in crops])
            for poses, of_frame, (_, who) in zip(found, seen, crops, strict=True):
                take_joints(poses.keypoints, of_frame.keypoints, who)
            self.timings += pipeline.timings
        return found


def joint_crops(keypoints: FloatArray, stage: Stage) -> tuple[Float64Array, AnyArray]:
    """What a stage looks at in one frame.

    Args:
        keypoints: float32 (N, K, 3) of the stage before, source pixels.
        stage: how the crops follow from them.

    Returns:
        Boxes float64 (M, 4) x, y, width, height in source pixels, and of each the person and joint, int64 (M, 2).
        A joint that is missing, or whose person's torso has no extent or an absurd one, has no crop.
    """
    if not len(keypoints):
        return np.zeros((0, 4)), np.zeros((0, 2), np.int64)
    squares = cascade_boxes(keypoints, torso=stage.torso, sigma=stage.sigma)
    side = squares[..., 2]
    with np.errstate(invalid="ignore"):
        usable = (side > 1) & (side < _LARGEST) & (np.abs(squares[..., :2]) < _LARGEST).all(axis=-1)
    boxes = squares[usable].astype(np.float64)  # a crop's middle shall be the joint, not what float32 leaves of it
    boxes[:, :2] -= boxes[:, 2:] / 2
    return boxes, np.argwhere(usable)


def take_joints(keypoints: FloatArray, seen: FloatArray, who: AnyArray) -> None:
    """Put what each crop shows of its own joint into the poses, in place; joints without a crop stay.

    Args:
        keypoints: float32 (N, K, 3).
        seen: float32 (M, K, 3), all joints as each crop shows them, source pixels.
        who: int64 (M, 2), the person and joint that each crop is around.

    Raises:
        EngineError: a crop gave no finite place.
    """
    if len(seen) != len(who):
        raise EngineError(f"cascade: got {len(seen)} of {len(who)} joints; the stage's outputs are beyond all numbers")
    person, joint = who.T
    keypoints[person, joint] = seen[np.arange(len(who)), joint]
