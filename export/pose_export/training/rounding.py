"""Numbers in fewer bits, so that what a run holds and what its state file holds are the same thing.

A state file that is smaller than the run's memory must either lose something, and a resumed run then differs from an
unbroken one, or the run itself computes with the small numbers. Here it does: weights are float32 whose last 8 bits are
0, momentum and averages are integers with one scale per row.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DROPPED = 8  # bits of a float32's 23-bit fraction


def round_to_24_bits(x: Tensor) -> None:
    """Round float32 values in place to the nearest with a fraction of 15 bits: 3 bytes each, relative error 2^-17."""
    bits = x.view(torch.int32)
    bits.add_(1 << (_DROPPED - 1)).bitwise_and_(-(1 << _DROPPED))


class Rows:
    """A tensor of at least two dimensions as integers with one float32 scale per row (all but the first dimension).

    Args:
        shape: of the tensor.
        dtype: int8 or int16; the largest value of a row takes the largest integer.
        device: where it lies.

    Attributes:
        integers: (rows, values per row).
        scales: float32 (rows, 1).
    """

    def __init__(self, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = shape
        self._most = torch.iinfo(dtype).max
        self.integers = torch.zeros(shape[0], shape[1:].numel(), dtype=dtype, device=device)
        self.scales = torch.zeros(shape[0], 1, device=device)

    def get(self) -> Tensor:
        """The values, float32."""
        return (self.integers * self.scales).view(self._shape)

    def set(self, values: Tensor) -> None:
        """Round `values` to the nearest integers of their rows."""
        rows = values.reshape(self.integers.shape)
        torch.div(rows.abs().amax(1, keepdim=True), self._most, out=self.scales)
        self.integers.copy_((rows / self.scales.clamp_min(1e-30)).round_())

    def tensors(self) -> list[Tensor]:
        """What must be kept."""
        return [self.integers, self.scales]
