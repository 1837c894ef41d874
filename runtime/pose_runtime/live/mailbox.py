"""Where one thread leaves what another takes."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Closed(Exception):  # noqa: N818  # no error: the other side has ended
    """Nothing comes any more, or nobody takes."""


class Mailbox(Generic[_T]):
    """Holds the newest values for one reader; any number of threads may put.

    Args:
        capacity: values held at most.
        drops: a full box loses its oldest value to a new one; else `put` waits until there is room.

    Attributes:
        dropped: how many values were lost unread.
    """

    def __init__(self, capacity: int = 1, *, drops: bool = True) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._drops = drops
        self._values: deque[_T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, value: _T) -> None:
        """Leave a value. Raises Closed once the box is closed, also while it waits."""
        with self._changed:
            while not self._closed and not self._drops and len(self._values) >= self._capacity:
                self._changed.wait()
            if self._closed:
                raise Closed
            if len(self._values) >= self._capacity:
                self._values.popleft()
                self.dropped += 1
            self._values.append(value)
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> _T | None:
        """The oldest value held; None if there was none within the time.

        Raises:
            Closed: the box is closed and empty: what was put before is still given.
        """
        end_s = None if timeout_s is None else monotonic() + timeout_s
        with self._changed:
            while not self._values:
                if self._closed:
                    raise Closed
                left_s = None if end_s is None else end_s - monotonic()
                if left_s is not None and left_s <= 0:
                    return None
                self._changed.wait(left_s)
            value = self._values.popleft()
            self._changed.notify_all()
            return value

    def close(self) -> None:
        """No more values; whoever waits goes on. A second time does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._values)
