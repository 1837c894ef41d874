"""How near keypoints come: PCK, PCKh, the PDJ curve, PCP. Results are in points, 0 to 100.

All of them divide an error in pixels by a length of the person and ask whether that stays within a threshold. The
field disagrees on whether an error exactly at the threshold is within: `<=` in HRNet, CPM and the toolkits of LSP and
MPII, `<` in MMPose and pytorch-pose, so it is a parameter.

PCK   percentage of correct keypoints (Yang & Ramanan 2013); the length is the larger side of the person's box, or the
      torso (LSP, FLIC), or 0.6 times the diagonal of the head's box (PCKh, Andriluka et al. 2014)
PDJ   percentage of detected joints (Sapp & Taskar 2013): PCK by the torso as a curve over the threshold
PCP   percentage of correct parts: a limb is right where both ends are off by at most half its length (strict), or in
      the mean of both ends
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.errors import PoseError

Within = Literal["<", "<="]
PcpRule = Literal["both", "mean"]

PDJ_THRESHOLDS = tuple(i / 20 for i in range(11))
"""0 to 0.5, as the field draws the curve."""

_WITHIN = {"<": operator.lt, "<=": operator.le}

Limb = tuple[tuple[str, ...], tuple[str, ...]]
"""The two ends, each the middle of its keypoints."""

_SHOULDERS, _HIPS = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
PCP_LIMBS: dict[str, Limb] = {
    "right lower leg": (("right_ankle",), ("right_knee",)),
    "right upper leg": (("right_knee",), ("right_hip",)),
    "left upper leg": (("left_hip",), ("left_knee",)),
    "left lower leg": (("left_knee",), ("left_ankle",)),
    "right lower arm": (("right_wrist",), ("right_elbow",)),
    "right upper arm": (("right_elbow",), ("right_shoulder",)),
    "left upper arm": (("left_shoulder",), ("left_elbow",)),
    "left lower arm": (("left_elbow",), ("left_wrist",)),
    "head": (("neck",), ("head_top",)),
    "torso": (_HIPS, _SHOULDERS),
}
"""LSP's ten parts; MPII's upper neck stands for its neck."""


@dataclass(frozen=True, slots=True, eq=False)
class Pck:
    """Keypoints within a threshold.

    Attributes:
        per_joint: float64 (K,), points; NaN for a joint that is annotated nowhere.
        mean: of the joints, each counting the same; NaN without any.
        pooled: of all keypoints, each counting the same; NaN without any.
    """

    per_joint: Float64Array
    mean: float
    pooled: float


def distances(truth: ArrayLike, found: ArrayLike) -> Float64Array:
    """Errors in pixels, float64 (N, K), of keypoints (N, K, 2); infinite where one is missing (NaN)."""
    a, b = np.asarray(truth, np.float64), np.asarray(found, np.float64)
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 2:
        raise PoseError(f"keypoints: got {a.shape} and {b.shape}, wanted twice (N, K, 2)")
    error = np.hypot(*np.moveaxis(a - b, -1, 0))
    return np.where(np.isnan(error), np.inf, error)


def normalised(errors: ArrayLike, lengths: ArrayLike) -> Float64Array:
    """Errors (N, K) as shares of the people's lengths (N,); infinite where a length is not positive."""
    error, length = np.asarray(errors, np.float64), np.asarray(lengths, np.float64)
    usable = np.isfinite(length) & (length > 0)
    return np.where(usable[:, None], error / np.where(usable, length, 1)[:, None], np.inf)


def pck(relative: ArrayLike, counted: ArrayLike, *, threshold: float, within: Within) -> Pck:
    """Percentage of correct keypoints.

    Args:
        relative: (N, K) errors as `normalised` gives them.
        counted: bool (N, K), annotated keypoints.
        threshold: 0.2 for PCK@0.2.
        within: whether an error exactly at the threshold is correct.
    """
    counts = np.asarray(counted, bool)
    right = _WITHIN[within](np.asarray(relative, np.float64), threshold) & counts
    per_joint = _share(right.sum(axis=0), counts.sum(axis=0))
    pooled = _share(right.sum(), counts.sum())
    return Pck(per_joint, mean_of(per_joint), float(pooled))


def pdj(
    relative: ArrayLike, counted: ArrayLike, *, within: Within, thresholds: Sequence[float] = PDJ_THRESHOLDS
) -> Float64Array:
    """The curve, float64 (T, K): PCK of every joint at every threshold; errors are shares of the torso."""
    return np.array([pck(relative, counted, threshold=t, within=within).per_joint for t in thresholds])


def pcp(
    truth: ArrayLike,
    found: ArrayLike,
    counted: ArrayLike,
    limbs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    within: Within = "<=",
    rule: PcpRule = "both",
    share: float = 0.5,
) -> Float64Array:
    """Percentage of correct parts, float64 (L,); NaN for a limb that is annotated nowhere.

    Args:
        truth, found: (N, K, 2); a missing found keypoint is NaN.
        counted: bool (N, K); a limb counts where all keypoints of both its ends do.
        limbs: two ends each, given by the keypoints whose middle it is.
        within: whether an error exactly at the threshold is correct.
        rule: the errors of `both` ends must be within `share` of the limb's true length, or their `mean`.
    """
    a, b, counts = np.asarray(truth, np.float64), np.asarray(found, np.float64), np.asarray(counted, bool)
    right, number = pcp_counts(a, b, counts, limbs, within=within, rule=rule, share=share)
    return _share(right.sum(axis=0), number.sum(axis=0))


def pcp_counts(
    truth: Float64Array,
    found: Float64Array,
    counted: AnyArray,
    limbs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    within: Within,
    rule: PcpRule,
    share: float = 0.5,
) -> tuple[AnyArray, AnyArray]:
    """What `pcp` sums up: which limbs are right and which are annotated, bool (N, L) each."""
    right, number = (np.zeros((len(truth), len(limbs)), bool) for _ in range(2))
    for i, ends in enumerate(limbs):
        a, b = ([points[:, list(end)].mean(axis=1) for end in ends] for points in (truth, found))
        length = np.hypot(*(a[0] - a[1]).T)
        errors = distances(np.stack(a, axis=1), np.stack(b, axis=1))
        off = errors.max(axis=1) if rule == "both" else errors.mean(axis=1)
        number[:, i] = counted[:, [*ends[0], *ends[1]]].all(axis=1)
        right[:, i] = _WITHIN[within](off, share * length) & number[:, i]
    return right, number


def limb_ends(names: Sequence[str]) -> dict[str, tuple[list[int], list[int]]]:
    """LSP's parts for a keypoint set, as far as it has their keypoints: name -> two ends for `pcp`."""
    index = {name: i for i, name in enumerate(names)}
    if "upper_neck" in index:
        index.setdefault("neck", index["upper_neck"])
    return {
        limb: ([index[n] for n in one], [index[n] for n in two])
        for limb, (one, two) in PCP_LIMBS.items()
        if all(n in index for n in (*one, *two))
    }


def head_sizes(boxes: ArrayLike) -> Float64Array:
    """Lengths of PCKh, float64 (N,): 0.6 times the diagonal of the head's boxes (N, 4) x1, y1, x2, y2."""
    box = np.asarray(boxes, np.float64)
    return np.asarray(0.6 * np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]))


def torso_sizes(keypoints: ArrayLike, names: Sequence[str]) -> Float64Array:
    """Distance of left shoulder and right hip of keypoints (N, K, 2), float64 (N,); NaN where one is missing."""
    points = np.asarray(keypoints, np.float64)
    if not {"left_shoulder", "right_hip"} <= set(names):
        return np.full(len(points), np.nan)
    between = points[:, names.index("left_shoulder")] - points[:, names.index("right_hip")]
    return np.asarray(np.hypot(*between.T))


def by_group(per_joint: ArrayLike, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Left and right together: the mean of the joints' points, as MPII and JHMDB report it."""
    values = np.asarray(per_joint, np.float64)
    return {name: mean_of(values[list(joints)]) for name, joints in groups.items()}


def mean_of(values: Float64Array) -> float:
    """Mean of what is not NaN; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _share(right: AnyArray, number: AnyArray) -> Float64Array:
    return np.asarray(np.where(number > 0, 100 * right / np.maximum(number, 1), np.nan), np.float64)
