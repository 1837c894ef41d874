"""From a camera's frame to the people in it on the GPU, replayed as one CUDA graph; only poses come back.

    frame -> page-locked memory -> copy -> pre-processing kernel -> network -> decoding kernels -> a few KB of poses
             stage (CPU)           upload  ------------------- one graph per shape and slot ------------------

There are two slots, each with its own frame memory, graph and result: while the GPU works on a frame of one, the next
is taken into the other and copied on a stream of its own. Network tensors and decoding memory are shared, since runs
follow one another on one stream.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, Literal, NamedTuple, cast

from numpy.typing import ArrayLike

from pose_runtime.base_pipeline import BasePipeline, Image, Job, Timings, rows_at_once
from pose_runtime.choose import Choice
from pose_runtime.decode import Decoded
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.errors import DecodeError, EngineError, FrameError, PoseError
from pose_runtime.fit import check_fit
from pose_runtime.gpu.device import Device, Event, Resources
from pose_runtime.gpu.frame_memory import Clock, MemoryKind, possible_kinds
from pose_runtime.gpu.graph import Graph, capture
from pose_runtime.gpu.inputs import DeviceInputs, HostInputs, Inputs, RunShape, best_kind, run_shape
from pose_runtime.gpu.kernels import find_kernels
from pose_runtime.gpu.outputs import DeviceOutputs, HostOutputs, Outputs
from pose_runtime.gpu.tensors import Tensor, Tensors
from pose_runtime.manifest import Manifest
from pose_runtime.poses import Poses

_LOG = logging.getLogger(__name__)
_SLOTS = 2
_PATIENCE = 16  # runs with fewer rows than the engine is bound to, before it is bound to fewer
_MAX_SHAPES = 16  # run shapes whose memory and graphs are kept


@dataclass(frozen=True, slots=True)
class FramePath:
    """Which way frames take: the best one, or what had to stand in for parts of it.

    Attributes:
        pre: where frames become network inputs.
        decode: where outputs become people.
        replay: a captured graph, or kernel after kernel on a stream.
        memory: how frames reach the GPU; None before the first.
        reasons: why it is not the best way; empty where it is.
    """

    pre: Literal["gpu", "cpu"] = "gpu"
    decode: Literal["gpu", "cpu"] = "gpu"
    replay: Literal["graph", "stream"] = "graph"
    memory: MemoryKind | None = None
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"pre-processing on the {self.pre.upper()}, decoding on the {self.decode.upper()}, by {self.replay}"
        if self.memory:
            text += f", frames {self.memory}"
        return "; ".join((text, *self.reasons))


@dataclass(slots=True)
class _Call:
    """One submitted call.

    Attributes:
        is_single: one frame was given, not a list.
        found: per frame, in order.
        error: of one of its runs, raised by `result`.
    """

    is_single: bool
    found: list[list[Decoded]]
    timings: Timings = field(default_factory=Timings)
    upload_s: float = 0.0
    error: PoseError | None = None


class _Run(NamedTuple):
    """What a slot is busy with."""

    call: _Call
    jobs: list[Job]
    staged_s: float


@dataclass(slots=True)
class _Slot:
    """One of the runs under way: its events, in the order in which they happen."""

    index: int
    copying: Event
    copied: Event
    begun: Event
    prepared: Event
    inferred: Event
    done: Event
    run: _Run | None = None


@dataclass(slots=True)
class _Shape:
    """Memory and graphs of one run shape. A graph holds for as long as the engine stays bound as it was."""

    resources: Resources
    inputs: Inputs
    rows: int
    graphs: dict[int, Graph] = field(default_factory=dict)
    binding: int = -1


class GpuPipeline(BasePipeline):
    """A bundle at work on a GPU; use it by `with`, or `close()` it. It serves one thread at a time.

    The first frame of a source size, format and stride plans and captures; after that nothing is allocated per frame.
    `pipeline(frame)` waits for the poses. A live loop overlaps one frame's copy with the other's run instead:

        pipeline.submit(first)
        for frame in camera:
            pipeline.submit(frame)
            poses = pipeline.result()  # of the frame before

    Args:
        manifest: how frames become inputs and outputs become people.
        engine: the network, open on `device`; the pipeline closes it.
        device: the GPU; the pipeline closes it too.
        choice: which graph of the bundle the engine runs.
        max_batch: rows of one run; not more than the engine takes. None for the people that a detector may find, or
            MAX_BATCH.
        clock: seconds, of the trial of memory kinds.

    Attributes:
        path: which way frames take here.
        timings: of the last call whose result was taken; stages by the GPU's clock. `pre_s` has the staging, the copy
            and the kernel, `decode_s` the reading of the result.
        upload_s: the part of `timings.pre_s` that the copy to the GPU took.

    Raises:
        BundleError: the network has not the tensors that the manifest names.
        EngineError: there is not enough memory.
    """

    depth = _SLOTS

    def __init__(
        self,
        manifest: Manifest,
        engine: DeviceEngine,
        device: Device,
        choice: Choice | None = None,
        *,
        max_batch: int | None = None,
        clock: Clock = perf_counter,
    ) -> None:
        check_fit(manifest, engine)
        rows = manifest.input.batch or min(engine.max_batch, rows_at_once(manifest, max_batch))
        super().__init__(manifest, choice, rows)
        self.engine, self.device = engine, device
        self.device_name = f"cuda:{device.ordinal}"
        self.path = FramePath()
        self.upload_s = 0.0
        self._tells_time = True
        self._clock = clock
        self._calls: deque[_Call] = deque()
        self._shapes: dict[RunShape, _Shape] = {}
        self._bound_rows, self._binding = 0, 0
        self._recent_rows: deque[int] = deque(maxlen=_PATIENCE)
        self._next = 0
        with device.current():
            self._resources = device.resources()
            try:
                self._set_up(rows)
            except BaseException:
                self._resources.close()
                raise

    def submit(self, frames: Image | Sequence[Image], *, boxes: Any = None) -> None:
        """Begin a call, whose arguments are those of calling the pipeline; frames may be changed when it returns.

        Raises:
            FrameError: as calling the pipeline.
            EngineError: two calls are under way already, or the GPU failed.
        """
        if isinstance(frames, (list, tuple)):
            self._submit(frames, [None] * len(frames) if boxes is None else boxes, is_single=False)
        else:
            self._submit([cast(Image, frames)], [boxes], is_single=True)

    def result(self) -> Poses | list[Poses]:
        """The poses of the oldest call under way, once they are there.

        Raises:
            EngineError: no call is under way, the network failed, or an output has values that are not finite.
            DecodeError: the outputs are not what the decoder wants.
        """
        if not self._calls:
            raise EngineError("pipeline: no call is under way; submit a frame first")
        call = self._calls.popleft()
        with self.device.current():
            for slot in self._in_order():
                if slot.run and slot.run.call is call:
                    self._collect(slot)
        self.timings, self.upload_s = call.timings, call.upload_s
        if call.error:
            raise call.error
        poses = [self._poses(found) for found in call.found]
        return poses[0] if call.is_single else poses

    def submit_all(self, frames: Sequence[Image], streams: Sequence[Hashable] | None = None) -> None:  # noqa: ARG002
        """Begin a call on several frames; see `submit`."""
        self.submit(list(frames))

    def result_all(self) -> list[Poses]:
        """The poses of the oldest call under way; see `result`."""
        return cast(list[Poses], self.result())

    def close(self) -> None:
        """Wait for what is under way, then free the engine and the device; a second time does nothing."""
        if self.device.is_closed:
            return
        self._calls.clear()
        with ExitStack() as last:
            last.callback(self.device.close)
            last.enter_context(self.device.current())
            last.callback(self.engine.close)
            last.callback(self._resources.close)
            self._compute.synchronize()  # whatever it says, the rest is freed

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        if self._calls:
            raise EngineError("pipeline: a submitted call is under way; take its result first")
        self._submit(frames, boxes, is_single=False)
        return cast(list[Poses], self.result())

    @property
    def output_tensors(self) -> Mapping[str, Tensor]:
        """Where the network's outputs lie on the device, by name; the decoder reads them there."""
        return self._tensors.outputs

    def rebind(self) -> None:
        """Bind the engine anew before the next run, to that run's batch, and capture its graphs again.

        For whoever changed the engine, or measures and wants no rows that nobody reads.
        """
        if self._calls:
            raise EngineError("pipeline: a submitted call is under way; take its result first")
        self._bound_rows = 0
        self._recent_rows.clear()

    # ---- set-up ----------------------------------------------------------------------------------------------

    def _set_up(self, rows: int) -> None:
        own = self._resources
        self._copy, self._compute = own.stream(), own.stream()
        self._slots = [_new_slot(own, i) for i in range(_SLOTS)]
        self._tensors = Tensors(own, self.manifest, self.engine, rows)
        self._outputs = self._open_outputs(rows)
        own.on_close(self._close_shapes)

    def _open_outputs(self, rows: int) -> Outputs:
        """Decode on the GPU if this build can."""
        facts = self.device.facts
        try:
            self.device.load_kernels(find_kernels(facts.sm, facts.driver))
        except EngineError as error:
            self._fall_back(f"no kernels for this GPU: {error}", pre="cpu", decode="cpu")
            return HostOutputs(self._resources, self.manifest, self._tensors, rows, _SLOTS)
        tried = self.device.resources()
        try:
            outputs: Outputs = DeviceOutputs(tried, self.manifest, self._tensors, rows, _SLOTS)
        except (DecodeError, EngineError) as error:
            tried.close()
            self._fall_back(f"no decoding kernels for this network: {error}", decode="cpu")
            return HostOutputs(self._resources, self.manifest, self._tensors, rows, _SLOTS)
        self._resources.on_close(tried.close)
        return outputs

    def _fall_back(self, reason: str, **instead: Any) -> None:
        """Take a slower way and say so."""
        self.path = replace(self.path, **instead, reasons=(*self.path.reasons, reason))
        _LOG.warning("GPU path: %s", self.path)

    def _close_shapes(self) -> None:
        for shape in reversed(self._shapes.values()):
            shape.resources.close()
        self._shapes.clear()

    # ---- one run ---------------------------------------------------------------------------------------------

    def _submit(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None], *, is_single: bool) -> None:
        if len(self._calls) == _SLOTS:
            raise EngineError(f"pipeline: {_SLOTS} calls are under way; take a result first")
        runs = self._runs(frames, boxes)
        for jobs in runs:
            self._check_size(jobs[0])
        call = _Call(is_single, [[] for _ in frames])
        with self.device.current():
            for jobs in runs:
                self._start(call, jobs)
        self._calls.append(call)

    def _check_size(self, job: Job) -> None:
        got, (height, width) = job.geometry.size_wh, self._tensors.input.shape[-2:]
        if got != (width, height):
            raise FrameError(
                f"frame of {job.frame.size_wh}: wants a network input of {got}, this engine has {(width, height)}; "
                "use the CPU, or export with a fixed size"
            )

    def _start(self, call: _Call, jobs: list[Job]) -> None:
        """Queue one run in the slot that has been free, or busy, for longest."""
        slot = self._slots[self._next]
        if slot.run:
            self._collect(slot)
        is_fixed = all(job.geometry is self._plans.get(job.frame.size_wh) for job in jobs)
        key, frames = run_shape(jobs, is_fixed)
        shape = self._shape(key, jobs)
        self._bind(len(jobs))
        start = perf_counter()
        shape.inputs.stage(slot.index, frames, jobs)
        staged_s = perf_counter() - start
        self._copy.record(slot.copying)
        shape.inputs.upload(slot.index, self._copy)
        self._copy.record(slot.copied)
        self._compute.wait(slot.copied)
        self._compute.record(slot.begun)
        self._queue(shape, slot)
        self._compute.record(slot.done)
        slot.run = _Run(call, jobs, staged_s)
        self._next = (self._next + 1) % _SLOTS

    def _queue(self, shape: _Shape, slot: _Slot) -> None:
        """Pre-processing, network and decoding: the slot's graph, or one by one."""
        graph = self._graph(shape, slot) if self.path.replay == "graph" else None
        if graph:
            graph.launch(self._compute)
        else:
            self._enqueue(shape, slot)

    def _enqueue(self, shape: _Shape, slot: _Slot, *, at_replay: bool = False) -> None:
        shape.inputs.enqueue(slot.index, self._compute)
        self._compute.record(slot.prepared, at_replay=at_replay)
        self.engine.enqueue(self._compute.handle)
        self._compute.record(slot.inferred, at_replay=at_replay)
        self._outputs.enqueue(slot.index, self._compute, shape.rows)

    def _graph(self, shape: _Shape, slot: _Slot) -> Graph | None:
        """The slot's graph for a shape, captured at its second run: the first, on the stream, is the warm-up."""
        if shape.binding != self._binding:
            for stale in shape.graphs.values():
                stale.close()
            shape.graphs.clear()
            shape.binding = self._binding
            return None
        if slot.index not in shape.graphs:
            try:
                shape.graphs[slot.index] = capture(self._compute, partial(self._enqueue, shape, slot, at_replay=True))
            except EngineError as error:
                self._fall_back(f"no CUDA graph: {error}", replay="stream")
                return None
        return shape.graphs[slot.index]

    def _bind(self, rows: int) -> None:
        """An engine captures its state too, so that all graphs end when it is bound to another batch.

        Batches of cameras and people come and go from run to run. So the engine stays bound to the largest of the last
        runs, and the rows that a smaller one has not got are computed and not read.
        """
        self._recent_rows.append(self.manifest.input.batch or rows)
        largest = max(self._recent_rows)
        if self._recent_rows[-1] > self._bound_rows or largest < self._bound_rows:
            self._compute.synchronize()  # no run may be under way in an engine that is bound, nor in a graph that ends
            self.engine.bind(self._tensors.addresses, largest)
            self._bound_rows, self._binding = largest, self._binding + 1

    def _collect(self, slot: _Slot) -> None:
        """Wait for a slot's run and give its people to its call."""
        run, slot.run = slot.run, None
        if run is None:
            return
        try:
            slot.done.synchronize()
            start = perf_counter()
            for row, job in enumerate(run.jobs):
                decoded = self._outputs.read(slot.index, row)
                job.geometry.to_source(decoded.keypoints, self.manifest.decoder.grid)
                run.call.found[job.item].append(decoded)
            if self._tells_time:
                self._time(slot, run, perf_counter() - start)
        except PoseError as error:
            run.call.error = run.call.error or error

    def _time(self, slot: _Slot, run: _Run, read_s: float) -> None:
        try:
            upload_s = slot.copied.seconds_since(slot.copying)
            pre_s = slot.prepared.seconds_since(slot.begun)
            network_s = slot.inferred.seconds_since(slot.prepared)
            decode_s = slot.done.seconds_since(slot.inferred)
        except EngineError as error:  # no reason to lose poses
            self._tells_time = False
            self._fall_back(f"no timings: {error}")
            return
        before = run.call.timings
        run.call.upload_s += upload_s
        run.call.timings = Timings(
            before.pre_s + run.staged_s + upload_s + pre_s,
            before.network_s + network_s,
            before.decode_s + decode_s + read_s,
        )

    def _in_order(self) -> list[_Slot]:
        """The slots, the longest busy first."""
        return [*self._slots[self._next :], *self._slots[: self._next]]

    # ---- shapes ----------------------------------------------------------------------------------------------

    def _shape(self, key: RunShape, jobs: list[Job]) -> _Shape:
        """Memory for runs like this one: kept, or planned now."""
        shape = self._shapes.pop(key, None)
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:
                self._drop_oldest()
            resources = self.device.resources()
            try:
                shape = _Shape(resources, self._open_inputs(resources, key, jobs), len(jobs))
            except BaseException:
                resources.close()
                raise
            resources.on_close(partial(_close_graphs, shape))
        self._shapes[key] = shape  # the newest is last
        return shape

    def _drop_oldest(self) -> None:
        self._compute.synchronize()  # its graph may still be running
        self._copy.synchronize()
        self._shapes.pop(next(iter(self._shapes))).resources.close()

    def _open_inputs(self, resources: Resources, key: RunShape, jobs: list[Job]) -> Inputs:
        wanted = self.manifest.input
        if self.path.pre == "cpu":
            return HostInputs(resources, wanted, self._tensors, len(jobs), _SLOTS)

        def inputs(owner: Resources, kind: MemoryKind, slots: int = 1) -> DeviceInputs:
            return DeviceInputs(owner, wanted, self._tensors, key, jobs, kind, slots)

        if self.path.memory is None:
            facts = self.device.facts
            kinds = possible_kinds(facts, self.device.shares_managed)
            kind = best_kind(inputs, kinds, self.device.resources, self._compute, jobs, self._clock)
            self.path = replace(self.path, memory=kind)
        return inputs(resources, self.path.memory or "copied", _SLOTS)


def _new_slot(own: Resources, index: int) -> _Slot:
    return _Slot(index, own.event(), own.event(), own.event(), own.event(), own.event(), own.event())


def _close_graphs(shape: _Shape) -> None:
    for graph in shape.graphs.values():
        graph.close()
    shape.graphs.clear()
