"""People of one source over time: ids and calmer keypoints, where the settings ask for them."""

from __future__ import annotations

from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton
from pose_runtime.tracking import Smoother, SmoothOptions, Tracker, TrackOptions


class Follower:
    """Tracker and smoother of one source. Smoothing needs identities, so it tracks even where ids are not wanted.

    Args:
        track: None gives people no ids.
        smooth: None leaves keypoints as they are.
    """

    def __init__(self, track: TrackOptions | None, smooth: SmoothOptions | None) -> None:
        self._track, self._smooth = track, smooth
        self._skeleton: Skeleton | None = None

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """The people of the next frame, captured at that monotonic time."""
        if self._track is None and self._smooth is None:
            return poses
        if poses.skeleton != self._skeleton:
            self._begin(poses.skeleton)
        followed = self._tracker(poses, time_s)
        if self._smoother:
            followed = self._smoother(followed, time_s)
        if self._track is None:
            return Poses(followed.keypoints, followed.scores, followed.skeleton)
        return followed

    def _begin(self, skeleton: Skeleton) -> None:
        """At the first frame, and when another bundle took over that knows other keypoints."""
        self._skeleton = skeleton
        self._tracker = Tracker(skeleton, self._track or TrackOptions())
        self._smoother = Smoother(skeleton, self._smooth) if self._smooth else None
