"""Keypoints that do not tremble: the One-Euro filter.

Casiez, Roussel & Vogel, "1€ Filter" (CHI 2012, doi 10.1145/2207676.2208639): a low-pass filter

    x̂ ← x̂ + α (x - x̂),   α = Te / (Te + τ),   τ = 1 / (2π fc)

over the real time step Te, whose cut-off fc grows with the speed, so that who stands does not tremble and who moves
does not lag; the speed itself is filtered alike with a fixed cut-off. Here, for each coordinate,

    fc = min_cutoff_hz + beta |v̂| / s

with s the person's size (the root of their box's area): a person twice as near moves and trembles twice as many pixels,
and is smoothed alike. A keypoint of score c counts as one that was seen for w = min(1, c / full_score)² of its time:
Te becomes w Te in α. That is what averaging does with values whose error grows with 1 / c, each weighted by the inverse
of its variance.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from pose_runtime._native import native
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton
from pose_runtime.tracking.steps import Steps

SIZE_S = 3.0
"""A person is as large as the largest they looked lately: smaller sizes, of whom part is hidden, count after this."""
MEMORY_S = 5.0
"""Who was not there for this long is forgotten; it is longer than any `gap_s`."""
NEVER_S = -1e9

Hertz = Annotated[float, Meta(gt=0, le=1000)]


class SmoothOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How keypoints are smoothed.

    Attributes:
        min_cutoff_hz: cut-off for what stands still: lower trembles less.
        beta: Hz that the cut-off grows when a keypoint moves by the person's size in a second: higher lags less.
        speed_cutoff_hz: cut-off of the speed's own filter.
        full_score: score from which a keypoint counts fully; weaker ones are smoothed more.
        gap_s: a keypoint that was missing longer starts afresh.
    """

    min_cutoff_hz: Hertz = 1.0
    beta: Annotated[float, Meta(ge=0, le=1000)] = 5.0
    speed_cutoff_hz: Hertz = 1.0
    full_score: Annotated[float, Meta(gt=0, le=1000)] = 0.6
    gap_s: Annotated[float, Meta(gt=0, le=MEMORY_S)] = 0.3


class Smoother:
    """Smooths everybody's keypoints by id.

    Args:
        skeleton: of the poses.
        options: how they are smoothed.
    """

    def __init__(self, skeleton: Skeleton, options: SmoothOptions = SmoothOptions()) -> None:  # noqa: B008  # frozen
        self._skeleton = skeleton
        o = options
        self._settings = (o.min_cutoff_hz, o.beta, o.speed_cutoff_hz, o.full_score, o.gap_s)
        self._steps = Steps()
        self._slots: dict[int, int] = {}  # where an id's memory is
        self._free: list[int] = []
        self._memory = np.zeros((0, len(skeleton.names), 5))  # x, y, speeds, when seen
        self._sizes = np.zeros(0)
        self._seen_s = np.zeros(0)

    def __len__(self) -> int:
        """People remembered."""
        return len(self._slots)

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """The same people, smoothed; scores and what is missing stay.

        Args:
            poses: with ids, as `Tracker` gives them.
            time_s: of the frame, seconds; a time that is not after the last one counts as one usual step.

        Raises:
            PoseError: poses of another skeleton, or without ids.
        """
        if poses.skeleton.names != self._skeleton.names:
            raise PoseError(f"smoother: got skeleton {poses.skeleton.name!r}, wanted {self._skeleton.name!r}")
        if poses.ids is None:
            raise PoseError("smoother: got poses without ids, wanted those of a tracker")
        self._steps.advance(time_s)
        self._forget()
        now_s = self._steps.now_s
        people = np.ascontiguousarray(poses.keypoints, np.float32)
        slots = np.array([self._slot(i) for i in poses.ids.tolist()], np.int64)
        areas, scores = np.empty((2, len(people)))
        native.measure_people(people, areas, scores)
        shrunk = self._sizes[slots] * np.exp((self._seen_s[slots] - now_s) / SIZE_S)
        sizes = self._sizes[slots] = np.maximum(np.sqrt(areas), shrunk)
        self._seen_s[slots] = now_s
        smooth = np.empty_like(people)
        native.smooth(people, slots, sizes, now_s, self._settings, self._memory, smooth)
        return Poses(smooth, poses.scores, poses.skeleton, poses.ids)

    def _slot(self, person: int) -> int:
        """Where somebody's memory is; a fresh one for somebody new."""
        slot = self._slots.get(person)
        if slot is None:
            if not self._free:
                self._grow()
            slot = self._slots[person] = self._free.pop()
            self._memory[slot, :, 4] = NEVER_S
            self._sizes[slot] = 0
        return slot

    def _grow(self) -> None:
        """Twice as many slots."""
        before, joints = self._memory.shape[:2]
        more = max(before, 16)
        self._memory = np.concatenate([self._memory, np.zeros((more, joints, 5))])
        self._sizes, self._seen_s = (np.concatenate([a, np.zeros(more)]) for a in (self._sizes, self._seen_s))
        self._free += range(before, before + more)

    def _forget(self) -> None:
        """Free the slots of who has been away too long."""
        oldest_s = self._steps.now_s - MEMORY_S
        gone = [person for person, slot in self._slots.items() if self._seen_s[slot] < oldest_s]
        for person in gone:
            self._free.append(self._slots.pop(person))
