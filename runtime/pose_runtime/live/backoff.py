"""How long to wait before the next try."""

from __future__ import annotations

from random import Random


class Backoff:
    """Waiting times that double from try to try up to a bound, each cut by a random share so that many devices which
    lost the same peer do not come back at once.

    Args:
        first_s: of the first wait, at most.
        most_s: of every wait.
        random: source of the shares; a fresh one by default.
    """

    def __init__(self, first_s: float = 0.5, most_s: float = 30.0, random: Random | None = None) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._random = random or Random()  # noqa: S311
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now: half to all of the present bound."""
        bound_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return bound_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: the next wait is a first one."""
        self._next_s = self._first_s
