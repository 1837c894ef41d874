"""Memory through which a frame reaches the GPU, and the trial that finds the best kind where CPU and GPU share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal, get_args

from pose_runtime.arrays import ByteArray
from pose_runtime.gpu.device import Resources, Stream
from pose_runtime.gpu.driver import Gpu

MemoryKind = Literal["copied", "mapped", "managed"]
"""How a frame gets to the kernels: copied from page-locked memory into the device's, read from page-locked memory in
place, or moved by the driver."""

TRIAL_S = 0.05
"""Of the whole trial, warm-ups not counted."""

Clock = Callable[[], float]


class FrameMemory:
    """Bytes that the CPU writes and the GPU reads.

    Args:
        resources: frees it.
        kind: of memory.
        size: bytes.

    Attributes:
        host: uint8 (size,), to be written; not while an upload or a kernel that reads it is under way.
        address: where kernels read it.
    """

    def __init__(self, resources: Resources, kind: MemoryKind, size: int) -> None:
        self.host: ByteArray
        self.address: int
        self._is_copied = kind == "copied"
        if kind == "copied":
            self.host, self.address = resources.locked(size), resources.memory(size)
        elif kind == "mapped":
            self.host, self.address = resources.mapped(size)
        else:
            self.host, self.address = resources.managed(size)

    def upload(self, stream: Stream) -> None:
        """Queue what it takes for the GPU to see what the host wrote."""
        if self._is_copied:
            stream.upload(self.address, self.host)


def possible_kinds(gpu: Gpu, shares_managed: bool) -> tuple[MemoryKind, ...]:
    """The kinds worth a trial.

    A discrete GPU would read a mapped frame over PCIe, several times where samples overlap, so there it is copied.
    Managed memory only where the CPU may write the next frame while the GPU reads this one; elsewhere (Orin) that
    would end the process.
    """
    if not gpu.integrated:
        return ("copied",)
    return get_args(MemoryKind) if shares_managed else ("copied", "mapped")


def choose_kind(
    kinds: Sequence[MemoryKind], run: Callable[[MemoryKind], Callable[[], None]], clock: Clock = perf_counter
) -> MemoryKind:
    """The fastest kind.

    Args:
        kinds: to be tried, the one to take of equals first.
        run: makes memory of a kind and gives the work to time: write a frame, upload it, run the kernel, wait.
        clock: seconds.
    """
    if len(kinds) == 1:
        return kinds[0]
    best: dict[MemoryKind, float] = {}
    for kind in kinds:
        work = run(kind)
        work()  # the first touches pages
        best[kind], end = float("inf"), clock() + TRIAL_S / len(kinds)
        while best[kind] == float("inf") or clock() < end:
            start = clock()
            work()
            best[kind] = min(best[kind], clock() - start)
    return min(kinds, key=lambda kind: best[kind])
