"""Frames become the network's input: on the GPU by a kernel per row, or on the CPU where the build has no kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.base_pipeline import Job
from pose_runtime.frame import Frame, PixelFormat
from pose_runtime.gpu.device import ALIGNMENT, Resources, Stream
from pose_runtime.gpu.frame_memory import Clock, FrameMemory, MemoryKind, choose_kind
from pose_runtime.gpu.launch import Launch
from pose_runtime.gpu.preprocess import crops_bytes, plan_crops, plan_preprocess
from pose_runtime.gpu.tensors import Tensors
from pose_runtime.manifest import Input
from pose_runtime.preprocess import preprocess


class Layout(NamedTuple):
    """How a frame lies in memory; all frames of one layout are read by the same launch."""

    format: PixelFormat
    size_wh: tuple[int, int]
    strides: tuple[int, ...]


class RunShape(NamedTuple):
    """What a run's launches depend on.

    Attributes:
        layouts: of its frames; one that several rows show is there once.
        rows: which of them each row shows.
        is_fixed: every run of this shape has the same geometries, as whole frames have and boxes have not.
    """

    layouts: tuple[Layout, ...]
    rows: tuple[int, ...]
    is_fixed: bool


def run_shape(jobs: Sequence[Job], is_fixed: bool) -> tuple[RunShape, list[Frame]]:
    """The shape of a run, and its frames without repetition."""
    frames: list[Frame] = []
    rows: list[int] = []
    for job in jobs:
        if not frames or frames[-1] is not job.frame:
            frames.append(job.frame)
        rows.append(len(frames) - 1)
    layouts = tuple(Layout(frame.format, frame.size_wh, frame.strides) for frame in frames)
    return RunShape(layouts, tuple(rows), is_fixed), frames


class Inputs(ABC):
    """The way of frames of one shape into the input tensor; each of the slots has its own memory."""

    @abstractmethod
    def stage(self, slot: int, frames: Sequence[Frame], jobs: Sequence[Job]) -> None:
        """Take the frames over; when it returns they may be changed. The slot's last run is done."""

    @abstractmethod
    def upload(self, slot: int, stream: Stream) -> None:
        """Queue the copy to the GPU on a stream of its own."""

    @abstractmethod
    def enqueue(self, slot: int, stream: Stream) -> None:
        """Queue what fills the rows of the input tensor: the same for every run of a slot, so that a graph holds it."""


class _Source(NamedTuple):
    """One frame of a run in the run's memory: offsets of its planes and of its crops' parameters, and its rows."""

    planes: tuple[int, ...]
    crops: int
    rows: range


class DeviceInputs(Inputs):
    """Raw frames go to the GPU, where kernels sample, convert and normalise them.

    Whole frames of one shape are always sampled alike: a launch each, with all its numbers in the arguments. Boxes are
    others in every run: one launch for all crops of a frame reads their parameters from memory, where they are copied
    together with the frame.

    Args:
        resources: frees it.
        wanted: the input, of the manifest.
        tensors: of the network.
        shape: of the runs.
        jobs: of the first run.
        kind: of the frames' memory.
        slots: how many.
    """

    def __init__(
        self,
        resources: Resources,
        wanted: Input,
        tensors: Tensors,
        shape: RunShape,
        jobs: Sequence[Job],
        kind: MemoryKind,
        slots: int,
    ) -> None:
        self._input, self._tensors, self._shape = wanted, tensors, shape
        self._sources, size = self._place(jobs)
        self._memory = [FrameMemory(resources, kind, size) for _ in range(slots)]
        self._launches = [self._plan(memory.address, jobs) for memory in self._memory]

    def stage(self, slot: int, frames: Sequence[Frame], jobs: Sequence[Job]) -> None:
        """Copy the planes, their padding included, into page-locked memory; and the crops' parameters."""
        host = self._memory[slot].host
        for frame, source in zip(frames, self._sources, strict=True):
            for plane, size, at in zip(frame.planes, frame.plane_bytes, source.planes, strict=True):
                np.copyto(host[at : at + size], plane.reshape(-1)[:size])
            if not self._shape.is_fixed:
                crops = self._crops(jobs, source)
                host[source.crops : source.crops + len(crops)] = np.frombuffer(crops, np.uint8)

    def upload(self, slot: int, stream: Stream) -> None:
        """Queue one copy of all, or none where kernels read what was staged."""
        self._memory[slot].upload(stream)

    def enqueue(self, slot: int, stream: Stream) -> None:
        """Queue the kernels."""
        for launch in self._launches[slot]:
            stream.launch(launch)

    def _plan(self, address: int, jobs: Sequence[Job]) -> list[Launch]:
        wanted, tensor = self._input, self._tensors.input
        half = tensor.dtype == np.float16
        launches = []
        for layout, source in zip(self._shape.layouts, self._sources, strict=True):
            planes, first = [address + at for at in source.planes], source.rows[0]
            if self._shape.is_fixed:
                launches += [
                    plan_preprocess(
                        *layout,
                        planes,
                        jobs[row].geometry,
                        colour=wanted.colour,
                        mean=wanted.mean,
                        std=wanted.std,
                        out=tensor.row(row),
                        half=half,
                    )
                    for row in source.rows
                ]
                continue
            launches.append(
                plan_crops(
                    *layout,
                    planes,
                    input_wh=jobs[first].geometry.size_wh,
                    room=len(source.rows),
                    crops=address + source.crops,
                    out=tensor.row(first),
                    half=half,
                )
            )
        return launches

    def _crops(self, jobs: Sequence[Job], source: _Source) -> bytes:
        wanted, geometries = self._input, [jobs[row].geometry for row in source.rows]
        return crops_bytes(geometries, len(geometries), colour=wanted.colour, mean=wanted.mean, std=wanted.std)

    def _place(self, jobs: Sequence[Job]) -> tuple[list[_Source], int]:
        """Where everything lies in one piece of memory, and the size of that."""
        sources: list[_Source] = []
        end = 0

        def take(size: int) -> int:
            nonlocal end
            start, end = end, end + -(-size // ALIGNMENT) * ALIGNMENT
            return start

        for index in range(len(self._shape.layouts)):
            first = self._shape.rows.index(index)
            rows = range(first, first + self._shape.rows.count(index))  # jobs of one frame are neighbours
            planes = tuple(take(size) for size in jobs[first].frame.plane_bytes)
            crops = 0 if self._shape.is_fixed else take(len(self._crops(jobs, _Source(planes, 0, rows))))
            sources.append(_Source(planes, crops, rows))
        return sources, end


class HostInputs(Inputs):
    """The CPU makes the input, and that goes to the GPU: for builds without kernels."""

    def __init__(self, resources: Resources, wanted: Input, tensors: Tensors, rows: int, slots: int) -> None:
        self._input, self._tensor = wanted, tensors.input
        size = rows * self._tensor.row_bytes
        self._bytes: list[ByteArray] = [resources.locked(size) for _ in range(slots)]
        shape = (rows, *self._tensor.shape)
        self._rows: list[AnyArray] = [host.view(self._tensor.dtype).reshape(shape) for host in self._bytes]

    def stage(self, slot: int, frames: Sequence[Frame], jobs: Sequence[Job]) -> None:  # noqa: ARG002
        """Pre-process into page-locked memory."""
        wanted = self._input
        for job, out in zip(jobs, self._rows[slot], strict=True):
            preprocess(job.frame, job.geometry, colour=wanted.colour, mean=wanted.mean, std=wanted.std, out=out)

    def upload(self, slot: int, stream: Stream) -> None:
        """Nothing: the network may still be reading the tensor, so the copy waits for its turn in `enqueue`."""

    def enqueue(self, slot: int, stream: Stream) -> None:
        """Queue the copy."""
        stream.upload(self._tensor.row(0), self._bytes[slot])


def best_kind(
    inputs: Callable[[Resources, MemoryKind], DeviceInputs],
    kinds: Sequence[MemoryKind],
    resources: Callable[[], Resources],
    stream: Stream,
    jobs: Sequence[Job],
    clock: Clock,
) -> MemoryKind:
    """Try the kinds of memory with the first frames themselves; nothing of the trial is kept."""
    _, frames = run_shape(jobs, is_fixed=True)
    tried: list[Resources] = []

    def work_of(kind: MemoryKind) -> Callable[[], None]:
        tried.append(resources())
        return partial(_once, inputs(tried[-1], kind), stream, frames, jobs)

    try:
        return choose_kind(kinds, work_of, clock)
    finally:
        for each in reversed(tried):
            each.close()


def _once(inputs: Inputs, stream: Stream, frames: Sequence[Frame], jobs: Sequence[Job]) -> None:
    inputs.stage(0, frames, jobs)
    inputs.upload(0, stream)
    inputs.enqueue(0, stream)
    stream.synchronize()
