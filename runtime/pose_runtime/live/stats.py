"""Counts and times of a live run's network, for its status."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from pose_runtime.base_pipeline import Timings
from pose_runtime.live.status import Spread

_WINDOW_S = 5.0
_MOST = 1024  # samples looked back on, whatever the rate


class Rate:
    """Events per second over the last seconds; one thread counts, any may ask.

    Args:
        clock: monotonic seconds.
        window_s: how far it looks back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, window_s: float = _WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._times_s: deque[float] = deque(maxlen=_MOST)

    def count(self) -> None:
        """One event, now."""
        self._times_s.append(self._clock())

    @property
    def per_s(self) -> float:
        """Events per second; 0 where there was at most one."""
        since_s = self._clock() - self._window_s
        recent = [time_s for time_s in tuple(self._times_s) if time_s >= since_s]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)


class Stats:
    """What the network did; its thread counts, any may ask.

    Args:
        sources: how many there are.
        clock: monotonic seconds.

    Attributes:
        frames: results so far.
        refused: frames that the pipeline could not take.
    """

    def __init__(self, sources: int, clock: Callable[[], float] = monotonic) -> None:
        self.frames = 0
        self.refused = 0
        self._rate = Rate(clock)
        self._people = [0] * sources
        self._latency_s: deque[float] = deque(maxlen=_MOST)
        self._age_s: deque[float] = deque(maxlen=_MOST)
        self._timings: deque[Timings] = deque(maxlen=_MOST)

    def count(self, source: int, people: int, latency_s: float, age_s: float | None, timings: Timings) -> None:
        """One result."""
        self.frames += 1
        self._rate.count()
        self._people[source] = people
        self._latency_s.append(latency_s)
        if age_s is not None:
            self._age_s.append(age_s)
        self._timings.append(timings)

    @property
    def fps(self) -> float:
        """Results per second."""
        return self._rate.per_s

    @property
    def people(self) -> int:
        """In the newest results of all sources."""
        return sum(self._people)

    @property
    def latency_ms(self) -> Spread | None:
        """From taking a frame to its poses."""
        return _spread(tuple(self._latency_s))

    @property
    def age_ms(self) -> Spread | None:
        """Of frames when their poses were ready."""
        return _spread(tuple(self._age_s))

    @property
    def stages_ms(self) -> tuple[float, float, float] | None:
        """Medians of pre-processing, network and decoding."""
        recent = tuple(self._timings)
        if not recent:
            return None
        pre, network, decode = 1e3 * np.median([(t.pre_s, t.network_s, t.decode_s) for t in recent], axis=0)
        return float(pre), float(network), float(decode)


def _spread(seconds: Sequence[float]) -> Spread | None:
    if not seconds:
        return None
    p50, p95, largest = 1e3 * np.percentile(seconds, (50, 95, 100))
    return Spread(p50=float(p50), p95=float(p95), max=float(largest))
