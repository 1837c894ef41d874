"""What values a tensor takes: a histogram in one pass and in fixed memory, whatever comes and in which order.

Bins are of one width, on both sides of the one around 0. Where a value does not fit, the range doubles and pairs of
bins merge, so the edges depend on the largest |x| alone: any order of pictures gives the same counts, to the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pose_runtime.arrays import AnyArray, IntArray
from pose_runtime.errors import CalibrationError

BINS = 4096
"""Of |x|; more than half of them lie below the largest |x|."""
_SMALLEST = -100
"""2^-100 is the smallest range: all below is one bin."""
_PIECE = 1 << 15  # values that are sorted at a time: their copies stay in the processor's cache


@dataclass(eq=False)
class Histogram:
    """Counts of one tensor's values; empty at first.

    Attributes:
        counts: int64 (2 * BINS,); bin i counts BINS + trunc(x / width) = i, where width = 2^exponent / BINS. So the
            middle one is twice as wide, and bin 0 stays empty.
        exponent: all |x| < 2^exponent; the smallest that fits, -100 at least.
        low, high: the smallest and the largest value, exactly; inf and -inf while there is none.
        peaks: largest |x| of each array that was added, in order.
    """

    counts: IntArray = field(default_factory=lambda: np.zeros(2 * BINS, np.int64))
    exponent: int = _SMALLEST
    low: float = math.inf
    high: float = -math.inf
    peaks: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Of one bin."""
        return math.ldexp(1 / BINS, self.exponent)

    def add(self, values: AnyArray) -> None:
        """Count the values of one more array, of any shape and any real dtype; they are taken as float32 at most.

        Raises:
            CalibrationError: some of them are NaN or infinite; nothing was counted.
        """
        flat = np.asarray(values).reshape(-1)
        if flat.dtype not in (np.float32, np.float16):
            flat = flat.astype(np.float32)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not math.isfinite(high - low):  # a NaN makes both of them NaN
            finite = np.isfinite(flat)
            if not finite.all():
                bad = flat.size - int(np.count_nonzero(finite))
                raise CalibrationError(f"{bad} of {flat.size} values are NaN or infinite")
        self._grow(max(_exponent(low), _exponent(high)))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.peaks.append(max(-low, high))
        self._count(flat)

    def merge(self, other: Histogram) -> None:
        """Count all that `other` has counted; it stays as it is."""
        exponent = max(self.exponent, other.exponent)
        self._grow(exponent)
        self.counts += _merged(other.counts, exponent - other.exponent)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.peaks += other.peaks

    def magnitudes(self) -> IntArray:
        """int64 (BINS,): for each i, how many |x| lie in i * width <= |x| < (i + 1) * width."""
        positive, negative = _sides(self.counts)
        return positive + negative

    def _grow(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = _merged(self.counts, exponent - self.exponent)
            self.exponent = exponent

    def _count(self, flat: AnyArray) -> None:
        """All |x| fit. Scaling by a power of two is exact in float32, or ends below 1, so edges are sharp."""
        scale = np.float32(1 / self.width)
        scaled = np.empty(min(_PIECE, flat.size), np.float32)
        bins = np.empty(scaled.size, np.intp)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            s, b = scaled[: piece.size], bins[: piece.size]
            np.multiply(piece, scale, out=s, dtype=np.float32)
            np.copyto(b, s, casting="unsafe")  # towards 0
            np.add(b, BINS, out=b)
            self.counts += np.bincount(b, minlength=2 * BINS)


def _exponent(value: float) -> int:
    """The smallest e >= -100 with |value| < 2^e."""
    return max(math.frexp(value)[1], _SMALLEST)


def _merged(counts: IntArray, doublings: int) -> IntArray:
    """The counts in bins 2^doublings times as wide."""
    positive, negative = _sides(counts)
    for _ in range(min(doublings, BINS.bit_length())):  # more move nothing: all is in the middle
        positive, negative = (np.pad(side.reshape(-1, 2).sum(axis=1), (0, BINS // 2)) for side in (positive, negative))
    merged = np.zeros_like(counts)
    merged[BINS:] = positive
    merged[BINS:0:-1] += negative
    return merged


def _sides(counts: IntArray) -> tuple[IntArray, IntArray]:
    """int64 (BINS,) each, from 0 outwards; the middle bin counts as positive."""
    negative = counts[BINS:0:-1].copy()
    negative[0] = 0
    return counts[BINS:], negative


# ---- on disk ---------------------------------------------------------------------------------------------------


def to_arrays(histograms: Mapping[str, Histogram]) -> dict[str, AnyArray]:
    """Histograms as plain arrays: names, counts, exponents, extremes."""
    values = list(histograms.values())
    return {
        "names": np.array(list(histograms), np.str_),
        "counts": np.array([h.counts for h in values], np.int64).reshape(-1, 2 * BINS),
        "exponents": np.array([h.exponent for h in values], np.int64),
        "extremes": np.array([(h.low, h.high) for h in values], np.float64).reshape(-1, 2),
        "peaks": np.array([peak for h in values for peak in h.peaks], np.float64),
        "arrays": np.array([len(h.peaks) for h in values], np.int64),
    }


def from_arrays(arrays: Mapping[str, AnyArray]) -> dict[str, Histogram]:
    """The inverse of `to_arrays`; ValueError or KeyError where the arrays are no such histograms."""
    names, counts = arrays["names"], arrays["counts"]
    exponents, extremes = arrays["exponents"], arrays["extremes"]
    n = len(names)
    wanted = ((n,), (n, 2 * BINS), (n,), (n, 2))
    if (names.shape, counts.shape, exponents.shape, extremes.shape) != wanted or names.dtype.kind != "U":
        raise ValueError(f"arrays of shapes {counts.shape}, {exponents.shape}, {extremes.shape}")
    ends = np.cumsum(arrays["arrays"], dtype=np.int64)
    if ends.shape != (n,) or (n and ends[-1] != len(arrays["peaks"])):
        raise ValueError(f"{len(arrays['peaks'])} peaks of {n} tensors")
    peaks = np.split(arrays["peaks"].astype(np.float64), ends[:-1])
    if counts.dtype != np.int64 or exponents.dtype != np.int64 or extremes.dtype != np.float64:
        raise ValueError(f"arrays of {counts.dtype}, {exponents.dtype}, {extremes.dtype}")
    return {
        str(name): Histogram(
            counts[i].copy(), int(exponents[i]), float(extremes[i, 0]), float(extremes[i, 1]), peaks[i].tolist()
        )
        for i, name in enumerate(names)
    }
