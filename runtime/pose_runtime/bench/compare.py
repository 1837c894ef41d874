"""Whether one is faster than another: the median ratio of pairs, and its interval by the sign test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pose_runtime.bench.result import Comparison

_CONFIDENCE = 0.95
_EXACT = 1000  # pairs up to which the binomial distribution is summed


def compare(a_s: Sequence[float], b_s: Sequence[float]) -> Comparison:
    """B's times over A's, pair by pair, in seconds.

    The interval runs from the k-th smallest to the k-th largest ratio, with the largest k at which a fair coin thrown
    once per pair gives fewer than k heads in at most 2.5 % of cases (Conover, Practical Nonparametric Statistics,
    section 3.2). With fewer than six pairs no k does, and the interval is that from the smallest to the largest.
    """
    ratios = np.sort(np.asarray(b_s, float) / np.asarray(a_s, float))
    rank, confidence = _rank(len(ratios))
    low, high = float(ratios[rank - 1]), float(ratios[-rank])
    return Comparison(ratio=float(np.median(ratios)), low=low, high=high, confidence=confidence)


def _rank(pairs: int) -> tuple[int, float]:
    """k, at least 1, and how sure the interval is."""
    if pairs > _EXACT:
        rank = max(math.floor((pairs - 1.96 * math.sqrt(pairs)) / 2), 1)
        return rank, _CONFIDENCE
    tail, rank = 0.5**pairs, 1  # of fewer than `rank` heads
    while True:
        more = tail + math.comb(pairs, rank) * 0.5**pairs
        if more > (1 - _CONFIDENCE) / 2 or rank + 1 > pairs // 2:
            return rank, max(1 - 2 * tail, 0.0)
        tail, rank = more, rank + 1
