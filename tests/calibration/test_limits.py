from __future__ import annotations

import math

import numpy as np
import pytest

from pose_calibration.histogram import BINS, Histogram
from pose_calibration.limits import METHODS, Method, entropy_edge, limits
from pose_runtime.errors import CalibrationError

N = 400_000
RANDOM = np.random.default_rng(11)
GAUSS = RANDOM.standard_normal(N).astype(np.float32)
UNIFORM = RANDOM.uniform(-2, 2, N).astype(np.float32)


def histogram(values: np.ndarray) -> Histogram:
    result = Histogram()
    result.add(values)
    return result


def quantised(values: np.ndarray, threshold: float) -> np.ndarray:
    step = threshold / 127
    return step * np.clip(np.rint(values.astype(np.float64) / step), -127, 127)


def mean_error(values: np.ndarray, threshold: float) -> float:
    return float(((values - quantised(values, threshold)) ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values",
    [GAUSS, np.abs(GAUSS), -np.abs(GAUSS), UNIFORM, np.append(GAUSS, np.float32(50)), np.maximum(GAUSS, 0) + 3],
    ids=["gauss", "half", "negative", "uniform", "outlier", "far"],
)
def test_ranges_hold_0_and_stay_within_what_was_seen(method: Method, values: np.ndarray) -> None:
    low, high = limits(histogram(values), method)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    assert high - low > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_range_scales_with_its_tensor_and_turns_with_its_sign(method: Method) -> None:
    half = np.abs(GAUSS)
    low, high = limits(histogram(half), method)
    assert low == 0
    assert limits(histogram(4 * half), method) == (0, 4 * high)
    assert limits(histogram(-half), method) == (-high, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 1e-30, 3e38, 1e-42])
def test_constants_keep_their_value(method: Method, value: float) -> None:
    low, high = limits(histogram(np.full(100, value, np.float32)), method)
    assert low == pytest.approx(min(float(np.float32(value)), 0), rel=1 / BINS)
    assert high == pytest.approx(max(float(np.float32(value)), 0), rel=1 / BINS)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_was_never_seen_has_no_range(method: Method) -> None:
    assert limits(Histogram(), method) == (0.0, 0.0)


def test_minmax_is_exact() -> None:
    assert limits(histogram(GAUSS), "minmax") == (GAUSS.min(), GAUSS.max())


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.99, 100.0])
def test_percentile_is_that_of_the_magnitudes(percentile: float) -> None:
    values = np.append(GAUSS, [-9.0]).astype(np.float32)
    low, high = limits(histogram(values), "percentile", percentile=percentile)
    exact = np.quantile(np.abs(values), percentile / 100, method="inverted_cdf")
    assert -low == pytest.approx(exact, abs=1.01 * histogram(values).width)
    assert -low >= exact
    assert high == min(-low, values.max())


@pytest.mark.parametrize("values", [GAUSS, np.abs(GAUSS), UNIFORM, np.exp(GAUSS), np.append(GAUSS, np.float32(300))])
def test_mse_has_the_least_error_of_all_thresholds(values: np.ndarray) -> None:
    low, high = limits(histogram(values), "mse")
    chosen = mean_error(values, max(-low, high))
    largest = float(np.abs(values).max())
    assert chosen <= 1.02 * min(mean_error(values, t) for t in np.geomspace(largest / 250, largest, 150))


def test_mse_of_a_gaussian_is_the_known_optimum() -> None:
    """255 levels of a uniform symmetric quantiser: 3.9 to 4.1 standard deviations."""
    values = np.random.default_rng(5).standard_normal(4_000_000).astype(np.float32)
    low, high = limits(histogram(values), "mse")
    assert 3.8 < high < 4.2
    assert low == -high


def divergence(counts: np.ndarray, n: int) -> float:
    """KL(P || Q) of NVIDIA's method for the first n bins, spelled out."""
    counts = counts.astype(np.float64)
    counts[0] = min(counts[0], counts[1])
    p = counts[:n].copy()
    p[-1] += counts[n:].sum()
    q = np.zeros(n)
    for c in range(128):
        members = np.arange(c * n // 128, (c + 1) * n // 128)
        filled = members[p[members] > 0]
        if len(filled):
            q[filled] = counts[members].sum() / len(filled)
    p, q = p / p.sum(), q / max(q.sum(), 1e-300)
    if (q[p > 0] == 0).any():
        return math.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@pytest.mark.parametrize(
    "values",
    [GAUSS[:30_000], np.maximum(GAUSS[:3000], 0), np.append(GAUSS[:5000], 20), np.exp(GAUSS[:2000]), UNIFORM[:900]],
    ids=["gauss", "relu", "outlier", "skewed", "few"],
)
def test_entropy_finds_the_least_divergence(values: np.ndarray) -> None:
    magnitudes = histogram(np.asarray(values, np.float32)).magnitudes()
    counts = magnitudes[: np.flatnonzero(magnitudes)[-1] + 1]
    candidates = np.unique(np.rint(np.linspace(128, len(counts), 512)).astype(int))
    wanted = {int(n): divergence(counts, int(n)) for n in candidates}
    assert wanted[entropy_edge(counts)] == pytest.approx(min(wanted.values()), abs=1e-9)


def test_entropy_cuts_an_outlier_off_and_keeps_what_is_even() -> None:
    low, high = limits(histogram(np.append(GAUSS, np.float32(40))), "entropy")
    assert 2 < high < 10
    assert -high == pytest.approx(max(-high, low))
    assert limits(histogram(UNIFORM), "entropy")[1] > 1.9


def test_zeros_do_not_sway_entropy() -> None:
    sparse = np.concatenate([np.abs(GAUSS), np.zeros(20 * N, np.float32)])
    assert limits(histogram(sparse), "entropy") == pytest.approx(limits(histogram(np.abs(GAUSS)), "entropy"), rel=0.02)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(CalibrationError, match="range method: got 'max', wanted one of typical"):
        limits(Histogram(), "max")  # type: ignore[arg-type]
    for bad in (0.0, -1.0, 100.1, math.nan):
        with pytest.raises(CalibrationError, match="percentile: got"):
            limits(Histogram(), "percentile", percentile=bad)
