from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_calibration.histogram import BINS, Histogram, from_arrays, to_arrays
from pose_runtime.errors import CalibrationError


def histogram(*arrays: np.ndarray) -> Histogram:
    result = Histogram()
    for array in arrays:
        result.add(array)
    return result


def same(a: Histogram, b: Histogram) -> bool:
    return (a.exponent, a.low, a.high) == (b.exponent, b.low, b.high) and bool((a.counts == b.counts).all())


def definition(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Counts of both sides by np.histogram in float64, and the width of a bin."""
    values = values.astype(np.float64).ravel()
    limit = 2.0 ** (np.floor(np.log2(np.abs(values).max())) + 1)
    edges = np.arange(BINS + 1) * limit / BINS
    counts = np.zeros(2 * BINS, np.int64)
    counts[BINS:] = np.histogram(values[values >= 0], edges)[0]
    counts[BINS:0:-1] += np.histogram(-values[values < 0], edges)[0]
    return counts, limit / BINS


@pytest.mark.parametrize("scale", [1e-6, 0.01, 1.0, 1000.0, 3e30])
def test_equals_the_definition(scale: float) -> None:
    values = (scale * np.random.default_rng(1).standard_normal((3, 70_001))).astype(np.float32)
    result = histogram(values)
    counts, width = definition(values)
    np.testing.assert_array_equal(result.counts, counts)
    assert result.width == width
    assert (result.low, result.high, result.total) == (values.min(), values.max(), values.size)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_any_order_and_any_grouping_give_the_same(values: list[list[float]], random: object) -> None:
    arrays = [np.array(part, np.float32) for part in values]
    whole = histogram(np.concatenate(arrays))
    shuffled = list(arrays)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    merged = Histogram()
    for array in shuffled:
        merged.merge(histogram(array))
    assert same(whole, histogram(*shuffled))
    assert same(whole, merged)
    assert whole.total == sum(map(len, values))


def test_edges_belong_to_the_bin_farther_from_0() -> None:
    result = histogram(np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0], np.float32))
    filled = {int(i): int(result.counts[i]) for i in np.flatnonzero(result.counts)}
    half = BINS // 4  # |x| < 2
    assert filled == {BINS: 2, BINS + half: 1, BINS - half: 1, BINS + 2 * half: 1, BINS - 2 * half: 1}


def test_half_precision_and_integers_count_as_floats() -> None:
    values = np.random.default_rng(2).normal(0, 3, 5000).astype(np.float16)
    assert same(histogram(values), histogram(values.astype(np.float32)))
    assert same(histogram(np.arange(-5, 9)), histogram(np.arange(-5, 9).astype(np.float32)))


def test_the_smallest_numbers_lie_beside_0() -> None:
    tiny = np.array([1e-45, -1e-45, 1e-38], np.float32)
    result = histogram(tiny)
    assert result.counts[BINS] == 3
    result.add(np.array([3e38], np.float32))
    assert result.total == 4
    assert (result.low, result.high) == (tiny.min(), np.float32(3e38))


def test_nothing_is_an_empty_histogram() -> None:
    result = histogram(np.zeros((0, 3), np.float32))
    assert (result.total, result.low, result.high) == (0, np.inf, -np.inf)


@pytest.mark.parametrize(("bad", "count"), [([np.nan], 1), ([np.inf, 1, -np.inf], 2), ([1, np.inf, np.nan], 2)])
def test_nan_and_infinity_are_counted_and_refused(bad: list[float], count: int) -> None:
    result = histogram(np.ones(3, np.float32))
    with pytest.raises(CalibrationError, match=f"{count} of {len(bad)} values are NaN or infinite"):
        result.add(np.array(bad, np.float32))
    assert same(result, histogram(np.ones(3, np.float32)))


def test_magnitudes_fold_both_sides() -> None:
    values = np.random.default_rng(3).standard_normal(10_000).astype(np.float32)
    result = histogram(values)
    np.testing.assert_array_equal(result.magnitudes(), histogram(-values).magnitudes())
    counts = np.histogram(np.abs(values), np.arange(BINS + 1) * result.width)[0]
    np.testing.assert_array_equal(result.magnitudes(), counts)


def test_arrays_and_back() -> None:
    random = np.random.default_rng(4)
    histograms = {"a/b": histogram(random.standard_normal(100)), "ü": Histogram()}
    back = from_arrays(to_arrays(histograms))
    assert list(back) == list(histograms)
    assert all(same(back[name], histograms[name]) for name in back)
    assert from_arrays(to_arrays({})) == {}


@pytest.mark.parametrize("name", ["names", "counts", "exponents", "extremes"])
def test_arrays_that_are_no_histograms_are_refused(name: str) -> None:
    arrays = to_arrays({"a": histogram(np.ones(3))})
    with pytest.raises(ValueError, match="arrays of"):
        from_arrays(arrays | {name: np.zeros((3, 3), np.complex64)})
