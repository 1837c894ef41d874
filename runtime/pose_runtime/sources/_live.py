"""What all live sources share: names, times from the start of the stream, and when they count as lost."""

from __future__ import annotations

import itertools
from time import monotonic

from pose_runtime.errors import SourceError
from pose_runtime.frame import Frame
from pose_runtime.sources._base import Item, Source
from pose_runtime.sources.live import SourceOptions, redacted

_LEAP_S = 10.0  # a longer step of timestamps is no pause but another clock
_STALE_S = 60.0  # a driver or pipeline whose clock says more is wrong


class LiveSource(Source):
    """A source whose frames come by themselves.

    Attributes:
        shown: what it is and gives, for people: device or address, format, size, rate.
    """

    is_video = True
    is_live = True
    shown: str

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._address = redacted(options.address)
        self._clock = StreamClock()
        self._indices = itertools.count()
        self._seen_s = monotonic()

    def _item(self, frame: Frame, stamp_s: float | None) -> Item:
        """A frame with its time by the source's own clock, which may start anywhere; None if it tells none."""
        self._seen_s = monotonic()
        return Item(self._options.title, next(self._indices), self._clock(stamp_s, self._seen_s), frame)

    def _lost(self, why: str) -> SourceError:
        return SourceError(f"{self._address}: {why}")

    def _stalled(self) -> SourceError:
        return self._lost(f"no frame for {self._options.stall_s:g} s")

    def _check_stall(self) -> None:
        if monotonic() - self._seen_s > self._options.stall_s:
            raise self._stalled()


class StreamClock:
    """Rising seconds since the first frame, by the source's timestamps; by their arrival where the source tells none,
    goes back, or leaps.
    """

    def __init__(self) -> None:
        self._time_s = 0.0
        self._last: tuple[float | None, float] | None = None

    def __call__(self, stamp_s: float | None, now_s: float) -> float:
        """The time of a frame with this timestamp that arrived now."""
        if self._last is not None:
            last_s, arrived_s = self._last
            step_s = 0.0 if stamp_s is None or last_s is None else stamp_s - last_s
            self._time_s += step_s if 0 < step_s < _LEAP_S else max(now_s - arrived_s, 1e-6)
        self._last = stamp_s, now_s
        return self._time_s


def capture_time(time_s: float) -> float:
    """A monotonic time that a driver gave, or now if it cannot be right."""
    now_s = monotonic()
    return time_s if 0 <= now_s - time_s <= _STALE_S else now_s
