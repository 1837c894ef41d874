"""One thing to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchCase:
    """A call to time: what it is, people in it, the call, and the goal in milliseconds on one core, if there is one."""

    name: str
    people: int
    run: Callable[[], object]
    goal_ms: float | None
