"""From a histogram to the range that 8-bit integers shall cover.

Each method chooses a threshold t on |x|; the range is that part of [-t, t] which the tensor reaches, with 0 in it.
Rounding is that of symmetric int8, 127 steps of t / 127 on each side: TensorRT's graph has it, and the CPU's graph,
whose uint8 spreads 255 steps over the same range, is never coarser. So one threshold suits both.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pose_calibration.histogram import Histogram
from pose_runtime.arrays import AnyArray, Float64Array, IntArray
from pose_runtime.errors import CalibrationError

Method = Literal["typical", "minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
PERCENTILE = 99.99
LEVELS = 127
"""Steps between 0 and the threshold."""
_CLASSES = 128  # of |x| in the entropy method: 0 to 127
_ENTROPY_CANDIDATES = 512
_MSE_CANDIDATES = 192
_MSE_SMALLEST = 16  # bins: 1/128 to 1/256 of the largest |x|


def limits(histogram: Histogram, method: Method, *, percentile: float = PERCENTILE) -> tuple[float, float]:
    """The smallest and the largest value that the integers shall stand for; low <= 0 <= high.

    typical: t is the median over the arrays that were added, pictures for one, of their largest |x|. Pose networks may
    reach ten times as far as usual on some picture, in a region where nobody is, and what is cut off there is nobody's
    keypoint; by min-max and squared error that region would decide. minmax: all values. percentile: the smallest bin
    edge t with that share of the values in [-t, t]. entropy and mse: see `entropy_edge` and `mse_edge`. A tensor of
    zeros, or one that was never seen, has the range (0, 0).

    Args:
        histogram: of the tensor.
        method: one of METHODS.
        percentile: for that method, above 0 and up to 100.

    Raises:
        CalibrationError: an unknown method, or a percentile that is none.
    """
    if method not in METHODS:
        raise CalibrationError(f"range method: got {method!r}, wanted one of {', '.join(METHODS)}")
    if not 0 < percentile <= 100:
        raise CalibrationError(f"percentile: got {percentile}, wanted above 0 and up to 100")
    largest = max(abs(histogram.low), abs(histogram.high)) if histogram.total else 0.0
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if largest == 0.0:
        return 0.0, 0.0
    magnitudes = histogram.magnitudes()
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    if method == "minmax" or used < _CLASSES:  # under 2^-100 / 32, where all lies in a few bins
        return low, high
    counts = magnitudes[:used]
    if method == "typical":
        threshold = float(np.median(histogram.peaks)) or largest
    elif method == "percentile":
        threshold = histogram.width * percentile_edge(counts, percentile)
    elif method == "entropy":
        threshold = histogram.width * entropy_edge(counts)
    else:
        threshold = histogram.width * mse_edge(counts)
    return max(low, -threshold), min(high, threshold)


def percentile_edge(counts: IntArray, percentile: float) -> int:
    """The number of leading bins that hold at least `percentile` % of all counts."""
    wanted = percentile / 100 * counts.sum()
    return int(np.searchsorted(np.cumsum(counts), wanted)) + 1


def entropy_edge(counts: IntArray) -> int:
    """The number n of leading bins after which |x| is best cut off by NVIDIA's method (S. Migacz, GTC 2017).

    P is the distribution of |x| with all beyond bin n - 1 put into that bin. Q is the distribution without those,
    told apart only by 128 classes of equal width, each spread evenly over those of its bins that P fills. The n of
    least Kullback-Leibler divergence

        KL(P || Q) = sum_j P_j log(P_j / Q_j)

    is chosen, of equal ones the largest. n runs from 128 to all bins in 512 steps at most. Bin 0 gets the
    count of bin 1: zeros, of which a ReLU makes most values, are exact at any scale and must not outvote the others.

    Within a class Q is constant, so sums of P log P and P over classes give every KL without forming any Q.
    """
    counts = counts.astype(np.float64)
    counts[0] = min(counts[0], counts[1])
    total = counts.sum()
    if total == 0:  # all is below the first edge
        return len(counts)
    steps = np.linspace(_CLASSES, len(counts), min(_ENTROPY_CANDIDATES, len(counts) - _CLASSES + 1))
    edges = np.unique(np.rint(steps).astype(np.intp))  # (E,)
    divergence = _divergence(counts / total, edges)
    best = divergence.min()
    return int(edges[np.flatnonzero(divergence <= best + 1e-12)[-1]])


def _divergence(p: Float64Array, edges: NDArray[np.intp]) -> Float64Array:
    """KL for each n of edges, float64 (E,); inf where a class that P fills has nothing inside to be told by.

    Args:
        p: float64 (bins,), of sum 1.
        edges: (E,).
    """
    inside = np.concatenate([[0.0], np.cumsum(p)])  # share of the first n bins
    filled = np.concatenate([[0], np.cumsum(p > 0)])
    x_log_x = np.concatenate([[0.0], np.cumsum(_x_log_x(p))])
    starts = edges[:, None] * np.arange(_CLASSES + 1) // _CLASSES  # (E, 129)
    share, bins = np.diff(inside[starts], axis=1), np.diff(filled[starts], axis=1).astype(np.float64)
    last, outside = p[edges - 1], 1.0 - inside[edges]
    outside[edges == len(p)] = 0.0
    bins[:, -1] += (last == 0) & (outside > 0)  # P fills the last bin by what was cut off
    reference = share.copy()
    reference[:, -1] += outside
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(share / bins) - np.log(inside[edges])[:, None]
        cross = np.where(reference > 0, reference * log_q, 0.0).sum(axis=1)
    own = x_log_x[edges] - _x_log_x(last) + _x_log_x(last + outside)
    result = own - cross
    return np.where(np.isfinite(result), result, np.inf)


def _x_log_x(p: Float64Array) -> Float64Array:
    return p * np.log(p, out=np.zeros_like(p), where=p > 0)


def mse_edge(counts: IntArray) -> float:
    """The threshold, in bins, whose quantisation has the least expected squared error.

    The error of a threshold t is the mean of (|x| - s * min(round(|x| / s), 127))^2 with s = t / 127, every |x| taken
    to be the centre of its bin: clipping and rounding together. Where s is finer than a bin, what is not clipped has
    the s^2 / 12 of values spread evenly. t runs in equal ratios from 16 bins to all.
    """
    filled = np.flatnonzero(counts)
    x, weight = filled + 0.5, counts[filled].astype(np.float64)
    thresholds: list[float] = np.geomspace(len(counts), _MSE_SMALLEST, _MSE_CANDIDATES).tolist()
    return min(thresholds, key=lambda threshold: _squared_error(x, weight, threshold))


def _squared_error(x: AnyArray, weight: AnyArray, threshold: float) -> float:
    step = threshold / LEVELS
    if step >= 1:
        error = (x - step * np.minimum(np.rint(x / step), LEVELS)) ** 2
    else:
        error = np.where(x <= threshold, step**2 / 12, (x - threshold) ** 2)
    return float(weight @ error)
