"""Object keypoint similarity: between detections, for suppressing doubles, and between two sets of poses.

OKS of two poses is the mean over their keypoints of exp(-d² / (2 s² k²)): d their distance in pixels, s² an area in
pixels², k = 2 sigma of the keypoint (COCO).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.arrays import AnyArray, Float64Array, IntArray
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses

_EPSILON = np.finfo(np.float64).eps


def _sigmas(sigmas: ArrayLike, joints: int) -> Float64Array:
    array = np.asarray(sigmas, np.float64)
    if array.shape != (joints,) or not (np.isfinite(array) & (array > 0)).all():
        raise PoseError(f"OKS sigmas: got {array.size}, wanted {joints} positive ones, one per keypoint")
    return array


def similarities(a: AnyArray, b: AnyArray, area: AnyArray, sigmas: Float64Array) -> Float64Array:
    """OKS of single keypoints, float64 (N, M, K); NaN stays NaN.

    Args:
        a, b: (N, K, >= 2) and (M, K, >= 2) x, y, pixels.
        area: pixels², broadcast to (N, M).
        sigmas: (K,).
    """
    between = a[:, None, :, :2].astype(np.float64) - b[None, :, :, :2].astype(np.float64)
    distance2 = np.square(between).sum(axis=-1)
    with np.errstate(over="ignore"):  # a tiny area gives infinity, and that similarity 0
        return np.asarray(np.exp(-distance2 / (2 * sigmas) ** 2 / (area[..., None] + _EPSILON) / 2))


def detection_oks(
    keypoints: ArrayLike, areas: ArrayLike, sigmas: ArrayLike, *, min_score: float | None = None
) -> Float64Array:
    """OKS of every detection with every other, the area being the mean of both.

    Args:
        keypoints: (N, K, 3) x, y, score.
        areas: (N,) pixels².
        sigmas: (K,).
        min_score: only keypoints whose score in the second pose is above it count, as in HRNet's code (its first pose
            is not looked at); 0 where none is. None: all count.

    Returns:
        float64 (N, N): [i, j] for i as the first pose, j as the second.
    """
    points, area = np.asarray(keypoints, np.float64), np.asarray(areas, np.float64)
    if points.ndim != 3 or points.shape[2] != 3 or area.shape != points.shape[:1]:
        raise PoseError(f"OKS: got keypoints {points.shape} and areas {area.shape}, wanted (N, K, 3) and (N,)")
    similar = similarities(points, points, (area[:, None] + area) / 2, _sigmas(sigmas, points.shape[1]))
    counts = np.ones(similar.shape, bool) if min_score is None else (points[None, :, :, 2] > min_score) & (similar >= 0)
    number = counts.sum(axis=-1)
    total = np.where(counts, similar, 0).sum(axis=-1)
    return np.asarray(total / np.maximum(number, 1))


def _descending(scores: Float64Array) -> IntArray:
    """Highest first, equal ones in order of position; NaN last."""
    return np.argsort(-scores, kind="stable")


def oks_nms(oks: ArrayLike, scores: ArrayLike, threshold: float) -> IntArray:
    """Greedy suppression: the best detection stays, those with an OKS above the threshold to it go.

    Args:
        oks: (N, N) of `detection_oks`.
        scores: (N,); equal ones are taken in order of position.
        threshold: OKS equal to it is kept.

    Returns:
        int64 positions of those that stay, best first.
    """
    matrix = np.asarray(oks, np.float64)
    order = _descending(np.asarray(scores, np.float64))
    kept: list[int] = []
    while order.size:
        kept.append(int(order[0]))
        order = order[1:]
        order = order[matrix[kept[-1], order] <= threshold]
    return np.array(kept, np.int64)


def soft_oks_nms(oks: ArrayLike, scores: ArrayLike, threshold: float, *, most: int = 20) -> IntArray:
    """Soft suppression: the best detection stays, the others' scores fall by exp(-oks² / threshold), and again.

    Args:
        oks: (N, N) of `detection_oks`.
        scores: (N,); equal ones are taken in order of position.
        threshold: above 0.
        most: so many are kept at most.

    Returns:
        int64 positions of those that stay, in the order in which they were best.
    """
    matrix, score = np.asarray(oks, np.float64), np.array(scores, np.float64)
    order = _descending(score)
    kept: list[int] = []
    while order.size and len(kept) < most:
        kept.append(int(order[0]))
        order = order[1:]
        score[order] *= np.exp(-(matrix[kept[-1], order] ** 2) / threshold)
        order = order[_descending(score[order])]
    return np.array(kept, np.int64)


def pose_oks(truth: Poses, found: Poses) -> float:
    """How well two sets of poses of one frame agree: 1 for the same people, 0 for none in common.

    People are matched greedily, most similar pair first; the mean of the pairs' OKS is taken over the larger number of
    people, so somebody without a partner counts as 0. Of a pair, keypoints missing on one side only count as 0, those
    missing on both are left out. s² is the area of the box around the truth's keypoints, each side at least one pixel.

    Raises:
        PoseError: different skeletons, or one without sigmas.
    """
    people = max(len(truth), len(found))
    oks = pairwise_oks(truth, found)
    return sum(float(oks[pair]) for pair in greedy_pairs(oks)) / people if people else 1.0


def pairwise_oks(truth: Poses, found: Poses) -> Float64Array:
    """OKS of everybody in `truth` with everybody in `found`, float64 (N, M); areas and missing keypoints as there.

    Raises:
        PoseError: different skeletons, or one without sigmas.
    """
    if truth.skeleton.names != found.skeleton.names:
        raise PoseError(f"OKS: got skeletons {truth.skeleton.name!r} and {found.skeleton.name!r}, wanted the same one")
    sigmas = _sigmas(truth.skeleton.sigmas, len(truth.skeleton.names))
    here, there = present(truth.keypoints), present(found.keypoints)
    area = extent(truth.keypoints, here)
    similar = similarities(truth.keypoints, found.keypoints, area[:, None], sigmas)
    both, either = here[:, None] & there, here[:, None] | there
    return np.asarray(np.where(both, similar, 0).sum(axis=-1) / np.maximum(either.sum(axis=-1), 1))


def greedy_pairs(oks: Float64Array, min_oks: float = 0.0) -> list[tuple[int, int]]:
    """Rows and columns of `oks` (N, M) matched one to one, the highest first, as long as they reach `min_oks`."""
    left, pairs = oks.copy(), []
    for _ in range(min(left.shape)):
        i, j = (int(n) for n in np.unravel_index(np.argmax(left), left.shape))
        if left[i, j] < min_oks:
            break
        pairs.append((i, j))
        left[i, :] = left[:, j] = -1
    return pairs


def present(keypoints: AnyArray) -> AnyArray:
    """Which keypoints (N, K, 3) are there: bool (N, K)."""
    return np.asarray((keypoints[..., 2] > 0) & np.isfinite(keypoints[..., :2]).all(axis=-1))


def extent(keypoints: AnyArray, there: AnyArray) -> Float64Array:
    """float64 (N,): area of the box around the keypoints that are `there` (N, K), pixels²; each side at least 1."""
    xy = keypoints[..., :2].astype(np.float64)
    low = np.where(there[..., None], xy, np.inf).min(axis=1, initial=np.inf)
    high = np.where(there[..., None], xy, -np.inf).max(axis=1, initial=-np.inf)
    return np.asarray(np.maximum(high - low, 1).prod(axis=-1))
