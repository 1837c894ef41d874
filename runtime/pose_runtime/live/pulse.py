"""Whether a thread still finishes what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class Pulse:
    """One thread's sign of life: it is stuck if one piece of work takes longer than it may.

    Waiting, for a frame or in a reconnect loop, is no work: a lost camera or broker is a fault of theirs, and a restart
    would not bring it back.

    Args:
        name: of the thread, for messages.
        most_s: that one piece of work may take.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, most_s: float, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self._most_s = most_s
        self._clock = clock
        self._since_s: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around one piece of work, such as one frame's inference or one result's writing."""
        self._since_s = self._clock()
        try:
            yield
        finally:
            self._since_s = None

    @property
    def busy_s(self) -> float:
        """Seconds that the present piece of work has taken; 0 while waiting."""
        since_s = self._since_s  # the other thread may end it now
        return 0.0 if since_s is None else self._clock() - since_s

    @property
    def alive(self) -> bool:
        """Not stuck."""
        return self.busy_s <= self._most_s
