"""The network's outputs become people: by kernels on the GPU, or on the CPU from outputs that are copied back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.decode import Decoded
from pose_runtime.errors import EngineError
from pose_runtime.finite import check_finite, not_finite
from pose_runtime.gpu.decoders import DecodePlan, DeviceMaps, plan_decoder
from pose_runtime.gpu.device import ALIGNMENT, Event, Resources, Stream
from pose_runtime.gpu.finite import flags_of, plan_finite
from pose_runtime.gpu.launch import Launch
from pose_runtime.gpu.tensors import Tensor, Tensors
from pose_runtime.manifest import Manifest, Output

_MAX_BRANCHES = 4  # rows that are decoded at the same time

_T = TypeVar("_T")


class Outputs(ABC):
    """The way from the network's outputs to people in pixels of its input; each slot has its own result."""

    @abstractmethod
    def enqueue(self, slot: int, stream: Stream, rows: int) -> None:
        """Queue the decoding of the first rows, and the copy of the result to the host."""

    @abstractmethod
    def read(self, slot: int, row: int) -> Decoded:
        """A row's people, once the queued work is done.

        Raises:
            EngineError: the network's outputs are not finite.
        """


class _Branch(NamedTuple):
    """A stream beside the one that forks, and when its part is done."""

    stream: Stream
    done: Event


class _Row(NamedTuple):
    """The decoding of one row: its plan and its launches, and where its result begins on the device."""

    plan: DecodePlan
    launches: tuple[Launch, ...]
    result: int


class DeviceOutputs(Outputs):
    """Kernels decode; a few KB come back, in one copy per row: the result and, right behind it, the flags of `finite`.

    Parts of decoding are one block on a GPU of many, so rows are decoded side by side: the stream forks into branches
    and joins them again, in a graph too.

    Args:
        resources: frees it.
        manifest: of the bundle.
        tensors: of the network.
        rows, slots: how many.

    Raises:
        DecodeError: there are no kernels for these outputs.
        EngineError: there is not enough memory.
    """

    def __init__(self, resources: Resources, manifest: Manifest, tensors: Tensors, rows: int, slots: int) -> None:
        self._names = list(dict.fromkeys(output.tensor for output in manifest.outputs))
        self._rows = [self._plan_row(resources, manifest, tensors, row) for row in range(rows)]
        self._branches = [_Branch(resources.stream(), resources.event()) for _ in range(min(rows, _MAX_BRANCHES) - 1)]
        self._forked = resources.event()
        self._region = self._rows[0].plan.result.bytes
        size = self._region + _flag_bytes(self._names)
        self._results: list[list[ByteArray]] = [[resources.locked(size) for _ in range(rows)] for _ in range(slots)]

    def enqueue(self, slot: int, stream: Stream, rows: int) -> None:
        """Queue the kernels and one copy per row."""
        branches = self._branches[: rows - 1]
        streams = [stream, *(branch.stream for branch in branches)]
        if branches:
            stream.record(self._forked)
        for branch in branches:
            branch.stream.wait(self._forked)
        for index, (row, host) in enumerate(zip(self._rows[:rows], self._results[slot], strict=False)):
            of_row = streams[index % len(streams)]
            for launch in row.launches:
                of_row.launch(launch)
            of_row.download(host, row.result)
        for branch in branches:
            branch.stream.record(branch.done)
            stream.wait(branch.done)

    def read(self, slot: int, row: int) -> Decoded:
        """Look at the flags, then make the people of the rest."""
        host = self._results[slot][row]
        flags = flags_of(host[self._region :], len(self._names))
        for name, is_bad in zip(self._names, flags, strict=True):
            if is_bad:
                raise not_finite(name)
        return self._rows[row].plan.read(host[: self._region])

    def _plan_row(self, resources: Resources, manifest: Manifest, tensors: Tensors, row: int) -> _Row:
        input_wh = (tensors.input.shape[-1], tensors.input.shape[-2])
        checked = {name: _checked_row(resources, tensors.outputs[name], row) for name in self._names}
        maps = by_role(manifest.outputs, {output: _maps(checked[output.tensor], output) for output in manifest.outputs})
        plan = plan_decoder(manifest.decoder, maps, input_wh)
        if plan.result.offset + plan.result.bytes != plan.arena_bytes:
            raise EngineError("decoding plan: its result does not end the arena")  # the flags follow it
        arena = resources.memory(plan.arena_bytes + _flag_bytes(self._names))
        for upload in plan.uploads:
            resources.device.write(arena + upload.offset, upload.data)
        flags = arena + plan.arena_bytes
        checks = []
        for index, (name, values) in enumerate(checked.items()):
            source = tensors.outputs[name]
            widened = values.address if source.dtype == np.float16 else None
            checks.append(plan_finite(source.row(row), values.row_bytes // 4, flags, index, widened=widened))
        return _Row(plan, (*checks, *plan.launches(arena)), arena + plan.result.offset)


class HostOutputs(Outputs):
    """All outputs come back and the CPU decodes them, as without a GPU.

    Args:
        resources: frees it.
        manifest: of the bundle.
        tensors: of the network.
        rows, slots: how many.
    """

    def __init__(self, resources: Resources, manifest: Manifest, tensors: Tensors, rows: int, slots: int) -> None:
        self._manifest = manifest
        self._input_wh = (tensors.input.shape[-1], tensors.input.shape[-2])
        self._tensors = {output.tensor: tensors.outputs[output.tensor] for output in manifest.outputs}
        self._bytes: list[dict[str, ByteArray]] = [
            {name: resources.locked(rows * tensor.row_bytes) for name, tensor in self._tensors.items()}
            for _ in range(slots)
        ]

    def enqueue(self, slot: int, stream: Stream, rows: int) -> None:
        """Queue one copy per tensor."""
        for name, tensor in self._tensors.items():
            stream.download(self._bytes[slot][name][: rows * tensor.row_bytes], tensor.address)

    def read(self, slot: int, row: int) -> Decoded:
        """Decode on the CPU."""
        values: dict[str, AnyArray] = {}
        for name, tensor in self._tensors.items():
            start = row * tensor.row_bytes
            bytes_of_row = self._bytes[slot][name][start : start + tensor.row_bytes]
            values[name] = bytes_of_row.view(tensor.dtype).reshape(tensor.shape)
            check_finite(name, values[name])
        outputs = self._manifest.outputs
        parts = {output: values[output.tensor][output.channels[0] : output.channels[1]] for output in outputs}
        return self._manifest.decoder(by_role(outputs, parts), self._input_wh)


def by_role(outputs: Sequence[Output], parts: Mapping[Output, _T]) -> dict[str, list[_T]]:
    """What belongs to each output, as decoders take it: several of one role in the manifest's order."""
    roles: dict[str, list[_T]] = {}
    for output in outputs:
        roles.setdefault(output.role, []).append(parts[output])
    return roles


def _checked_row(resources: Resources, tensor: Tensor, row: int) -> Tensor:
    """Where a row's float32 values lie once they are checked: where they are, or for float16 in memory of their own."""
    if tensor.dtype == np.float32:
        return tensor._replace(address=tensor.row(row))
    return Tensor(resources.memory(2 * tensor.row_bytes), tensor.shape, np.dtype(np.float32))


def _maps(tensor: Tensor, output: Output) -> DeviceMaps:
    first, last = output.channels
    return DeviceMaps(tensor.channels(0, first), (last - first, *tensor.shape[1:]))


def _flag_bytes(names: Sequence[str]) -> int:
    return len(names) * ALIGNMENT
