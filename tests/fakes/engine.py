"""A network on the fake GPU: ONNX Runtime, reading and writing the device's memory when the stream's turn comes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fakes.cuda import FakeCuda
from pose_runtime.arrays import AnyArray
from pose_runtime.bundle import Bundle
from pose_runtime.engines import Engine, TensorSpec, open_engine
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.manifest import GraphRole


class OrtDeviceEngine(DeviceEngine):
    """Args:
    cuda: the fake.
    engine: the network, of any batch or of a fixed one; rows of a fixed one's run go through it one by one.
    output_shapes: of one row, by name, where the graph leaves them open.
    max_batch: rows of a run.
    """

    def __init__(
        self,
        cuda: FakeCuda,
        engine: Engine,
        output_shapes: Mapping[str, tuple[int, ...]] | None = None,
        max_batch: int = 1,
    ) -> None:
        self._cuda, self._inner = cuda, engine
        self._rows_at_once = engine.inputs[0].shape[0]
        first = None if max_batch > 1 else 1
        inputs = [TensorSpec(s.name, (first, *s.shape[1:]), s.dtype) for s in engine.inputs]
        shapes = output_shapes or {}
        outputs = [TensorSpec(s.name, (first, *shapes.get(s.name, s.shape[1:])), s.dtype) for s in engine.outputs]
        super().__init__("ort on a fake GPU", inputs, outputs, max_batch)
        self.binds = self.runs = 0
        self.spoil: tuple[str, int, float] | None = None  # an output, a position and what to put there

    def _bind(self, addresses: Mapping[str, int], batch: int) -> None:
        self.binds += 1
        self._addresses, self._batch = dict(addresses), batch

    def _enqueue(self, stream: int) -> None:
        addresses, batch = self._addresses, self._batch
        self._cuda.need_context("enqueue")
        self._cuda._live_stream(stream).push("network", lambda: self._run(addresses, batch))

    def _run(self, addresses: Mapping[str, int], batch: int) -> None:
        self.runs += 1
        inputs = {spec.name: self._tensor(spec, addresses, batch) for spec in self.inputs}
        for first in range(0, batch, self._rows_at_once or batch):
            rows = slice(first, first + (self._rows_at_once or batch))
            given = {name: np.ascontiguousarray(array[rows]) for name, array in inputs.items()}
            for name, array in self._inner.infer(given).items():
                spec = next(spec for spec in self.outputs if spec.name == name)
                self._tensor(spec, addresses, batch)[rows] = array
        if self.spoil:
            name, at, value = self.spoil
            spec = next(spec for spec in self.outputs if spec.name == name)
            self._tensor(spec, addresses, batch).reshape(-1)[at] = value

    def _tensor(self, spec: TensorSpec, addresses: Mapping[str, int], batch: int) -> AnyArray:
        shape = (batch, *(int(n or 0) for n in spec.shape[1:]))
        size = math.prod(shape) * spec.dtype.itemsize
        return self._cuda.memory_at(addresses[spec.name], size, ("device",)).view(spec.dtype).reshape(shape)

    def _close(self) -> None:
        self._cuda.need_context("closing an engine")
        self._inner.close()


def device_engine(cuda: FakeCuda, bundle: Bundle, role: GraphRole = "reference", max_batch: int = 1) -> OrtDeviceEngine:
    """A bundle's graph on the fake GPU."""
    return OrtDeviceEngine(cuda, open_engine("onnxruntime", bundle.graph_bytes(role)), max_batch=max_batch)
