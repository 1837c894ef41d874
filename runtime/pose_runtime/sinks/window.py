"""Frames with their people in a window."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import cv2

from pose_runtime.errors import SinkError
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.draw import drawn
from pose_runtime.sources import Item

_TITLE = "jetpose"
_PROBE = "import cv2; cv2.namedWindow('jetpose', cv2.WINDOW_NORMAL); cv2.waitKey(1)"
_PROBE_S = 15.0
_HOLD_MS = 100
_LEAST_SIDE, _MOST_SIDE = 640, 1280  # the longer side of what is shown, pixels: small frames are enlarged
_KEYS = {ord("q"), 27}  # 27 is Escape
_QT_LOG = ("QT_LOGGING_RULES", "default.warning=false")  # OpenCV's Qt misses fonts that nothing here needs


class Window(Sink):
    """Shows the newest frame; q, Escape or closing it ends the run.

    OpenCV's window code belongs to one thread: that which makes this object also writes and closes. Linux takes any;
    macOS would take only the main one.

    Args:
        hold: `close` waits until the viewer has seen enough: a picture would be gone at once.
        sources: names of live sources, each of which gets a window; without, there is one for all frames.

    Raises:
        SinkError: no display answers. A child process tries it first: without one, OpenCV's window code aborts.
    """

    def __init__(self, *, hold: bool = False, sources: Sequence[str] = ()) -> None:
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError("window: no display (neither DISPLAY nor WAYLAND_DISPLAY is set); use --save instead")
        os.environ.setdefault(*_QT_LOG)
        try:
            done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_S, check=False)
        except subprocess.TimeoutExpired:
            raise SinkError(f"window: the display did not answer in {_PROBE_S:.0f} s; use --save instead") from None
        if done.returncode != 0:
            raise SinkError("window: the display does not answer, or OpenCV has no window code; use --save instead")
        self._titles = {name: f"{_TITLE}: {name}" for name in sources} if len(sources) > 1 else {}
        for title in self._windows:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)  # no tool bar
        self._hold = hold
        self._sizes_wh: dict[str, tuple[int, int]] = {}  # of what they show

    @property
    def _windows(self) -> list[str]:
        return list(self._titles.values()) or [_TITLE]

    def write(self, item: Item, poses: Poses) -> None:
        """Show a frame."""
        title, size_wh = self._titles.get(item.name, _TITLE), _shown_size(item.frame.size_wh)
        if size_wh != self._sizes_wh.get(title):
            cv2.resizeWindow(title, *size_wh)
            self._sizes_wh[title] = size_wh
        cv2.imshow(title, drawn(item.frame, poses, size_wh))
        self._wait(1)

    def idle(self) -> None:
        """See to keys and the mouse."""
        self._wait(1)

    def close(self) -> None:
        """Close the window."""
        while self._hold and self._sizes_wh and not self.finished:
            self._wait(_HOLD_MS)
        self.abandon()

    def abandon(self) -> None:
        """Close the window at once."""
        cv2.destroyAllWindows()  # it may be gone already

    def _wait(self, ms: int) -> None:
        self.finished = cv2.waitKey(ms) & 0xFF in _KEYS or not all(map(_is_open, self._windows))


def _shown_size(size_wh: tuple[int, int]) -> tuple[int, int]:
    side = max(size_wh)
    ratio = min(max(side, _LEAST_SIDE), _MOST_SIDE) / side
    return max(1, round(size_wh[0] * ratio)), max(1, round(size_wh[1] * ratio))


def _is_open(title: str) -> bool:
    """Whether the viewer left the window open; the next `imshow` would open it again."""
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # OpenCV's Qt code, once there is none left
        return False
