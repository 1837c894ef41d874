"""One thing to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchCase:
    """A call, for how many people it works, and the milliseconds on one core that it should stay below, if any."""

    name: str
    people: int
    run: Callable[[], object]
    goal_ms: float | None
