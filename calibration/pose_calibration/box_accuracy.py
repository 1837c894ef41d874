"""Average precision of a person detector's boxes by COCO's rules, in points."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pose_calibration.accuracy import PERSON, coco_results, coco_tools
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton


@dataclass(frozen=True, slots=True)
class BoxAP:
    """COCO's figures of boxes, in points: AP over IoU 0.50:0.95, at 0.50, at 0.75, by size; recall of 100 boxes."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float


def is_boxes(skeleton: Skeleton) -> bool:
    """Whether people of this skeleton are a detector's boxes."""
    return skeleton.name == "box2"


def results_of(image_id: int, poses: Poses) -> list[dict[str, Any]]:
    """One image's people in COCO's result format: boxes of a detector, keypoints else."""
    return box_results(image_id, poses) if is_boxes(poses.skeleton) else coco_results(image_id, poses)


def box_results(image_id: int, poses: Poses) -> list[dict[str, Any]]:
    """One image's people in COCO's result format: left, top, width, height, counted from the image's edge.

    Args:
        image_id: COCO's id of the image.
        poses: of skeleton `box2`, whose corners count from the first pixel's centre.

    Raises:
        PoseError: poses of another skeleton.
    """
    if not is_boxes(poses.skeleton):
        raise PoseError(f"poses: got skeleton {poses.skeleton.name}, wanted box2, a detector's")
    corners = poses.keypoints[..., :2].astype(float)
    return [
        {
            "image_id": image_id,
            "category_id": PERSON,
            "bbox": [float(v) for v in (*(low + 0.5), *(high - low))],
            "score": float(score),
        }
        for (low, high), score in zip(corners, poses.scores, strict=True)
    ]


def box_ap(annotations: Mapping[str, Any], results: Iterable[Mapping[str, Any]]) -> BoxAP:
    """AP of boxes against COCO annotations (pycocotools); nobody found anywhere is 0.

    Args:
        annotations: COCO's tree; what has iscrowd 1 counts neither way.
        results: as `box_results` gives them, of all images.

    Raises:
        PoseError: pycocotools is not installed.
    """
    annotated, evaluator = coco_tools()
    people = [dict(result) for result in results]
    if not people:
        return BoxAP(0, 0, 0, 0, 0, 0, 0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = annotated()
        truth.dataset = dict(annotations)
        truth.createIndex()
        evaluation = evaluator(truth, truth.loadRes(people), "bbox")
        evaluation.params.catIds = [PERSON]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75, small, medium, large, _, _, ar, *_ = (100 * max(float(value), 0.0) for value in evaluation.stats)
    return BoxAP(ap, ap50, ap75, small, medium, large, ar)
