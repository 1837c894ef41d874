"""Numbers in fewer bits, so that what a run holds and what its state file holds are the same thing.

A state file that is smaller than the run's memory must either lose something, and a resumed run then differs from an
unbroken one, or the run itself computes with the small numbers. Here it does: weights are float32 whose last 8 bits are
0, momentum and averages are integers with one scale per row.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DROPPED = 8  # bits of a float32's 23-bit fraction
_TINY = 1e-30


def round_to_24_bits(x: Tensor) -> None:
    """Round float32 values in place to the nearest with a fraction of 15 bits: 3 bytes each, relative error 2^-16."""
    bits = x.view(torch.int32)
    bits.add_(1 << (_DROPPED - 1)).bitwise_and_(-(1 << _DROPPED))


def as_rows(x: Tensor) -> Tensor:
    """A tensor of two or more dimensions as a matrix: its first dimension by all others, of these the first one last.

    So it is a view of weights that lie channels-last, and nothing is copied.
    """
    return x.movedim(1, -1).reshape(len(x), -1)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Back from `as_rows`: a view of `rows`, channels-last."""
    return rows.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


class Rows:
    """A matrix as integers with one float32 scale per row.

    Args:
        rows, columns: its size.
        dtype: int8 or int16; the largest value of a row takes the largest integer.
        device: where it lies.
    """

    def __init__(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> None:
        self._most = torch.iinfo(dtype).max
        self._integers = torch.zeros(rows, columns, dtype=dtype, device=device)
        self._scales = torch.zeros(rows, 1, device=device)

    def get(self) -> Tensor:
        """The values, float32 (rows, columns)."""
        return self._integers * self._scales

    def set(self, values: Tensor) -> None:
        """Round `values` (rows, columns) to the nearest integers of their rows."""
        torch.div(values.abs().amax(1, keepdim=True), self._most, out=self._scales)
        self._integers.copy_((values / self._scales.clamp_min(_TINY)).round_())

    def tensors(self) -> list[Tensor]:
        """What must be kept."""
        return [self._integers, self._scales]
