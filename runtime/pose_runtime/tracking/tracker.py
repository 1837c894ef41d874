"""Who is who from frame to frame.

Every person followed has a pose and a velocity; both are carried to the time of the next frame, and the people found
there are matched with them by OKS, so that the sum of the similarities is largest. As in ByteTrack (Zhang et al. 2022,
arXiv 2110.06864) clear detections choose first and doubtful ones then continue what is left; OKS in place of boxes
tells two people apart whose boxes cover each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from pose_runtime._native import native
from pose_runtime.arrays import AnyArray, Float64Array, FloatArray, IntArray
from pose_runtime.errors import PoseError
from pose_runtime.oks import present
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton
from pose_runtime.tracking.steps import Steps

MOST_TRACKS = 256
"""Followed and remembered; the ones unseen longest are forgotten first."""
LEAST_AREA = 32.0**2
"""Pixels²; COCO calls less small. The box around the two eyes of somebody is far smaller than they are."""
VELOCITY_S = 0.2
"""A new velocity takes over from the old one within about this time, seconds."""
SIZE_S = 3.0
"""A person is as large as the largest they looked lately: smaller sizes, of whom part is hidden, count after this."""
LEAST_KEYPOINTS = 3
"""Fewer in common count as this many, so that one keypoint alone makes nobody the same person."""


class TrackOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people are followed.

    Attributes:
        memory_s: a person who comes back within this time, seconds, near where they would have got to, keeps
            their id; longer than frames are apart. Similarity with them falls to 1/e over it.
        min_oks: similarity from which somebody found can be somebody followed.
        tolerance: how much further than between two annotators of COCO keypoints of one person may lie apart for the
            same similarity: a factor on the OKS sigmas. Detectors are less exact, and people move.
        drift_per_s: how fast that tolerance grows while somebody is not seen: by this factor each second.
        coast_s: how long velocity lasts: it falls to 1/e in this time, seconds; 0 takes everybody to stand still.
        clear_score: mean score of somebody's keypoints from which they choose first, and from which somebody new is
            followed. (A person's own score means something else for every decoder.)
        min_hits: frames in a row in which somebody new must be found before they have an id.
    """

    memory_s: Annotated[float, Meta(ge=0.1, le=60)] = 2.0
    min_oks: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    tolerance: Annotated[float, Meta(ge=0.1, le=100)] = 1.5
    drift_per_s: Annotated[float, Meta(ge=0, le=100)] = 3.0
    coast_s: Annotated[float, Meta(ge=0, le=60)] = 0.7
    clear_score: Annotated[float, Meta(ge=0, le=1000)] = 0.3
    min_hits: Annotated[int, Meta(ge=1, le=100)] = 1


@dataclass(slots=True)
class Tracks:
    """T people followed or remembered.

    Attributes:
        ids: int64 (T,); 0 for who has none yet.
        hits: int64 (T,), frames in which they were found.
        seen_s: float64 (T,), when last.
        points: float64 (T, K, 2), x, y, pixels, where they should be now; NaN for a keypoint that was never found.
        velocities: float64 (T, 2), pixels per second, of the whole person.
        areas: float64 (T,), pixels².
    """

    ids: IntArray
    hits: IntArray
    seen_s: Float64Array
    points: Float64Array
    velocities: Float64Array
    areas: Float64Array

    def keep(self, which: AnyArray) -> None:
        """Only those, by mask or by row."""
        for field in self.__slots__:
            setattr(self, field, getattr(self, field)[which])

    def add(self, points: Float64Array, areas: Float64Array, now_s: float) -> None:
        """Somebody new, at rest; points (n, K, 2)."""
        n = len(points)
        self.ids = np.concatenate([self.ids, np.zeros(n, np.int64)])
        self.hits = np.concatenate([self.hits, np.ones(n, np.int64)])
        self.seen_s = np.concatenate([self.seen_s, np.full(n, now_s)])
        self.points = np.concatenate([self.points, points])
        self.velocities = np.concatenate([self.velocities, np.zeros((n, 2))])
        self.areas = np.concatenate([self.areas, areas])

    @classmethod
    def nobody(cls, joints: int) -> Tracks:
        """T = 0."""
        none = np.zeros(0)
        whole = none.astype(np.int64)
        return cls(whole, whole, none, np.zeros((0, joints, 2)), np.zeros((0, 2)), none)


class Tracker:
    """Gives people ids that stay.

    Ids count from 1 and are never used twice. People that are not followed (yet) are left out of the result: who is new
    for `min_hits` - 1 frames, and who is found too doubtfully to be somebody new.

    Args:
        skeleton: of the poses; its OKS sigmas say how exactly each keypoint is known.
        options: how people are followed.
    """

    def __init__(self, skeleton: Skeleton, options: TrackOptions = TrackOptions()) -> None:  # noqa: B008  # frozen
        self._skeleton, self._options = skeleton, options
        sigmas = np.array(skeleton.sigmas, np.float64) * options.tolerance
        self._falloff = 1 / (8 * np.square(sigmas))
        self._steps = Steps()
        self._last_id = 0
        self._tracks = Tracks.nobody(len(skeleton.names))

    def __len__(self) -> int:
        """People followed or remembered."""
        return len(self._tracks.ids)

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """The people of the next frame who have ids, with them, in the order given.

        Args:
            poses: of this tracker's skeleton.
            time_s: of the frame, seconds; a time that is not after the last one counts as one usual step.

        Raises:
            PoseError: poses of another skeleton.
        """
        if poses.skeleton.names != self._skeleton.names:
            raise PoseError(f"tracker: got skeleton {poses.skeleton.name!r}, wanted {self._skeleton.name!r}")
        self._predict(self._steps.advance(time_s))
        people = np.ascontiguousarray(poses.keypoints, np.float32)
        areas, scores = np.empty((2, len(people)))
        native.measure_people(people, areas, scores)
        areas = np.maximum(areas, LEAST_AREA)
        clear = scores >= self._options.clear_score
        track_of = self._match(people, areas, clear)
        self._correct(people, areas, track_of)
        self._begin(people, areas, track_of, clear & (scores > 0))
        ids = self._tracks.ids[track_of] if len(self) else track_of
        self._forget()
        named = (track_of >= 0) & (ids > 0)
        return Poses(poses.keypoints[named], poses.scores[named], poses.skeleton, ids[named])

    def _predict(self, step_s: float) -> None:
        """Carry everybody to now and forget who was away too long."""
        tracks, coast_s = self._tracks, self._options.coast_s
        remembered = self._steps.now_s - tracks.seen_s <= self._options.memory_s
        if not remembered.all():
            tracks.keep(remembered)
        decay = exp(-step_s / coast_s) if coast_s else 0.0
        tracks.points += tracks.velocities[:, None] * (coast_s * (1 - decay))
        tracks.velocities *= decay

    def _match(self, people: FloatArray, areas: Float64Array, clear: AnyArray) -> IntArray:
        """Row of everybody's track, -1 for nobody's: clear people choose first."""
        tracks, options = self._tracks, self._options
        away_s = self._steps.now_s - tracks.seen_s
        growth = np.square(1 + options.drift_per_s * away_s)
        oks = np.empty((len(people), len(tracks.ids)))
        native.track_oks(tracks.points, tracks.areas, growth, people, areas, self._falloff, LEAST_KEYPOINTS, oks)
        oks *= np.exp(-away_s / options.memory_s)  # who was there a moment ago comes first
        track_of = assign(np.where(clear[:, None], oks, 0), options.min_oks)
        doubtful = ~clear
        if doubtful.any():
            oks[:, track_of[track_of >= 0]] = 0
            track_of[doubtful] = assign(oks[doubtful], options.min_oks)
        return track_of

    def _correct(self, people: FloatArray, areas: Float64Array, track_of: IntArray) -> None:
        """Everybody found is where they were found."""
        tracks, now_s = self._tracks, self._steps.now_s
        steps_s = now_s - tracks.seen_s
        native.track_correct(people, track_of, steps_s, VELOCITY_S, tracks.points, tracks.velocities)
        found = track_of >= 0
        rows = track_of[found]
        tracks.areas[rows] = np.maximum(areas[found], tracks.areas[rows] * np.exp(-2 * steps_s[rows] / SIZE_S))
        tracks.seen_s[rows] = now_s
        tracks.hits[rows] += 1

    def _begin(self, people: FloatArray, areas: Float64Array, track_of: IntArray, clear: AnyArray) -> None:
        """Follow who is new and clear, and give ids to who was found often enough."""
        tracks = self._tracks
        new = np.flatnonzero((track_of < 0) & clear)
        if new.size:
            track_of[new] = len(tracks.ids) + np.arange(len(new))
            points = np.where(present(people[new])[..., None], people[new, :, :2], np.nan).astype(np.float64)
            tracks.add(points, areas[new], self._steps.now_s)
        named = np.flatnonzero((tracks.ids == 0) & (tracks.hits >= self._options.min_hits))
        tracks.ids[named] = self._last_id + 1 + np.arange(len(named))
        self._last_id += len(named)

    def _forget(self) -> None:
        """Who was lost before they had an id, and who was lost longest where there are too many."""
        tracks = self._tracks
        kept = (tracks.ids > 0) | (tracks.seen_s == self._steps.now_s)
        if not kept.all():
            tracks.keep(kept)
        if len(tracks.ids) > MOST_TRACKS:
            tracks.keep(np.sort(np.argsort(-tracks.seen_s, kind="stable")[:MOST_TRACKS]))


def assign(similar: Float64Array, least: float) -> IntArray:
    """Rows matched with columns one to one so that the sum of their similarities is largest.

    Args:
        similar: float64 (N, T).
        least: above 0; pairs below it are none.

    Returns:
        int64 (N,): column of each row, -1 for none.
    """
    column_of = np.empty(len(similar), np.int64)
    native.assign(similar, least, column_of)
    return column_of
