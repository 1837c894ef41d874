"""Which record is when, and the random numbers that belong to each: a function of the seed and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from pose_runtime.arrays import IntArray
from pose_runtime.errors import ExportError

ORDER, PASS, SAMPLE = 0, 1, 2
"""What a stream is for."""

_SHUFFLED = 1 << 24
"""A source of more records than this is taken in its own order: a permutation would cost too much memory."""


def stream(*key: int) -> Generator:
    """The random numbers that belong to a key, such as (seed, SAMPLE, epoch, position)."""
    return np.random.default_rng(np.random.SeedSequence(key))


class Order:
    """Which records an epoch takes. Over the epochs every source is gone through whole before it repeats.

    Args:
        lengths: of the sources.
        weights: their shares; relative.
        samples: of an epoch; None for as many as it takes until the first source is through.
        seed: of everything random.
        shuffle: False takes the records of each source in order.
    """

    def __init__(
        self, lengths: Sequence[int], weights: Sequence[float], *, samples: int | None, seed: int, shuffle: bool
    ) -> None:
        if not lengths or min(lengths) < 1:
            raise ExportError(f"data: got sources of {list(lengths)} records, wanted one at least of each")
        shares = np.array(weights, np.float64) / np.sum(weights)
        if samples is None:
            samples = max(1, int(np.min(np.array(lengths) / shares) + 1e-9))
        ends = np.rint(np.cumsum(shares) * samples).astype(int)
        self.samples, self.seed, self.shuffle = samples, seed, shuffle
        self._lengths, self._counts = tuple(lengths), np.diff(ends, prepend=0)

    def epoch(self, epoch: int) -> tuple[IntArray, IntArray]:
        """Source and index of every sample: int64 (samples,) each."""
        sources = np.repeat(np.arange(len(self._counts)), self._counts)
        if self.shuffle:
            stream(self.seed, ORDER, epoch).shuffle(sources)
        indices = np.zeros(len(sources), np.int64)
        for source, count in enumerate(self._counts):
            indices[sources == source] = self._draw(source, epoch * int(count), int(count))
        return sources, indices

    def _draw(self, source: int, start: int, count: int) -> IntArray:
        """Records number `start` and on of the endless row of passes through a source."""
        length = self._lengths[source]
        numbers = np.arange(start, start + count)
        if not self.shuffle or length > _SHUFFLED:
            return numbers % length
        drawn = np.empty(count, np.int64)
        for turn in np.unique(numbers // length):
            here = numbers // length == turn
            drawn[here] = stream(self.seed, PASS, source, int(turn)).permutation(length)[numbers[here] % length]
        return drawn
