"""One timed case of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchCase:
    """A name, the number of people in the input, the call to time, and what its median may take, or None."""

    name: str
    people: int
    run: Callable[[], object]
    goal_ms: float | None
