"""Several processes that train one network, each on its part of every batch (data parallelism).

Started by torchrun, which tells each process its number; alone, a process is a group of one and nothing is exchanged.
Every step averages gradients, batch statistics and losses over the processes in one exchange. All of them then take
the same step, so their weights stay the same without ever being sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pose_runtime.errors import ExportError


@dataclass(frozen=True)
class Group:
    """This process among all.

    Attributes:
        rank: its number, from 0; 0 writes files and speaks.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Which samples of a batch are this process's.

        Raises:
            ExportError: the batch does not divide.
        """
        if batch % self.size:
            raise ExportError(f"batch: got {batch}, wanted a multiple of the {self.size} processes")
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes into float32 tensors, which have the same shapes in all of them."""
        if self.size == 1:
            return
        there = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in there])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, values in zip(there, torch.split(flat, [tensor.numel() for tensor in there]), strict=True):
            tensor.copy_(values.view(tensor.shape))

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(counts)
        return [bool(count) for count in counts]


ALONE = Group()


def join() -> Group:
    """The group that torchrun started this process in, or a group of one.

    Raises:
        ExportError: the others do not answer.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"the {size} training processes do not find each other: {error}") from error
    return Group(dist.get_rank(), size)
