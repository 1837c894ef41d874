"""Every figure of one bundle on one data set, in a form that can be resampled: picture by picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pose_calibration.accuracy import CocoEvaluation, coco_evaluation, coco_results
from pose_calibration.annotations import Annotations, People, Picture
from pose_calibration.annotations._model import make_people
from pose_calibration.evaluation.matching import MIN_OKS, Matches, match
from pose_calibration.keypoint_metrics import PcpRule, Within, distances, limb_ends, normalised, pcp_counts
from pose_runtime.arrays import AnyArray, Float64Array, IntArray
from pose_runtime.oks import similarities
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton, convert

COCO_FIGURES = {
    "AP": "ap", "AP50": "ap50", "AP75": "ap75", "AP medium": "ap_medium", "AP large": "ap_large",
    "AR": "ar", "AR50": "ar50", "AR75": "ar75", "AR medium": "ar_medium", "AR large": "ar_large",
}  # fmt: skip
PCP_RULES: dict[str, PcpRule] = {"PCP@0.5 strict": "both", "PCP@0.5 mean": "mean"}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All annotated people of a data set that count, P of them, each with whom the bundle found for them.

    Attributes:
        picture: int64 (P,), position of the picture.
        truth: float64 (P, K, 2); NaN where not annotated.
        labelled: bool (P, K), annotated joints that are compared.
        found: float64 (P, K, 2); NaN where missing, and everywhere where nobody was found for the person.
        matched: bool (P,): found with an OKS of at least 0.5.
        right: bool (P, K): labelled, matched, and the one keypoint's similarity is at least 0.5.
        box, torso, head: float64 (P,) lengths in pixels; NaN where unknown.
    """

    picture: IntArray
    truth: Float64Array
    labelled: AnyArray
    found: Float64Array
    matched: AnyArray
    right: AnyArray
    box: Float64Array
    torso: Float64Array
    head: Float64Array

    @property
    def errors(self) -> Float64Array:
        """Pixels (P, K); infinite where missing."""
        return distances(self.truth, self.found)


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A figure that is the mean over columns of 100 · sum(part) / sum(whole) over the pictures, float64 (I, C) each."""

    part: Float64Array
    whole: Float64Array

    def values(self, weights: Float64Array) -> Float64Array:
        """Points (B,) for B resamples of the pictures, weights (B, I); NaN where nothing counts."""
        part, whole = weights @ self.part, weights @ self.whole
        points = np.where(whole > 0, 100 * part / np.where(whole > 0, whole, 1), 0)
        columns = (whole > 0).sum(axis=1)
        return np.where(columns > 0, points.sum(axis=1) / np.maximum(columns, 1), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One bundle on one data set.

    Attributes:
        skeleton: of the annotations.
        pairs: annotated and found people.
        oks: float64 (I,), how well each picture's people were found: sum of the pairs' OKS over the larger number of
            annotated and found people; 1 where there is nobody.
        people, found, missed, invented: int64 (I,); invented is 0 where not everybody is annotated.
        coco: COCO's evaluation, or None.
        ratios: name -> figure.
    """

    skeleton: Skeleton
    pairs: Pairs
    oks: Float64Array
    people: IntArray
    found: IntArray
    missed: IntArray
    invented: IntArray
    coco: CocoEvaluation | None
    ratios: dict[str, Ratio]

    def plain(self) -> dict[str, float]:
        """Every figure in points; COCO's are pycocotools' own. NaN where nothing counts."""
        values = {name: float(value) for name, (value,) in self.values(np.ones((1, len(self.oks)))).items()}
        if self.coco is not None:
            own = {name: getattr(self.coco.figures, field) for name, field in COCO_FIGURES.items()}
            values |= {name: value for name, value in own.items() if not np.isnan(values[name])}
        return values

    def values(self, weights: Float64Array) -> dict[str, Float64Array]:
        """Every figure in points, (B,) each, for B resamples of the pictures, weights (B, I)."""
        values = {name: ratio.values(weights) for name, ratio in self.ratios.items()}
        if self.coco is not None:
            rows = [self.coco.resampled(row) for row in weights]
            of_coco = {name: np.array([getattr(row, field) for row in rows]) for name, field in COCO_FIGURES.items()}
            values = of_coco | values
        return values


def shared_joints(skeleton: Skeleton, networks: Iterable[Skeleton]) -> AnyArray:
    """Which keypoints of the annotations' skeleton every network gives, bool (K,); PoseError where one gives none."""
    every = [convert(np.ones((1, len(one.names), 3), np.float32), one, skeleton)[0, :, 2] > 0 for one in networks]
    return np.asarray(np.all(every, axis=0))


def score(
    annotations: Annotations,
    pictures: Sequence[Picture],
    poses: Sequence[Poses],
    *,
    compared: AnyArray,
    within: Within,
) -> Scores:
    """Compare what was found with what is annotated.

    Args:
        annotations: of the data set.
        pictures: of it, those that were evaluated.
        poses: one per picture.
        compared: bool (K,), joints that count, see `shared_joints`; COCO's own figures count all. Who has none of them
            annotated does not count.
        within: whether an error exactly at a threshold is correct.

    Raises:
        PoseError: the skeletons share no joint, or pycocotools is missing.
    """
    skeleton = annotations.skeleton
    keypoints = [convert(found.keypoints, found.skeleton, skeleton) for found in poses]
    everybody = [_comparable(picture.people, compared) for picture in pictures]
    matches = [match(people, points, skeleton.sigmas) for people, points in zip(everybody, keypoints, strict=True)]
    pairs = _pairs(everybody, keypoints, matches, skeleton)
    people = np.array([int(one.counts.sum()) for one in everybody], np.int64)
    near = np.array([int((one.oks >= MIN_OKS).sum()) for one in matches], np.int64)
    invented = np.array([len(one.invented) for one in matches], np.int64)
    if not annotations.protocol.everybody:
        invented = np.zeros_like(invented)
    most = np.maximum(people, near + invented)
    totals = np.array([one.oks[one.oks >= MIN_OKS].sum() for one in matches])
    coco = None
    if annotations.coco is not None:
        results = [
            row for picture, found in zip(pictures, poses, strict=True) for row in coco_results(picture.id, found)
        ]
        coco = coco_evaluation(annotations.coco, results, [picture.id for picture in pictures])
    return Scores(
        skeleton=skeleton,
        pairs=pairs,
        oks=np.where(most > 0, totals / np.maximum(most, 1), 1.0),
        people=people,
        found=np.array([len(found) for found in poses], np.int64),
        missed=people - near,
        invented=invented,
        coco=coco,
        ratios=_ratios(annotations, pairs, people, near, len(pictures), within),
    )


def _comparable(people: People, compared: AnyArray) -> People:
    """The people with only the joints that are compared; whoever has none of them annotated does not count."""
    keypoints = people.keypoints.copy()
    keypoints[:, ~compared] = np.nan, np.nan, 0
    return replace(people, keypoints=keypoints, counts=people.counts & (keypoints[..., 2] > 0).any(axis=1))


def _pairs(
    everybody: Sequence[People], keypoints: Sequence[AnyArray], matches: Sequence[Matches], skeleton: Skeleton
) -> Pairs:
    sigmas = np.array(skeleton.sigmas)
    nobody = make_people(Path(), [], skeleton)  # so that there is something to concatenate
    parts = [_of_picture(nobody, 0, np.zeros((0, len(sigmas), 3)), None, sigmas)]
    parts += [
        _of_picture(people, i, points, one, sigmas)
        for i, (people, points, one) in enumerate(zip(everybody, keypoints, matches, strict=True))
    ]
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))


def _of_picture(people: People, number: int, points: AnyArray, matched: Matches | None, sigmas: Float64Array) -> Pairs:
    """The people of picture `number` that count; points (M, K, 3) are whom the bundle found there."""
    own, near = np.full((*people.keypoints.shape[:2], 2), np.nan), np.zeros(len(people), bool)
    for (i, j), oks in zip(matched.pairs, matched.oks, strict=True) if matched else ():
        own[i], near[i] = points[j, :, :2], oks >= MIN_OKS
    each = np.arange(len(people))
    single = similarities(people.keypoints, own, people.areas[:, None], sigmas)[each, each]
    box = people.boxes[:, 2:].max(axis=1, initial=0)
    counts = people.counts
    return Pairs(
        picture=np.full(int(counts.sum()), number),
        truth=people.keypoints[counts, :, :2],
        labelled=people.keypoints[counts, :, 2] > 0,
        found=own[counts],
        matched=near[counts],
        right=((single >= 0.5) & near[:, None])[counts],
        box=np.where(box > 0, box, np.nan)[counts],
        torso=people.torso[counts],
        head=people.head[counts],
    )


def pck_counts(
    pairs: Pairs, length: str, threshold: float, within: Within, left_out: AnyArray
) -> tuple[AnyArray, AnyArray]:
    """Which keypoints are right and which count, bool (P, K): labelled ones of people whose length is known.

    left_out: bool (K,), joints that do not count.
    """
    lengths: Float64Array = getattr(pairs, length)
    relative = normalised(pairs.errors, lengths)
    counted = pairs.labelled & ((lengths > 0) & np.isfinite(lengths))[:, None] & ~left_out
    right = relative < threshold if within == "<" else relative <= threshold
    return right & counted, counted


def pck_name(length: str, threshold: float) -> str:
    """As the field writes it: PCKh@0.5, PCK@0.2 torso, PCK@0.2 box."""
    return f"PCKh@{threshold:g}" if length == "head" else f"PCK@{threshold:g} {length}"


def _ratios(
    annotations: Annotations, pairs: Pairs, people: IntArray, near: IntArray, pictures: int, within: Within
) -> dict[str, Ratio]:
    protocol = annotations.protocol
    left_out = np.isin(annotations.skeleton.names, protocol.left_out)
    wanted = [(protocol.length, protocol.threshold), ("box", 0.2), ("torso", 0.2), ("head", 0.5), ("head", 0.1)]
    ratios: dict[str, Ratio] = {}
    for length, threshold in dict.fromkeys(wanted):
        right, counted = pck_counts(pairs, length, threshold, within, left_out)
        if counted.any():
            ratios[pck_name(length, threshold)] = _by_picture(pairs.picture, right, counted, pictures)
    ends = list(limb_ends(annotations.skeleton.names).values())
    for name, rule in PCP_RULES.items():
        right, counted = pcp_counts(pairs.truth, pairs.found, pairs.labelled, ends, within="<=", rule=rule)
        if counted.any():
            ratios[name] = _by_picture(pairs.picture, right, counted, pictures)
    ratios["people found"] = Ratio(near[:, None].astype(np.float64), people[:, None].astype(np.float64))
    return ratios


def _by_picture(picture: IntArray, right: AnyArray, counted: AnyArray, pictures: int) -> Ratio:
    """Sums over each picture's people."""
    part, whole = np.zeros((pictures, right.shape[1])), np.zeros((pictures, right.shape[1]))
    np.add.at(part, picture, right)
    np.add.at(whole, picture, counted)
    return Ratio(part, whole)
