"""Where one thread leaves what another takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
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
        changed: shared by boxes that one thread reads together (see `take_each`).

    Attributes:
        dropped: how many values were lost unread.
    """

    def __init__(self, capacity: int = 1, *, drops: bool = True, changed: threading.Condition | None = None) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._drops = drops
        self._values: deque[_T] = deque()
        self._changed = changed or threading.Condition()
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
        taken = take_each([self], 1, timeout_s)
        return taken[0][1] if taken else None

    def close(self) -> None:
        """No more values; whoever waits goes on. A second time does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def is_over(self) -> bool:
        """Closed and empty."""
        return self._closed and not self._values

    def _pop(self) -> _T:
        value = self._values.popleft()
        self._changed.notify_all()  # whoever waits for room
        return value


def take_each(
    boxes: Sequence[Mailbox[_T]], most: int, timeout_s: float | None = None, first: int = 0
) -> list[tuple[int, _T]]:
    """One value each of several boxes that share `changed`.

    Args:
        boxes: to take from.
        most: values to take.
        timeout_s: how long to wait until one box has something; None for as long as it takes.
        first: number of the box that is asked first; who counts on gives every box its turn.

    Returns:
        Number of the box and its oldest value; empty if there was nothing within the time.

    Raises:
        Closed: all boxes are closed and empty.
    """
    changed = boxes[0]._changed
    end_s = None if timeout_s is None else monotonic() + timeout_s
    order = [(first + i) % len(boxes) for i in range(len(boxes))]
    with changed:
        while not (ready := [i for i in order if len(boxes[i])][:most]):
            if all(box.is_over for box in boxes):
                raise Closed
            left_s = None if end_s is None else end_s - monotonic()
            if left_s is not None and left_s <= 0:
                return []
            changed.wait(left_s)
        return [(i, boxes[i]._pop()) for i in ready]
