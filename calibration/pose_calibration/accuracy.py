"""Average precision of poses by COCO's rules. AP is in points, 0 to 100, everywhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from pose_runtime.arrays import AnyArray, Float64Array, IntArray
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS, convert

PERSON = 1  # COCO's category id
OKS_THRESHOLDS = tuple(0.5 + 0.05 * i for i in range(10))

_RECALLS = np.linspace(0, 1, 101)


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


@dataclass(frozen=True, slots=True, eq=False)
class AreaMatches:
    """What COCO's matching gave within one range of areas; T = 10 thresholds of OKS, D detections, I images.

    Attributes:
        image: int64 (D,), position of each detection's image; detections are sorted by score, highest first, and end
            with the last one that is right at any threshold: what comes after it changes no figure.
        right, wrong: bool (T, D); detections that are neither are ignored.
        people: int64 (I,), people of each image that count.
    """

    image: IntArray
    right: AnyArray
    wrong: AnyArray
    people: IntArray

    def curves(self, weights: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Precision (T, 101) at COCO's recalls and the largest recall (T,), 0 to 1; NaN where nobody counts.

        weights: (I,), how often each image is taken.
        """
        people = float(weights @ self.people)
        if people == 0:
            return np.full((len(OKS_THRESHOLDS), 101), np.nan), np.full(len(OKS_THRESHOLDS), np.nan)
        times = weights[self.image]
        right, wrong = np.cumsum(self.right * times, axis=1), np.cumsum(self.wrong * times, axis=1)
        precision = right / (right + wrong + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.concatenate([best, np.zeros((len(best), 1))], axis=1)  # recalls that are not reached
        at = [np.searchsorted(row / people, _RECALLS, side="left") for row in right]
        last = right[:, -1] if right.shape[1] else np.zeros(len(right))
        return np.take_along_axis(padded, np.array(at), axis=1), last / people


@dataclass(frozen=True, slots=True, eq=False)
class CocoEvaluation:
    """COCO's evaluation of one set of results.

    Attributes:
        figures: by pycocotools.
        precision: float64 (10, 101), 0 to 1: at OKS 0.50:0.05:0.95 and recall 0:0.01:1, people of all sizes.
        recall: float64 (10,), the largest.
        image_ids: of the I images that counted, ascending.
        areas: all, medium and large people: from these the figures of any resample of the images follow.
    """

    figures: KeypointAP
    precision: Float64Array
    recall: Float64Array
    image_ids: tuple[int, ...]
    areas: tuple[AreaMatches, AreaMatches, AreaMatches]

    def resampled(self, weights: Float64Array) -> KeypointAP:
        """The figures with image i taken weights[i] times, as pycocotools gives them; NaN where nobody counts."""
        every, medium, large = (area.curves(weights) for area in self.areas)
        (ap, ap50, ap75), (ar, ar50, ar75) = ((a.mean(), a[0].mean(), a[5].mean()) for a in every)
        values = (ap, ap50, ap75, medium[0].mean(), large[0].mean(), ar, ar50, ar75, medium[1].mean(), large[1].mean())
        return KeypointAP(*(100 * float(value) for value in values))


def coco_tools() -> tuple[Any, Any]:
    """pycocotools' COCO and COCOeval; PoseError says how to get them."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise PoseError("COCO AP needs pycocotools; pip install 'jetpose[eval]'") from error
    return COCO, COCOeval


def coco_ap(
    annotations: Path | Mapping[str, Any], results: Iterable[Mapping[str, Any]], image_ids: Iterable[int] | None = None
) -> KeypointAP:
    """The ten figures of `coco_evaluation`."""
    return coco_evaluation(annotations, results, image_ids).figures


def coco_evaluation(
    annotations: Path | Mapping[str, Any], results: Iterable[Mapping[str, Any]], image_ids: Iterable[int] | None = None
) -> CocoEvaluation:
    """AP and AR of COCO-17 results against COCO annotations (pycocotools).

    Args:
        annotations: a COCO keypoint file, or its content.
        results: as `coco_results` gives them, of all images; nobody found anywhere is AP 0.
        image_ids: the images that count; None is all of the annotations'.

    Raises:
        PoseError: pycocotools is not installed, the file is no COCO keypoint file, or a result names an unknown image.
    """
    annotated, evaluator = coco_tools()
    dataset = _checked(annotations)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = annotated()
        truth.dataset = dataset
        truth.createIndex()
        people = [dict(result) for result in results]
        unknown = {person["image_id"] for person in people} - set(truth.getImgIds())
        if unknown:
            raise PoseError(f"results name images that the annotations lack: {sorted(unknown)[:3]}")
        found = truth.loadRes(people) if people else _nobody(annotated())
        evaluation = evaluator(truth, found, "keypoints")
        evaluation.params.catIds = [PERSON]
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = KeypointAP(*(100 * max(float(value), 0.0) for value in evaluation.stats))
    ids = tuple(int(i) for i in evaluation.params.imgIds)
    by_area = [evaluation.evalImgs[a * len(ids) : (a + 1) * len(ids)] for a in range(3)]
    precision, recall = (np.maximum(evaluation.eval[name][..., 0, 0, 0], 0) for name in ("precision", "recall"))
    every, medium, large = (_matches(images) for images in by_area)
    return CocoEvaluation(figures, precision, recall, ids, (every, medium, large))


def _nobody(empty: Any) -> Any:
    """pycocotools' results without anybody in them, which its own `loadRes` refuses."""
    empty.dataset = {"images": [], "annotations": [], "categories": []}
    empty.createIndex()
    return empty


def _matches(images: Sequence[dict[str, Any] | None]) -> AreaMatches:
    """pycocotools' findings for the images in one range of areas; None for an image without anybody."""
    there = [(i, image) for i, image in enumerate(images) if image is not None]
    people = np.zeros(len(images), np.int64)
    for i, image in there:
        people[i] = np.count_nonzero(np.asarray(image["gtIgnore"]) == 0)
    nothing = np.zeros((len(OKS_THRESHOLDS), 0), bool)
    matched = np.concatenate([nothing, *(image["dtMatches"] > 0 for _, image in there)], axis=1)
    ignored = np.concatenate([nothing, *(image["dtIgnore"].astype(bool) for _, image in there)], axis=1)
    scores = np.concatenate([np.zeros(0), *(image["dtScores"] for _, image in there)])
    of = np.concatenate([np.zeros(0, np.int64), *(np.full(len(image["dtScores"]), i) for i, image in there)])
    order = np.argsort(-scores, kind="stable")
    order = order[~ignored[:, order].all(axis=0)]
    hits = np.flatnonzero((matched & ~ignored)[:, order].any(axis=0))
    order = order[: hits[-1] + 1 if len(hits) else 0]
    return AreaMatches(of[order], (matched & ~ignored)[:, order], (~matched & ~ignored)[:, order], people)
