"""Annotations where there are none: FP32 poses with the error that networks have against annotators.

With the FP32 poses themselves as ground truth FP32 would have AP 100, and every pixel of shift would cost AP that it
does not cost against real annotations, of which FP32 is already some way off. So every keypoint of the ground truth is
moved at random, by as much as good networks are off: points lost against this truth are points as COCO counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pose_calibration.accuracy import PERSON
from pose_calibration.box_accuracy import is_boxes, results_of
from pose_calibration.drop_score import DropScore
from pose_runtime.arrays import Float64Array
from pose_runtime.oks import extent, present
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS, convert

_SPREAD, _BOX_SPREAD = 0.5, 0.25


def stand_in_truth(
    frames: Sequence[Poses],
    sizes_wh: Sequence[tuple[int, int]],
    *,
    seed: int,
    drop_score: DropScore | None = None,
    spread: float | None = None,
    repeats: int = 1,
) -> dict[str, Any]:
    """COCO-17 keypoint annotations made of poses; `stand_in_results` gives the results that go with them.

    Every keypoint moves by Gaussian noise of standard deviation spread · s · k along x and along y: s² the area of the
    box around the person's keypoints, k = 2 sigma of the joint. Its expected OKS is then 1 / (1 + spread²).

    Args:
        frames: FP32 poses of each image, of any skeleton that shares joints with COCO-17; or a detector's boxes, whose
            two corners move.
        sizes_wh: width, height of each image in pixels.
        seed: of the noise; an image's depends on the seed and its position alone.
        drop_score: people below 1.2 times it are marked as crowd: they stay where FP32 has them, and neither finding
            nor missing them counts. None: all count.
        spread: of the noise; None is 0.5, and 0.25 for corners: an IoU of 0.85.
        repeats: every image is there so many times, each with noise of its own: what AP owes to the noise falls by the
            root of it. The image ids are the positions, from 0; the next repeat follows the last image.

    Raises:
        PoseError: the skeleton shares no joint with COCO-17.
    """
    annotations: list[dict[str, Any]] = []
    for index, poses in enumerate([*frames] * repeats):
        generator = np.random.default_rng([seed, index])
        boxes = is_boxes(poses.skeleton)
        wanted = poses.skeleton if boxes else SKELETONS["coco17"]
        keypoints = convert(poses.keypoints, poses.skeleton, wanted).astype(np.float64)
        there = present(keypoints)
        area = extent(keypoints, there)
        sure = np.ones(len(poses), bool) if drop_score is None else drop_score.sure(poses)
        sigmas = np.array(wanted.sigmas)
        share = spread if spread is not None else _BOX_SPREAD if boxes else _SPREAD
        step = share * np.sqrt(area)[:, None] * 2 * sigmas
        moved = keypoints[..., :2] + generator.standard_normal((*step.shape, 2)) * (step * sure[:, None])[..., None]
        for points, visible, size, counts in zip(moved, there, area, sure, strict=True):
            if visible.any():
                annotations.append(_annotation(len(annotations) + 1, index, points, visible, float(size), bool(counts)))
    return {
        "images": [{"id": i, "width": int(w), "height": int(h)} for i, (w, h) in enumerate([*sizes_wh] * repeats)],
        "annotations": annotations,
        "categories": [{"id": PERSON, "name": "person"}],
    }


def stand_in_results(frames: Sequence[Poses], repeats: int = 1) -> list[dict[str, Any]]:
    """What a graph found in the same images, in COCO's result format, for as many repeats."""
    return [row for index, poses in enumerate([*frames] * repeats) for row in results_of(index, poses)]


def _annotation(
    number: int, image: int, points: Float64Array, visible: Any, area: float, counts: bool
) -> dict[str, Any]:
    low, high = points[visible].min(axis=0), points[visible].max(axis=0)
    flat = np.where(visible[:, None], np.column_stack([points, np.full(len(points), 2.0)]), 0.0)
    return {
        "id": number,
        "image_id": image,
        "category_id": PERSON,
        "keypoints": [float(v) for v in flat.reshape(-1)],
        "num_keypoints": int(visible.sum()),
        "area": area,
        "bbox": [float(v) for v in (*(low + 0.5), *(high - low))],  # boxes count from the image's edge
        "iscrowd": int(not counts),
    }
