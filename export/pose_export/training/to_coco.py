"""Records as COCO annotations, so that pycocotools scores predictions on any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_calibration.accuracy import PERSON
from pose_export.training.record import Record
from pose_runtime.arrays import FloatArray
from pose_runtime.skeletons import SKELETONS, convert

_COCO = SKELETONS["coco17"]


def to_coco(records: Iterable[Record]) -> dict[str, Any]:
    """The content of a COCO keypoint file; plain JSON types.

    Images are numbered from 1 in the order of the records; `pose_calibration.accuracy.coco_ap` takes the result, and
    `coco_results(image number, poses)` the predictions. Keypoints are converted to COCO's 17. Each connected part of
    what is ignored becomes a crowd: pycocotools then counts a prediction there neither as right nor as wrong.

    Args:
        records: read one by one.

    Raises:
        PoseError: a skeleton that shares no joint with COCO's.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, start=1):
        height, width = record.image.shape[:2]
        images.append({"id": number, "file_name": record.name, "width": width, "height": height})
        for entry in (*_people(record), *_crowds(record.ignored)):
            identity = {"id": len(annotations) + 1, "image_id": number, "category_id": PERSON}
            annotations.append(identity | entry)
    limbs = [[a + 1, b + 1] for a, b in _COCO.limbs]
    category = {"id": PERSON, "name": "person", "supercategory": "person"}
    category |= {"keypoints": list(_COCO.names), "skeleton": limbs}
    return {"images": images, "annotations": annotations, "categories": [category]}


def _people(record: Record) -> Iterator[dict[str, Any]]:
    keypoints = np.nan_to_num(convert(record.keypoints, record.skeleton, _COCO))
    for points, box, area in zip(keypoints, record.boxes, record.areas, strict=True):
        yield {
            "keypoints": _flat(points),
            "num_keypoints": int((points[:, 2] > 0).sum()),
            "bbox": [round(float(value), 2) for value in box],
            "area": round(float(area), 2),
            "iscrowd": 0,
        }


def _flat(points: FloatArray) -> list[float]:
    return [number for x, y, v in points for number in (round(float(x), 3), round(float(y), 3), int(v))]


def _crowds(ignored: NDArray[np.bool_] | None) -> Iterator[dict[str, Any]]:
    if ignored is None:
        return
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ignored.astype(np.uint8), connectivity=8)
    for part in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[part])
        yield {
            "keypoints": [0] * (3 * len(_COCO.names)),
            "num_keypoints": 0,
            "bbox": [x, y, width, height],
            "area": area,
            "iscrowd": 1,
            "segmentation": {"size": list(ignored.shape), "counts": _runs(np.asarray(labels == part))},
        }


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths: column by column, 0 first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
