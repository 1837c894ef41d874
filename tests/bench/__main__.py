"""Time decoders, pre-processing and tracking on one core:  python -m bench [FILTER]  (in tests/, or `make bench`).

Each case runs until it has taken 0.3 s (at least 5 times, after one warm-up); the median is printed, with the smallest,
beside the goal. Machines are noisy: compare figures of one run only.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable

MODULES = ("preprocess", "heatmap", "embedding", "paf", "tracking", "cascade")


def measure(run: Callable[[], object], budget_s: float = 0.3) -> list[float]:
    """Times of single calls in ms."""
    run()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < budget_s * 1e3 and len(times) < 5000):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main() -> None:
    """Print one line per case."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    print(f"{'case':44} {'people':>6} {'median ms':>10} {'min ms':>8} {'goal ms':>8}")
    for module in MODULES:
        for case in importlib.import_module(f"bench.{module}").cases():
            if wanted not in case.name:
                continue
            times = measure(case.run)
            median = statistics.median(times)
            late = case.goal_ms is not None and median > case.goal_ms
            goal = f"{case.goal_ms:8.2f}" if case.goal_ms is not None else " " * 8
            print(f"{case.name:44} {case.people:6} {median:10.3f} {min(times):8.3f} {goal}{'  missed' if late else ''}")


if __name__ == "__main__":
    main()
