"""How sure a figure is: the bootstrap over pictures (Efron & Tibshirani 1993, percentile intervals)."""

from __future__ import annotations

import numpy as np

from pose_runtime.arrays import Float64Array

CONFIDENCE = 0.95


def resamples(pictures: int, count: int, seed: int) -> Float64Array:
    """How often each picture is drawn, float64 (count, pictures): every row draws as many as there are, with return."""
    generator = np.random.default_rng(seed)
    if pictures == 0:
        return np.zeros((count, 0))
    return generator.multinomial(pictures, np.full(pictures, 1 / pictures), size=count).astype(np.float64)


def interval(values: Float64Array) -> tuple[float, float] | None:
    """The middle 95 % of a figure's resampled values (B,); NaN are passed over, None where there is nothing else."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
