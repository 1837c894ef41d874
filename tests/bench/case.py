"""One timed operation of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchCase:
    """`run` does the work once; `goal_ms` is what it should take at most on one core, None: only reported."""

    name: str
    people: int
    run: Callable[[], object]
    goal_ms: float | None
