"""What a detector would find of a crowd, how followers are judged on it, and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from crowd import FPS, HIDDEN, VISIBLE, Truth
from pose_runtime.oks import extent, present, similarities
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS

COCO = SKELETONS["coco17"]
SIGMAS = np.array(COCO.sigmas)
Follow = Callable[[Poses, float], Poses]


@dataclass(frozen=True)
class Seen:
    """One frame as a detector gives it: when, the truth, the poses, and of each pose the row of the truth or -1."""

    time_s: float
    truth: Truth
    poses: Poses
    rows: np.ndarray


def detect(truths: Iterable[Truth], seed: int, *, every: int = 1, drops: float = 0.05) -> list[Seen]:
    """Frames as a detector gives them that is worse than ours: everything is by chance.

    Keypoints err by 0.7 of COCO's annotators' spread where they are clear, more the weaker their score, and one in
    fifty by a limb's length; hidden ones are found one time in three. One person in twelve is missed, and more than
    half of those of whom little is seen. People that are none come in every tenth frame and stay for some. The order
    changes from frame to frame; frames are dropped.

    Args:
        truths: of a crowd, at `FPS`.
        seed: of the chance.
        every: only each so many-th frame is taken.
        drops: share of these that is lost.
    """
    rng = np.random.default_rng([8, seed])
    frames: list[Seen] = []
    ghost: tuple[np.ndarray, int] | None = None
    for i, truth in enumerate(truths):
        if i % every or rng.random() < drops:
            continue
        found: list[np.ndarray] = []
        rows: list[int] = []
        for row in np.flatnonzero(truth.told):
            person = _found(rng, truth.keypoints[row])
            if person is not None:
                found.append(person)
                rows.append(int(row))
        ghost = _ghost(rng, truth, ghost)
        if ghost is not None and rng.random() < 0.6:
            found.append(_found_ghost(rng, ghost[0]))
            rows.append(-1)
        order = rng.permutation(len(found))
        keypoints = np.array(found, np.float32).reshape(-1, 17, 3)[order]
        scores = np.where(present(keypoints), keypoints[..., 2], 0).mean(axis=1)
        frames.append(Seen(i / FPS, truth, Poses(keypoints, scores, COCO), np.array(rows, np.int64)[order]))
    return frames


def _found(rng: np.random.Generator, true: np.ndarray) -> np.ndarray | None:
    """One person with a detector's errors; None where they are missed."""
    visible, hidden = true[:, 2] == VISIBLE, true[:, 2] == HIDDEN
    if rng.random() < 0.08 + 0.5 * (visible.sum() < 8):
        return None
    size = np.sqrt(extent(true[None], (true[:, 2] > 0)[None])[0])
    score = np.clip(np.where(visible, rng.normal(0.75, 0.15, 17), rng.normal(0.35, 0.1, 17)), 0.1, 1)
    spread = 0.7 * 2 * SIGMAS * size * 0.75 / score
    error = rng.normal(0, 1, (17, 2)) * spread[:, None] / np.sqrt(2)
    error += rng.normal(0, 0.2 * size, (17, 2)) * (rng.random((17, 1)) < 0.02)
    there = np.where(visible, rng.random(17) < 0.95, hidden & (rng.random(17) < 0.33))
    if there.sum() < 4:
        return None
    person = np.concatenate([true[:, :2] + error, score[:, None]], axis=1)
    person[~there] = (np.nan, np.nan, 0)
    return person.astype(np.float32)


def _ghost(
    rng: np.random.Generator, truth: Truth, before: tuple[np.ndarray, int] | None
) -> tuple[np.ndarray, int] | None:
    """Something that looks like a person for some frames: somebody's shape elsewhere, and how long it stays."""
    if before is not None:
        return (before[0], before[1] - 1) if before[1] else None
    if rng.random() > 0.1 or not len(truth.keypoints):
        return None
    shape = truth.keypoints[int(rng.integers(len(truth.keypoints)))].copy()
    shape[:, :2] += rng.normal(0, 250, 2)
    return shape, int(rng.integers(1, 6))


def _found_ghost(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """It as it is found: unsure and incomplete."""
    person = shape + np.concatenate([rng.normal(0, 6, (17, 2)), np.zeros((17, 1))], axis=1)
    person[:, 2] = np.clip(rng.normal(0.35, 0.12, 17), 0.1, 1)
    person[rng.random(17) < 0.4] = (np.nan, np.nan, 0)
    return person.astype(np.float32)


@dataclass(frozen=True)
class Verdict:
    """HOTA, AssA (its share of association), IDF1, each of 1, and identity switches."""

    hota: float
    assa: float
    idf1: float
    switches: int


def oks(truth: Truth, found: Poses) -> np.ndarray:
    """(told people, found): OKS over the keypoints found, of the area of all of somebody's keypoints."""
    true = truth.keypoints[truth.told]
    areas = extent(true, np.ones(true.shape[:2], bool))
    similar = similarities(true, found.keypoints, areas[:, None], SIGMAS)
    there = present(found.keypoints)[None]
    return np.where(there, np.nan_to_num(similar), 0).sum(axis=2) / np.maximum(there.sum(axis=2), 1)


def judge(frames: list[Seen], follow: Follow) -> Verdict:
    """How well a follower does on frames, by trackeval with OKS."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    names: dict[int, int] = {}
    data: dict = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in frames:
        found = follow(frame.poses, frame.time_s)
        data["gt_ids"].append(frame.truth.ids[frame.truth.told] - 1)
        data["tracker_ids"].append(np.array([names.setdefault(i, len(names)) for i in found.ids.tolist()], int))
        data["similarity_scores"].append(oks(frame.truth, found))
    data["num_timesteps"] = len(frames)
    data["num_gt_ids"] = max(len(frame.truth.ids) for frame in frames)
    data["num_tracker_ids"] = len(names)
    data["num_gt_dets"] = sum(len(ids) for ids in data["gt_ids"])
    data["num_tracker_dets"] = sum(len(ids) for ids in data["tracker_ids"])
    quiet = {"PRINT_CONFIG": False}
    hota = HOTA(quiet).eval_sequence(data)
    identity = Identity(quiet | {"THRESHOLD": 0.5}).eval_sequence(data)
    clear = CLEAR(quiet | {"THRESHOLD": 0.5}).eval_sequence(data)
    return Verdict(
        float(np.mean(hota["HOTA"])), float(np.mean(hota["AssA"])), float(identity["IDF1"]), int(clear["IDSW"])
    )


def mean(verdicts: list[Verdict]) -> Verdict:
    """Means of the shares, sum of the switches."""
    shares = [float(np.mean([getattr(v, name) for v in verdicts])) for name in ("hota", "assa", "idf1")]
    return Verdict(*shares, sum(v.switches for v in verdicts))


class GreedyBoxes:
    """The baseline: boxes around the keypoints matched greedily by IoU with where they were last, no motion."""

    def __init__(self, memory_s: float = 2.0, least: float = 0.3) -> None:
        self._memory_s, self._least = memory_s, least
        self._last: dict[int, tuple[np.ndarray, float]] = {}
        self._ids = 0

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        self._last = {i: (box, t) for i, (box, t) in self._last.items() if time_s - t <= self._memory_s}
        boxes = _boxes(poses)
        known = list(self._last)
        overlap = np.array([[_iou(box, self._last[i][0]) for i in known] for box in boxes]).reshape(len(boxes), -1)
        ids = np.zeros(len(boxes), np.int64)
        while overlap.size and overlap.max() >= self._least:
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            ids[row] = known[column]
            overlap[row], overlap[:, column] = -1, -1
        for row in np.flatnonzero(ids == 0):
            self._ids += 1
            ids[row] = self._ids
        self._last |= {int(i): (box, time_s) for i, box in zip(ids, boxes, strict=True)}
        return Poses(poses.keypoints, poses.scores, poses.skeleton, ids)


def _boxes(poses: Poses) -> np.ndarray:
    there = present(poses.keypoints)[..., None]
    xy = poses.keypoints[..., :2]
    low, high = np.where(there, xy, np.inf).min(axis=1), np.where(there, xy, -np.inf).max(axis=1)
    return np.concatenate([low, high], axis=1)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared + 1e-9))


@dataclass(frozen=True)
class Steadiness:
    """What smoothing does to keypoints that are seen clearly.

    Attributes:
        still_px, moving_px: mean size of the second difference over three frames, of keypoints that truly stay within
            a hundredth of the person's size in a frame, and of the others: how much they tremble.
        error_px: median distance from the truth.
        lag_ms: the delay with which the truth is most like what comes out, of those that move.
    """

    still_px: float
    moving_px: float
    error_px: float
    lag_ms: float


def steadiness(frames: list[Seen], smooth: Follow) -> Steadiness:
    """How steady keypoints are, everybody's identity being known; frames must be evenly spaced."""
    people = len(frames[0].truth.ids)
    found = np.full((len(frames), people, 17, 2), np.nan)
    true = np.stack([frame.truth.keypoints[..., :2].astype(np.float64) for frame in frames])
    for i, frame in enumerate(frames):
        real = frame.rows >= 0
        p = frame.poses
        ids = frame.truth.ids[frame.rows[real]]
        out = smooth(Poses(p.keypoints[real], p.scores[real], p.skeleton, ids), frame.time_s)
        found[i, out.ids - 1] = out.keypoints[..., :2]
        found[i][frame.truth.keypoints[..., 2] != VISIBLE] = np.nan
    size = np.sqrt(np.ptp(true, axis=2).prod(axis=-1))[..., None]
    speed = np.linalg.norm(np.gradient(true, axis=0), axis=-1) / size
    moving = speed > 0.01
    tremble = np.linalg.norm(np.diff(found, 2, axis=0), axis=-1)
    error = np.linalg.norm(found - true, axis=-1)
    return Steadiness(
        float(np.nanmean(tremble[~moving[1:-1]])),
        float(np.nanmean(tremble[moving[1:-1]])),
        float(np.nanmedian(error)),
        _lag_s(found, true, moving, frames[1].time_s - frames[0].time_s) * 1e3,
    )


def _lag_s(found: np.ndarray, true: np.ndarray, moving: np.ndarray, step_s: float) -> float:
    """The delay of the truth, in steps of 5 ms, at which the mean distance is least."""
    most = int(np.ceil(0.4 / step_s))
    delays = np.arange(0, 0.4, 0.005)
    errors = []
    for delay in delays:
        whole, part = divmod(delay / step_s, 1)
        late = true[most - int(whole) : len(true) - int(whole)]
        later = true[most - int(whole) - 1 : len(true) - int(whole) - 1]
        off = np.linalg.norm(found[most:] - (1 - part) * late - part * later, axis=-1)
        errors.append(np.nanmean(off[moving[most:]]))
    return float(delays[int(np.argmin(errors))])
