"""The average of the weights over the last steps, which is what a run delivers."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from pose_export.training.rounding import Rows, as_rows, from_rows


class Average(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exponential moving average of weights and batch statistics.

    Attributes:
        decay: share that stays per step; young runs use (1 + t) / (10 + t) where that is less.
        every: steps from one update to the next, which then has the power `every` of the decay: cheaper, and each
            change is large enough for 16 bits.
    """

    decay: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    every: Annotated[int, Meta(ge=1, le=1000)] = 8


class Ema:
    """The averages of a network's floating-point weights and buffers; integer buffers are copied.

    Args:
        network: its values of now are the start.
        average: how.
        compact: keep weights of two and more dimensions in 16 bits with a scale per row, others as they are.
    """

    def __init__(self, network: nn.Module, average: Average, *, compact: bool) -> None:
        self._network, self._average = network, average
        self._rows: dict[str, Rows] = {}
        self._full: dict[str, Tensor] = {}
        for name, value in network.state_dict().items():
            if compact and value.ndim > 1 and value.is_floating_point():
                self._rows[name] = Rows(len(value), value.shape[1:].numel(), torch.int16, value.device)
                self._rows[name].set(as_rows(value))
            else:
                self._full[name] = value.clone()

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Take in the network after `step` steps, if it is time."""
        every = self._average.every
        if step % every:
            return
        share = 1 - min(self._average.decay, (1 + step) / (10 + step)) ** every
        for name, value in self._network.state_dict().items():
            rows, full = self._rows.get(name), self._full.get(name)
            if rows is not None:
                rows.set(rows.get().lerp_(as_rows(value), share))
            elif full is not None and full.is_floating_point():
                full.lerp_(value, share)
            elif full is not None:
                full.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of the network's state dict, in its order."""
        values = dict(self._full)
        shapes = {name: value.shape for name, value in self._network.state_dict().items()}
        values |= {name: from_rows(rows.get(), shapes[name]) for name, rows in self._rows.items()}
        return {name: values[name] for name in shapes}

    def tensors(self) -> list[Tensor]:
        """What must be kept, in a fixed order."""
        return [*(tensor for rows in self._rows.values() for tensor in rows.tensors()), *self._full.values()]
