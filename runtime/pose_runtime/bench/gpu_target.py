"""A pipeline on a GPU, timed: its network captured alone, and outputs in which given people stand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np

from pose_runtime.arrays import AnyArray
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.errors import EngineError
from pose_runtime.gpu.device import Resources
from pose_runtime.gpu.graph import Graph, capture
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.pipeline import Timings
from pose_runtime.plan_key import BuildOptions


class _Tap(DeviceEngine):
    """An engine whose outputs can be led elsewhere: it runs as always, and what the decoder reads stays as it is.

    Attributes:
        binds: how often it was bound: what was captured before the last time is stale.
        batch: of the last time.
        aside: addresses to write outputs to instead of those of the binding; used from the next binding on.
    """

    def __init__(self, engine: DeviceEngine) -> None:
        super().__init__(engine.name, engine.inputs, engine.outputs, engine.max_batch)
        self._engine = engine
        self.binds = self.batch = 0
        self.aside: Mapping[str, int] = {}

    def _bind(self, addresses: Mapping[str, int], batch: int) -> None:
        self._engine.bind({**addresses, **self.aside}, batch)
        self.binds, self.batch = self.binds + 1, batch

    def _enqueue(self, stream: int) -> None:
        self._engine.enqueue(stream)

    def _close(self) -> None:
        self._engine.close()


class GpuTarget:
    """A `GpuPipeline` as `Target` wants it; it is closed with this.

    Args:
        pipeline: open; its engine is put behind one that this looks into.
    """

    def __init__(self, pipeline: GpuPipeline) -> None:
        self._pipeline, self._device = pipeline, pipeline.device
        self._origin = getattr(pipeline.engine, "origin", None)
        self._tap = _Tap(pipeline.engine)
        pipeline.engine = self._tap
        pipeline.rebind()
        self.manifest = pipeline.manifest
        with self._device.current():
            self._resources = self._device.resources()
            self._stream = self._resources.stream()
        self._scratch: Resources | None = None
        self._bare: Graph | None = None
        self._bare_of = 0  # the binding that it was captured with

    @property
    def timings(self) -> Timings:
        """Of the last call, by the GPU's clock."""
        return self._pipeline.timings

    @property
    def device(self) -> str:
        """Such as `cuda:0, NVIDIA H200`."""
        return f"cuda, {self._device.facts.name}"

    @property
    def engine(self) -> str:
        """Library and version."""
        if self._origin is None:
            return self._tap.name
        machine = self._origin.key.machine
        return f"{machine.library} {machine.version}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The way that frames take, how the plan was built, and trtexec's flags for the same bare network."""
        settings = {"frames": str(self._pipeline.path)}
        if self._origin is not None:
            options, report = self._origin.key.options, self._origin.report
            settings["plan"] = f"{report.layers} layers, built in {report.seconds:.1f} s"
            settings["trtexec"] = trtexec_flags(options)
        return settings

    @property
    def device_memory_bytes(self) -> int:
        """In use on the GPU, by everybody."""
        with self._device.current():
            return self._device.facts.memory_bytes - self._device.free_bytes()

    def __call__(self, frames: Any, *, boxes: Any = None) -> Any:
        """As `GpuPipeline`."""
        return self._pipeline(frames, boxes=boxes)

    def bare(self) -> float:
        """Seconds from the launch of the captured network to its end, over the input of the last call."""
        if not self._tap.binds:
            raise EngineError("bare network: no frame has been through it yet; run one first")
        with self._device.current():
            if self._bare is None or self._bare_of != self._tap.binds:
                self._capture()
            start = perf_counter()
            if self._bare is None:  # what cannot be captured runs on the stream, as in the pipeline
                self._tap.enqueue(self._stream.handle)
            else:
                self._bare.launch(self._stream)
            self._stream.synchronize()
            return perf_counter() - start

    def outputs_now(self) -> Mapping[str, AnyArray]:
        """Zeros of the shapes and dtypes that the outputs had in the last call."""
        rows = max(self._tap.batch, 1)
        tensors = self._pipeline.output_tensors
        return {name: np.zeros((rows, *tensor.shape), tensor.dtype) for name, tensor in tensors.items()}

    def replace_outputs(self, outputs: Mapping[str, AnyArray] | None) -> None:
        """Decode these: they are put where the decoder reads, and the network writes beside them."""
        tensors = self._pipeline.output_tensors
        with self._device.current():
            if self._scratch is not None:
                self._forget_bare()
                scratch, self._scratch, self._tap.aside = self._scratch, None, {}
                self._pipeline.rebind()
                scratch.close()
            if outputs is None:
                return
            rows = self._pipeline.max_batch
            self._scratch = self._device.resources()
            self._tap.aside = {name: self._scratch.memory(rows * tensor.row_bytes) for name, tensor in tensors.items()}
            for name, array in outputs.items():
                self._device.write(tensors[name].address, np.ascontiguousarray(array).tobytes())
            self._pipeline.rebind()

    def restart(self) -> None:
        """Bind anew to the batch of the next call, and capture again."""
        self._pipeline.rebind()

    def close(self) -> None:
        """Close the pipeline, and what this has on its device."""
        with self._device.current():
            self._stream.synchronize()
            self._forget_bare()
            if self._scratch is not None:
                self._scratch.close()
            self._resources.close()
        self._pipeline.close()

    def _capture(self) -> None:
        self._forget_bare()
        self._bare_of = self._tap.binds
        if self._pipeline.path.replay != "graph":
            return
        # Of what cannot be captured, such as a DLA's work, the pipeline says so at its own second run.
        with suppress(EngineError):
            self._bare = capture(self._stream, lambda: self._tap.enqueue(self._stream.handle))

    def _forget_bare(self) -> None:
        if self._bare is not None:
            self._bare.close()
            self._bare = None


def trtexec_flags(options: BuildOptions) -> str:
    """What makes trtexec build and time the same: strongly typed, one captured graph, no transfers, waiting actively.

    trtexec 10's own defaults differ (no graph, transfers), those of 11 do not; the flags say it for both.
    """
    flags = ["--stronglyTyped", "--useCudaGraph", "--noDataTransfers", "--useSpinWait"]
    flags += [f"--builderOptimizationLevel={options.level}", f"--memPoolSize=workspace:{options.workspace_mib}M"]
    if options.dla_core is not None:
        flags += [f"--useDLACore={options.dla_core}", "--allowGPUFallback"]
    return " ".join(flags)
