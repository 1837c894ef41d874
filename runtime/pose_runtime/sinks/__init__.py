"""Where results go: JSON Lines, drawn images and videos, a window."""

from __future__ import annotations

from pose_runtime.sinks._base import Sink

__all__ = ["Sink"]
