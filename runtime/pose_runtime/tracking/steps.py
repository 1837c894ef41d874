"""Time between frames, from clocks that are not to be trusted."""

from __future__ import annotations

from math import inf, isfinite

FIRST_STEP_S = 0.04
"""Taken for a step that is not known before there was a usual one."""
USUAL_S = 1.0
"""Longer steps are pauses."""
LONGEST_S = 3600.0
"""A step counts as this at most: all is forgotten after it, and sums of steps stay exact."""


class Steps:
    """A time that only goes forward, made of frames' times.

    Live frames are dropped, so steps differ. A clock that is set back, stands still or gives no number counts as one
    more step like the last usual one, so that neither motion nor smoothing stops with it. One that is set forward
    cannot be told from a pause, and counts.

    Attributes:
        now_s: seconds since the first frame.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._last_s: float | None = None
        self._usual_s = FIRST_STEP_S

    def advance(self, time_s: float) -> float:
        """Seconds since the frame before, above 0; the first frame's step is 0.

        Args:
            time_s: the frame's time, seconds of any clock.
        """
        last_s = self._last_s
        if last_s is None or isfinite(time_s):
            self._last_s = time_s
        if last_s is None:
            return 0.0
        step_s = time_s - last_s
        if not 0 < step_s < inf:
            step_s = self._usual_s
        elif step_s <= USUAL_S:
            self._usual_s = step_s
        step_s = min(step_s, LONGEST_S)
        self.now_s += step_s
        return step_s
