"""What a graph does to the people that the FP32 graph finds: moved, lost, invented, mixed up with one another.

No annotations are needed: the FP32 poses are the truth. OKS is that of `pose_runtime.oks.pose_oks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pose_calibration.drop_score import DropScore
from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.oks import extent, greedy_pairs, pairwise_oks, present, similarities
from pose_runtime.poses import Poses

MIN_OKS = 0.5
"""Least OKS of a pair: whoever has no partner so near is lost, or invented."""


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """One frame, two graphs.

    Attributes:
        pairs: of people, position in the truth and in what was found, most similar first.
        oks: float64 (P,) of the pairs.
        shift: float64 (P,): mean distance of the keypoints that both of a pair have, pixels of the frame.
        relative_shift: float64 (P,): the same as a share of the person's size, the root of the area of the box around
            the truth's keypoints.
        sure: bool (P,): pairs whose truth is clearly above the drop score.
        lost: positions in the truth of people without a partner, clearly above the drop score.
        invented: positions of found people without a partner, clearly above the drop score.
        grouping_errors: keypoints of the pairs' found people that sit on somebody else: nearer to the same joint of
            another person of the truth than to their own, with a similarity (OKS of the one keypoint) of at least 0.5
            to that and below 0.5 to their own.
    """

    pairs: tuple[tuple[int, int], ...]
    oks: Float64Array
    shift: Float64Array
    relative_shift: Float64Array
    sure: AnyArray
    lost: tuple[int, ...]
    invented: tuple[int, ...]
    grouping_errors: int


def compare(truth: Poses, found: Poses, *, drop_score: DropScore | None, min_oks: float = MIN_OKS) -> Agreement:
    """How far `found` agrees with `truth`: people are matched greedily by OKS.

    Args:
        truth: what FP32 finds in a frame.
        found: what another graph finds in it; of the same skeleton.
        drop_score: of the decoder; people below 1.2 times it are matched, but count neither as lost nor as invented.
            None: all count.
        min_oks: of a pair.

    Raises:
        PoseError: the skeletons differ.
    """
    oks = pairwise_oks(truth, found)
    pairs = greedy_pairs(oks, min_oks)
    here, there = [i for i, _ in pairs], [j for _, j in pairs]
    sure = (_all(truth), _all(found)) if drop_score is None else (drop_score.sure(truth), drop_score.sure(found))
    shift = _shift(truth.keypoints[here], found.keypoints[there])
    size = np.sqrt(extent(truth.keypoints[here], present(truth.keypoints[here])))
    return Agreement(
        pairs=tuple(pairs),
        oks=np.array([oks[pair] for pair in pairs], np.float64),
        shift=shift,
        relative_shift=shift / size,
        sure=sure[0][here],
        lost=tuple(int(i) for i in np.flatnonzero(sure[0]) if i not in here),
        invented=tuple(int(j) for j in np.flatnonzero(sure[1]) if j not in there),
        grouping_errors=_grouping_errors(truth, found, pairs),
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """Many frames; people are those clearly above the drop score.

    Attributes:
        people: of the truth.
        lost, invented: of them; people found that the truth has not.
        mean_oks, worst_oks: of the pairs; 1 where there is none.
        shift: mean over the pairs, pixels.
        relative_shift: mean over the pairs, share of the person's size.
        grouping_errors: keypoints that sit on somebody else.
    """

    people: int
    lost: int
    invented: int
    mean_oks: float
    worst_oks: float
    shift: float
    relative_shift: float
    grouping_errors: int


def tally(frames: Iterable[Agreement]) -> Tally:
    """The sum over frames."""
    every = list(frames)
    oks, shift, relative = (
        np.concatenate([np.zeros(0), *(getattr(frame, name)[frame.sure] for frame in every)])
        for name in ("oks", "shift", "relative_shift")
    )
    lost = sum(len(frame.lost) for frame in every)
    return Tally(
        people=len(oks) + lost,
        lost=lost,
        invented=sum(len(frame.invented) for frame in every),
        mean_oks=float(oks.mean()) if len(oks) else 1.0,
        worst_oks=float(oks.min(initial=1.0)),
        shift=float(shift.mean()) if len(shift) else 0.0,
        relative_shift=float(relative.mean()) if len(relative) else 0.0,
        grouping_errors=sum(frame.grouping_errors for frame in every),
    )


def _all(poses: Poses) -> AnyArray:
    return np.ones(len(poses), bool)


def _shift(truth: AnyArray, found: AnyArray) -> Float64Array:
    """Mean distance (P,) of the keypoints that both (P, K, 3) have; 0 where they share none."""
    both = present(truth) & present(found)
    distance = np.hypot(*np.moveaxis(truth[..., :2].astype(np.float64) - found[..., :2], -1, 0))
    return np.asarray(np.where(both, distance, 0).sum(axis=1) / np.maximum(both.sum(axis=1), 1))


def _grouping_errors(truth: Poses, found: Poses, pairs: Iterable[tuple[int, int]]) -> int:
    here = present(truth.keypoints)
    sigmas = np.array(truth.skeleton.sigmas, np.float64)
    area = extent(truth.keypoints, here)[:, None]
    similar = similarities(truth.keypoints, found.keypoints, area, sigmas)  # (N, M, K)
    between = truth.keypoints[:, None, :, :2].astype(np.float64) - found.keypoints[None, :, :, :2]
    valid = here[:, None] & present(found.keypoints)
    similar, distance = np.where(valid, similar, 0), np.where(valid, np.hypot(*np.moveaxis(between, -1, 0)), np.inf)
    errors = 0
    for i, j in pairs:
        on_other = (similar[:, j] >= 0.5) & (distance[:, j] < distance[i, j])
        on_other[i] = False
        errors += int((on_other.any(axis=0) & (similar[i, j] < 0.5)).sum())
    return errors
