"""From what bundles found to every figure, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from pose_calibration.annotations import Annotations, Picture
from pose_calibration.evaluation.curves import curves_of
from pose_calibration.evaluation.resampling import interval, resamples
from pose_calibration.evaluation.result import (
    Changed,
    Evaluation,
    Figure,
    Group,
    Keypoint,
    LimbRow,
    OnPicture,
    Side,
    Stages,
)
from pose_calibration.evaluation.run import Run
from pose_calibration.evaluation.scores import PCP_RULES, Scores, pck_name, score, shared_joints
from pose_calibration.keypoint_metrics import Within, by_group, limb_ends, normalised, pck, pcp
from pose_runtime.arrays import Float64Array
from pose_runtime.bundle import Bundle
from pose_runtime.version import version

VERSION = 1
MOST_CHANGED = 8
"""Pictures that are named."""

_LEAST_CHANGE = 0.005  # of a picture's OKS that is called a change


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A bundle, which graph of it ran (`default`: what runs where nobody chooses), and what it found."""

    bundle: Bundle
    graph: str
    run: Run


def evaluate(
    annotations: Annotations,
    subject: Subject,
    baseline: Subject | None = None,
    *,
    within: Within | None = None,
    seed: int = 0,
    count: int = 1000,
    skipped: Sequence[str] = (),
) -> Evaluation:
    """All figures of a bundle, and their differences to another's.

    Args:
        annotations: of the data set; the pictures that both runs have are evaluated.
        subject: the bundle in question.
        baseline: what it is compared with, or None.
        within: whether an error exactly at a threshold is correct; None: as the field does on this data set.
        seed, count: of the resampled sets of pictures from which the 95 % intervals come; 0 sets give none.
        skipped: pictures that could not be read, for the record.

    Raises:
        PoseError: a skeleton shares no joint with the annotations, or pycocotools is missing.
    """
    subjects = [subject] if baseline is None else [subject, baseline]
    pictures = [one for one in annotations.pictures if all(one.id in other.run.poses for other in subjects)]
    rule = within or annotations.protocol.within
    compared = shared_joints(annotations.skeleton, [one.bundle.manifest.skeleton for one in subjects])
    scores = [
        score(annotations, pictures, [one.run.poses[p.id] for p in pictures], compared=compared, within=rule)
        for one in subjects
    ]
    own, other = scores[0], scores[1] if baseline else None
    sides = [_side(one, found, annotations.protocol.everybody) for one, found in zip(subjects, scores, strict=True)]
    names = np.array(annotations.skeleton.names)
    return Evaluation(
        version=VERSION,
        jetpose=version(),
        data_set=annotations.protocol.name,
        annotations=str(annotations.path),
        pictures=len(pictures),
        people=int(own.people.sum()),
        skipped=tuple(skipped),
        joints_left_out=tuple(str(name) for name in names[~compared]),
        notes=annotations.notes,
        within=rule,
        boxes=subject.run.boxes,
        seed=seed,
        resamples=count,
        bundle=sides[0],
        baseline=sides[1] if baseline else None,
        figures=_figures(own, other, resamples(len(pictures), count, seed)),
        pck=pck_name(annotations.protocol.length, annotations.protocol.threshold),
        groups=_groups(annotations, own, other, rule),
        keypoints=_keypoints(annotations, own, other, rule),
        limbs=_limbs(own, other),
        curves=curves_of(annotations, own, other, rule),
        changed=_changed(pictures, own, other),
    )


def _side(subject: Subject, scores: Scores, everybody: bool) -> Side:
    timings = subject.run.timings
    stages = {
        f"{s}_ms": 1e3 * median(getattr(t, f"{s}_s") for t in timings) for s in ("pre", "network", "decode", "total")
    }
    return Side(
        path=str(subject.bundle.path),
        network=subject.bundle.manifest.network.name,
        sha256=subject.bundle.digest,
        graph=subject.graph,
        found=int(scores.found.sum()),
        missed=int(scores.missed.sum()),
        invented=int(scores.invented.sum()) if everybody else None,
        stages=Stages(pictures=len(timings), **stages),
    )


def _figures(own: Scores, other: Scores | None, weights: Float64Array) -> tuple[Figure, ...]:
    values, others = own.plain(), other.plain() if other else {}
    drawn, others_drawn = own.values(weights), other.values(weights) if other else {}
    figures = []
    for name, value in values.items():
        low, high = interval(drawn[name]) or (None, None)
        figure = Figure(name=name, unit="points", value=number(value), low=low, high=high)
        if name in others:
            change_low, change_high = interval(drawn[name] - others_drawn[name]) or (None, None)
            base = number(others[name])
            figure = Figure(
                name=name,
                unit="points",
                value=figure.value,
                low=low,
                high=high,
                baseline=base,
                change=None if figure.value is None or base is None else figure.value - base,
                change_low=change_low,
                change_high=change_high,
            )
        figures.append(figure)
    return tuple(figures)


def _keypoints(annotations: Annotations, own: Scores, other: Scores | None, within: Within) -> tuple[Keypoint, ...]:
    of_joints = _pck(annotations, own, within)
    rows = []
    for k, name in enumerate(annotations.skeleton.names):
        annotated = int(own.pairs.labelled[:, k].sum())
        mean, middle, good = _joint(own, k)
        _, base_middle, base_good = _joint(other, k) if other else (None, None, None)
        found = np.isfinite(own.pairs.errors[:, k]) & own.pairs.matched & own.pairs.labelled[:, k]
        rows.append(
            Keypoint(
                name=name,
                annotated=annotated,
                mean_px=mean,
                median_px=middle,
                right=good,
                missed=share(annotated - int(found.sum()), annotated),
                pck=number(of_joints[k]),
                baseline_right=base_good,
                baseline_median_px=base_middle,
            )
        )
    return tuple(rows)


def _groups(annotations: Annotations, own: Scores, other: Scores | None, within: Within) -> tuple[Group, ...]:
    joints: dict[str, list[int]] = {}
    for k, name in enumerate(annotations.skeleton.names):
        joints.setdefault(name.removeprefix("left_").removeprefix("right_"), []).append(k)
    values = by_group(_pck(annotations, own, within), joints)
    base = by_group(_pck(annotations, other, within), joints) if other else dict.fromkeys(joints, float("nan"))
    return tuple(Group(name=name, pck=number(values[name]), baseline=number(base[name])) for name in joints)


def _pck(annotations: Annotations, scores: Scores, within: Within) -> Float64Array:
    """The data set's usual PCK of every joint (K,)."""
    protocol, pairs = annotations.protocol, scores.pairs
    lengths: Float64Array = getattr(pairs, protocol.length)
    relative, counted = normalised(pairs.errors, lengths), pairs.labelled & (lengths > 0)[:, None]
    return pck(relative, counted, threshold=protocol.threshold, within=within).per_joint


def _joint(scores: Scores, k: int) -> tuple[float | None, float | None, float | None]:
    """Mean and median error in pixels where found, share of right ones."""
    pairs = scores.pairs
    errors = pairs.errors[pairs.labelled[:, k] & pairs.matched, k]
    errors = errors[np.isfinite(errors)]
    good = share(int(pairs.right[:, k].sum()), int(pairs.labelled[:, k].sum()))
    return (float(errors.mean()), float(np.median(errors)), good) if len(errors) else (None, None, good)


def _limbs(own: Scores, other: Scores | None) -> tuple[LimbRow, ...]:
    ends = limb_ends(own.skeleton.names)
    limbs = list(ends.values())

    def points(scores: Scores, name: str) -> Float64Array:
        pairs = scores.pairs
        return pcp(pairs.truth, pairs.found, pairs.labelled, limbs, rule=PCP_RULES[name])

    strict, mean = (points(own, name) for name in PCP_RULES)
    base = points(other, "PCP@0.5 strict") if other else np.full(len(limbs), np.nan)
    return tuple(
        LimbRow(
            name=name,
            annotated=int(own.pairs.labelled[:, [*one, *two]].all(axis=1).sum()),
            strict=number(strict[i]),
            mean=number(mean[i]),
            baseline_strict=number(base[i]),
        )
        for i, (name, (one, two)) in enumerate(ends.items())
    )


def _changed(pictures: Sequence[Picture], own: Scores, other: Scores | None) -> tuple[Changed, ...]:
    if other is None:
        order = list(np.argsort(own.oks, kind="stable")[:MOST_CHANGED])
    else:
        change = np.abs(own.oks - other.oks)
        order = [i for i in np.argsort(-change, kind="stable")[:MOST_CHANGED] if change[i] >= _LEAST_CHANGE]
    return tuple(
        Changed(
            id=pictures[i].id,
            file=pictures[i].file,
            bundle=_on_picture(own, i),
            baseline=_on_picture(other, i) if other else None,
        )
        for i in order
    )


def _on_picture(scores: Scores, i: int) -> OnPicture:
    return OnPicture(oks=float(scores.oks[i]), missed=int(scores.missed[i]), invented=int(scores.invented[i]))


def number(value: float) -> float | None:
    """A plain number; None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)


def share(part: int, whole: int) -> float | None:
    """Points; None of nothing."""
    return 100 * part / whole if whole else None
