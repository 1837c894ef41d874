"""What all live sources share: names, times from the start of the stream, and when they count as lost."""

from __future__ import annotations

import itertools
from time import monotonic

from pose_runtime.errors import SourceError
from pose_runtime.frame import Frame
from pose_runtime.sources._base import Item, Source
from pose_runtime.sources.live import SourceOptions, redacted

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
        self._first_s: float | None = None
        self._indices = itertools.count()
        self._seen_s = monotonic()

    def _item(self, frame: Frame, time_s: float) -> Item:
        """A frame with its time by the source's own clock, which may start anywhere."""
        self._seen_s = monotonic()
        if self._first_s is None:
            self._first_s = time_s
        return Item(self._options.title, next(self._indices), time_s - self._first_s, frame)

    def _lost(self, why: str) -> SourceError:
        return SourceError(f"{self._address}: {why}")

    def _stalled(self) -> SourceError:
        return self._lost(f"no frame for {self._options.stall_s:g} s")

    def _check_stall(self) -> None:
        if monotonic() - self._seen_s > self._options.stall_s:
            raise self._stalled()


def capture_time(time_s: float) -> float:
    """A monotonic time that a driver gave, or now if it cannot be right."""
    now_s = monotonic()
    return time_s if 0 <= now_s - time_s <= _STALE_S else now_s
