"""Poses over time: who is who, and smooth keypoints."""

from __future__ import annotations

from pose_runtime.tracking.smoother import Smoother, SmoothOptions
from pose_runtime.tracking.tracker import Tracker, TrackOptions

__all__ = ["SmoothOptions", "Smoother", "TrackOptions", "Tracker"]
