"""Average precision of poses by COCO's rules. AP is in points, 0 to 100, everywhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS, convert

PERSON = 1  # COCO's category id


@dataclass(frozen=True, slots=True)
class KeypointAP:
    """COCO's ten keypoint figures, in points: AP and AR over OKS 0.50:0.95, at 0.50, at 0.75, medium, large people."""

    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float


def coco_results(image_id: int, poses: Poses) -> list[dict[str, Any]]:
    """One image's poses in COCO's result format, converted to COCO-17; missing keypoints are written at (0, 0).

    Args:
        image_id: COCO's id of the image.
        poses: of any skeleton that shares joints with COCO-17.
    """
    keypoints = np.nan_to_num(convert(poses.keypoints, poses.skeleton, SKELETONS["coco17"]))
    return [
        {
            "image_id": image_id,
            "category_id": PERSON,
            "keypoints": [round(float(v), 3) for v in person.reshape(-1)],
            "score": float(score),
        }
        for person, score in zip(keypoints, poses.scores, strict=True)
    ]


class _Image(msgspec.Struct):
    id: int


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    keypoints: Annotated[list[float], msgspec.Meta(min_length=51, max_length=51)]
    num_keypoints: int
    area: float
    bbox: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]
    iscrowd: int


class _Annotations(msgspec.Struct):
    """What COCO's evaluation reads, and fails on where it is missing."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[dict[str, Any]]


def _checked(annotations: Path | Mapping[str, Any]) -> dict[str, Any]:
    """COCO's tree, if it is one; raises PoseError."""
    name = annotations if isinstance(annotations, Path) else "annotations"
    try:
        tree = msgspec.json.decode(annotations.read_bytes()) if isinstance(annotations, Path) else dict(annotations)
        msgspec.convert(tree, _Annotations)
    except OSError as error:
        raise PoseError(f"{name}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise PoseError(f"{name}: no COCO keypoint annotations: {error}") from error
    return dict(tree)


def coco_ap(
    annotations: Path | Mapping[str, Any], results: Iterable[Mapping[str, Any]], image_ids: Iterable[int] | None = None
) -> KeypointAP:
    """AP of COCO-17 results against COCO annotations (pycocotools).

    Args:
        annotations: a COCO keypoint file, or its content.
        results: as `coco_results` gives them, of all images; nobody found anywhere is AP 0.
        image_ids: the images that count; None is all of the annotations'.

    Raises:
        PoseError: pycocotools is not installed, the file is no COCO keypoint file, or a result names an unknown image.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise PoseError("COCO AP needs pycocotools; pip install 'jetpose[export]'") from error
    dataset = _checked(annotations)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        people = [dict(result) for result in results]
        unknown = {person["image_id"] for person in people} - set(truth.getImgIds())
        if unknown:
            raise PoseError(f"results name images that the annotations lack: {sorted(unknown)[:3]}")
        if not people:
            return KeypointAP(*[0.0] * 10)
        evaluation = COCOeval(truth, truth.loadRes(people), "keypoints")
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return KeypointAP(*(100 * max(float(value), 0.0) for value in evaluation.stats))
