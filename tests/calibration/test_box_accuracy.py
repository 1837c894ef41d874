from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pose_calibration.accuracy import PERSON
from pose_calibration.box_accuracy import BoxAP, box_ap, box_results
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import skeleton

pytest.importorskip("pycocotools")


def truth(*boxes: tuple[float, float, float, float], crowd: int = 0) -> dict[str, Any]:
    """One image with people; the last `crowd` boxes are crowds."""
    people = [
        {"id": i, "image_id": 7, "category_id": PERSON, "area": b[2] * b[3], "bbox": list(b),
         "iscrowd": int(i > len(boxes) - crowd)}
        for i, b in enumerate(boxes, start=1)
    ]  # fmt: skip
    return {"images": [{"id": 7}], "annotations": people, "categories": [{"id": PERSON, "name": "person"}]}


def found(*boxes: tuple[float, float, float, float]) -> Poses:
    """Boxes (left, top, width, height) as a detector's people, the first with the highest score."""
    corners = np.ones((len(boxes), 2, 3), np.float32)
    for i, (left, top, width, height) in enumerate(boxes):
        corners[i, :, :2] = [(left - 0.5, top - 0.5), (left + width - 0.5, top + height - 0.5)]
    return Poses(corners, np.linspace(0.9, 0.5, len(boxes), dtype=np.float32), skeleton("box2"))


def test_edges_count_from_the_images_edge() -> None:
    (result,) = box_results(7, found((10, 20, 30, 40)))
    assert result["bbox"] == [10, 20, 30, 40]
    assert result["image_id"] == 7


def test_ap_by_hand() -> None:
    whole = (10.0, 10, 100, 100)
    assert box_ap(truth(whole), box_results(7, found(whole))).ap == pytest.approx(100)
    assert box_ap(truth(whole), []) == BoxAP(0, 0, 0, 0, 0, 0, 0)
    part = box_ap(truth(whole), box_results(7, found((10, 10, 100, 72))))  # IoU 0.72: right at 0.50 to 0.70
    assert (part.ap, part.ap50, part.ap75) == pytest.approx((50, 100, 0))
    wrong_first = box_ap(truth(whole), box_results(7, found((200, 200, 50, 50), whole)))
    assert wrong_first.ap50 == pytest.approx(50)


def test_crowds_count_neither_way() -> None:
    annotations = truth((10, 10, 100, 100), (200, 0, 200, 200), crowd=1)
    assert box_ap(annotations, box_results(7, found((220, 20, 60, 100), (10, 10, 100, 100)))).ap == pytest.approx(100)


def test_keypoints_are_no_boxes() -> None:
    coco = skeleton("coco17")
    nobody = Poses(np.zeros((0, 17, 3), np.float32), np.zeros(0, np.float32), coco)
    with pytest.raises(PoseError, match="got skeleton coco17, wanted box2"):
        box_results(1, nobody)
