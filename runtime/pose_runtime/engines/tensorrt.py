"""TensorRT, 10.3 to 11, and TensorRT for RTX: a bundle's graph as an engine on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pose_runtime.bundle import Bundle
from pose_runtime.engines._base import TensorSpec
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.engines._tensorrt_builder import OnProgress, build_plan
from pose_runtime.engines._tensorrt_library import Library, find_library, raise_pending
from pose_runtime.errors import EngineError
from pose_runtime.gpu.driver import find_gpu
from pose_runtime.manifest import GraphRole
from pose_runtime.plan_cache import BuildReport, Plan, PlanCache
from pose_runtime.plan_key import BuildOptions, PlanKey, machine_key, plan_key

NAME = "tensorrt"

_LOG = logging.getLogger(__name__)
_REBUILD = "the plan is broken or of another board or TensorRT; pose-build --rebuild makes a new one"


class PlanRefusedError(EngineError):
    """A plan that this TensorRT does not load on this GPU; another build may be loaded."""


class Origin(NamedTuple):
    """Where an engine's plan is from: the cache, its key there, the report of its build, the SHA-256 of its file (empty
    where it could not be stored), and whether this process has just built it."""

    cache: PlanCache
    key: PlanKey
    report: BuildReport
    sha256: str
    is_new: bool


class TensorRtEngine(DeviceEngine):
    """A plan, loaded on the current context's GPU.

    Args:
        library: of `find_library`.
        plan: as it was built on this GPU by this library.
        dla_core: that the plan was built for.

    Attributes:
        memory_bytes: device memory of activations and scratch; weights come on top.

    Raises:
        PlanRefusedError: the plan is broken, or of another GPU or TensorRT.
        EngineError: memory is full, or its tensors are none that a pipeline can use.
    """

    def __init__(self, library: Library, plan: bytes, *, dla_core: int | None = None) -> None:
        self._log = library.log
        self._log.begin()
        # A context may not outlive its engine, nor that its runtime; Python drops attributes in this order.
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        try:
            self._load(library.trt, plan, dla_core)
            inputs, outputs, largest = self._specs(library.trt)
            raise_pending(self._log)
        except BaseException:
            self._close()
            raise
        self._dynamic = {spec.name: spec.shape[1:] for spec in inputs if spec.shape[0] is None}
        super().__init__(NAME, inputs, outputs, largest)

    def _load(self, trt: Any, plan: bytes, dla_core: int | None) -> None:
        try:
            self._runtime = trt.Runtime(self._log)
            if dla_core is not None:
                self._runtime.DLA_core = dla_core
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        except (RuntimeError, TypeError) as error:
            raise self._refused(f"cannot load the plan ({str(error).splitlines()[0]})") from error
        if self._engine is None:
            raise self._refused("cannot load the plan")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._log.failure("cannot make an execution context")
        self.memory_bytes = int(self._engine.device_memory_size_v2)

    def _specs(self, trt: Any) -> tuple[list[TensorSpec], list[TensorSpec], int]:
        """Inputs, outputs, and the largest batch; the context is left with the inputs' largest shapes.

        No local variable holds a TensorRT object here: an error's traceback would keep it past `_close`.
        """
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        input_names = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        inputs, largest = [], 1
        for name in input_names:
            shape = tuple(self._engine.get_tensor_shape(name))
            low = high = shape
            if min(shape) < 0:
                low, _, high = (tuple(dims) for dims in self._engine.get_tensor_profile_shape(name, 0))
                self._context.set_input_shape(name, high)
            if low[1:] != high[1:]:
                raise EngineError(f"engine {NAME}: input {name!r} takes {low[1:]} to {high[1:]}, wanted one size")
            largest = int(high[0])
            inputs.append(TensorSpec(name, (None if low != high else largest, *high[1:]), self._dtype(trt, name)))
        outputs = []
        for name in (name for name in names if name not in input_names):
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=-1) < 0 or shape[0] != largest:
                raise EngineError(f"engine {NAME}: output {name!r} is {shape}, wanted a batch of {largest}, all fixed")
            outputs.append(TensorSpec(name, (inputs[0].shape[0], *shape[1:]), self._dtype(trt, name)))
        return inputs, outputs, largest

    def _dtype(self, trt: Any, name: str) -> np.dtype[Any]:
        dtypes = {trt.DataType.FLOAT: np.float32, trt.DataType.HALF: np.float16}
        kind = self._engine.get_tensor_dtype(name)
        if kind not in dtypes:
            raise EngineError(f"engine {NAME}: tensor {name!r} is {kind}, wanted floats of 32 or 16 bits")
        return np.dtype(dtypes[kind])

    def _refused(self, what: str) -> BaseException:
        error: BaseException = self._log.failure(what, _REBUILD)
        damaged = isinstance(error, EngineError) and not self._log.is_out_of_memory
        return PlanRefusedError(str(error)) if damaged else error

    def _bind(self, addresses: Mapping[str, int], batch: int) -> None:
        self._log.begin()
        for name, rest in self._dynamic.items():
            if not self._context.set_input_shape(name, (batch, *rest)):
                raise self._log.failure(f"does not take batch {batch}")
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._log.failure(f"does not take an address of {name!r}")
        raise_pending(self._log)

    def _enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise self._log.failure("a run could not be queued")
        raise_pending(self._log)

    def _close(self) -> None:
        self._context = None
        self._engine = None
        self._runtime = None


class CachedEngine(TensorRtEngine):
    """An engine whose plan is from the cache, or went there.

    Attributes:
        origin: of the plan.
    """

    def __init__(self, library: Library, plan: bytes, origin: Origin) -> None:
        super().__init__(library, plan, dla_core=origin.key.options.dla_core)
        self.origin = origin


def default_options(bundle: Bundle) -> BuildOptions:
    """Those of a build for which nobody gave any: where a detector finds the people, a batch holds them all."""
    manifest = bundle.manifest
    if manifest.detector is None or manifest.input.batch:
        return BuildOptions()
    return BuildOptions(max_batch=manifest.detector.max_people)


def open_tensorrt(
    bundle: Bundle,
    device: int = 0,
    *,
    graph: GraphRole | None = None,
    options: BuildOptions | None = None,
    cache: PlanCache | None = None,
    rebuild: bool = False,
    on_progress: OnProgress | None = None,
) -> CachedEngine:
    """Load a bundle's graph from the plan cache, or build it first, which takes minutes.

    The primary context of the device is current, and lives longer than the engine.

    Args:
        bundle: loaded.
        device: number of the GPU.
        graph: role of the graph to run; None for `tensorrt` where the bundle has it, else `reference`.
        options: of the build; None for those that `pose-build` was last given for this graph here, else
            `default_options`.
        cache: where plans are kept; None for the default folder.
        rebuild: build even where there is a plan.
        on_progress: told of the build's steps.

    Raises:
        BundleError: the bundle has no such graph, or it is damaged.
        EngineError: no working GPU or TensorRT, the graph cannot be built, memory is full.
    """
    gpu = find_gpu(device)  # first: without a working driver TensorRT may crash
    library = find_library()
    cache = cache or PlanCache()
    data = bundle.graph_bytes(graph or default_graph(bundle))
    key = plan_key(data, machine_key(library.name, library.version, gpu), options or default_options(bundle))
    if options is None:
        key = cache.with_chosen_options(key)

    def build() -> tuple[bytes, BuildReport]:
        built = build_plan(library, data, key.options, timing=cache.timing(key.machine), on_progress=on_progress)
        if built.timing:
            cache.store_timing(key.machine, built.timing)
        return built.plan, built.report

    def opened(plan: Plan) -> CachedEngine:
        origin = Origin(cache, key, plan.report, plan.sha256, plan.is_new)
        return CachedEngine(library, plan.data, origin)

    plan = cache.get_or_build(key, build, rebuild=rebuild)
    try:
        return opened(plan)
    except PlanRefusedError as error:
        if plan.is_new:
            raise
        _LOG.warning("%s: does not load and is built again: %s", cache.path(key), error)
    return opened(cache.get_or_build(key, build, rebuild=True))


def default_graph(bundle: Bundle) -> GraphRole:
    """The graph that is made for TensorRT, else the FP32 one."""
    return "tensorrt" if "tensorrt" in bundle.manifest.graphs else "reference"
