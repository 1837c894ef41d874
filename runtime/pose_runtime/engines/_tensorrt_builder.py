"""From an ONNX file to a TensorRT plan: strongly typed, so every precision is the graph's own.

Written against TensorRT's own API: where the network has types, no calibrator and one profile, polygraphy's loaders
would replace some twenty plain lines, and hide the limits, the monitor and the timing cache behind its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from pose_runtime.engines._external import has_external_data
from pose_runtime.engines._tensorrt_library import Library, raise_pending
from pose_runtime.errors import EngineError
from pose_runtime.plan_cache import BuildReport
from pose_runtime.plan_key import BuildOptions

OnProgress = Callable[[str, int, int], None]
"""Takes the name of a phase of the build, steps done, and steps in all; called from any thread."""

_MIB = 1 << 20


class Built(NamedTuple):
    """A plan, what happened on the way, and the timing cache to keep (empty where TensorRT has none)."""

    plan: bytes
    report: BuildReport
    timing: bytes


def build_plan(
    library: Library,
    graph: bytes,
    options: BuildOptions,
    *,
    timing: bytes = b"",
    on_progress: OnProgress | None = None,
    sm: tuple[int, int] | None = None,
) -> Built:
    """Build a plan; takes seconds to many minutes.

    Args:
        library: of `find_library`.
        graph: an ONNX file without external data. Heights and widths are fixed; a free batch gets a profile.
        options: see there.
        timing: a timing cache of this library on this GPU, or nothing.
        on_progress: told of every step; what it raises cancels the build and comes out of here.
        sm: build for GPUs of this compute capability, which need not be here; only TensorRT for RTX can.

    Raises:
        EngineError: TensorRT refuses the graph or fails to build it, memory is full, or there is no such DLA core.
    """
    start = perf_counter()
    if has_external_data(graph):
        raise EngineError("graph: has weights in other files; keep all in one ONNX file")
    library.log.begin()
    # All of these stay until the build is over: the network's weights are the parser's and lie in `graph`, and the
    # configuration keeps only pointers to the monitor and the timing cache.
    builder = _made(library, "Builder", library.trt.Builder)
    network = builder.create_network(1 << int(library.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.trt.OnnxParser(network, library.log)
    _parse(parser, graph, library)
    config = builder.create_builder_config()
    monitor = _monitor_class(library.trt, library.log)(on_progress)
    config.progress_monitor = monitor
    _set_limits(library.trt, config, options)
    _set_target(library, config, sm)
    fallbacks = _set_dla(library.trt, builder, network, config, options)
    _set_profile(builder, network, config, options)
    cache = _set_timing(library, config, timing)
    memory = _built(library, builder, network, config, monitor)
    report = BuildReport(seconds=perf_counter() - start, layers=network.num_layers, fallbacks=fallbacks)
    kept = b"" if cache is None else bytes(cache.serialize())
    return Built(bytes(memory), report, kept)


def _made(library: Library, what: str, make: Callable[[Any], Any]) -> Any:
    """An object of TensorRT's; where it has no working GPU its constructors raise TypeError or RuntimeError."""
    try:
        return make(library.log)
    except (RuntimeError, TypeError) as error:
        remedy = "the driver may be too old for it, or the GPU's memory full: see pose-doctor"
        raise library.log.failure(f"cannot make a {what} ({str(error).splitlines()[0]})", remedy) from error


def _parse(parser: Any, graph: bytes, library: Library) -> None:
    if not parser.parse(graph):
        raise_pending(library.log)
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        said = "; ".join(f"{_place(e)}: {' '.join(e.desc().split())}" for e in errors[:2])
        raise EngineError(f"{library} does not take this graph: {said[:400] or 'it gives no reason'}")


def _place(error: Any) -> str:
    """The node that an error of the parser's is about."""
    kind, name = error.node_operator(), error.node_name()
    return f"{kind} {name}".strip() or "graph"


def _set_limits(trt: Any, config: Any, options: BuildOptions) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if options.tactic_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, options.tactic_mib * _MIB)
    config.builder_optimization_level = options.level


def _set_target(library: Library, config: Any, sm: tuple[int, int] | None) -> None:
    """A GPU that is not here."""
    if sm is None:
        return
    name = f"SM{sm[0]}{sm[1]}"
    capability = getattr(getattr(library.trt, "ComputeCapability", None), name, None)
    if capability is None:
        raise EngineError(f"{library} cannot build for {name} without such a GPU; build on the device")
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)


def _set_dla(trt: Any, builder: Any, network: Any, config: Any, options: BuildOptions) -> tuple[str, ...]:
    """Send to the DLA what it can run; names of the layers that it cannot."""
    if options.dla_core is None:
        return ()
    if options.dla_core >= builder.num_DLA_cores:
        raise EngineError(
            f"DLA core {options.dla_core}: this board and TensorRT have {builder.num_DLA_cores} (Orin Nano and Thor "
            "have none, nor has TensorRT from 10.8 to 11.3); leave out --dla"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return tuple(layer.name for layer in layers if not config.can_run_on_DLA(layer))


def _set_profile(builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    """The range of a free batch. A DLA takes only one size, the largest then."""
    profile = None
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        batch, *rest = tuple(tensor.shape)
        if any(size < 0 for size in rest):
            raise EngineError(
                f"graph: input {tensor.name!r} has shape {tuple(tensor.shape)}, and an engine on a GPU wants one "
                "height and width; export the bundle with --size WxH"
            )
        if batch < 0:
            if options.opt_batch > options.max_batch:
                raise EngineError(f"batch to be fast at: got {options.opt_batch}, wanted 1 to {options.max_batch}")
            profile = profile or builder.create_optimization_profile()
            largest = options.max_batch
            smallest, best = (1, options.opt_batch) if options.dla_core is None else (largest, largest)
            profile.set_shape(tensor.name, (smallest, *rest), (best, *rest), (largest, *rest))
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses batches of 1 to {options.max_batch}; give another --max-batch")


def _set_timing(library: Library, config: Any, timing: bytes) -> Any:
    """A timing cache, filled with what is known; None where TensorRT has none (for RTX, which does not time)."""
    if library.name == "tensorrt_rtx":
        return None
    cache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, False):  # not one of this version or GPU after all
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _built(library: Library, builder: Any, network: Any, config: Any, monitor: Any) -> Any:
    try:
        memory = builder.build_serialized_network(network, config)
    except RuntimeError as error:
        raise library.log.failure(f"the build failed ({error})") from error
    raise_pending(monitor)
    raise_pending(library.log)
    if memory is None:
        raise library.log.failure("the build failed")
    return memory


@functools.cache
def _monitor_class(trt: Any, log: Any) -> Any:
    """Made once: a class that derives from TensorRT's is garbage with cycles, best left alone."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes steps on; an exception cancels the build, for TensorRT would lose it."""

        def __init__(self, on_progress: OnProgress | None) -> None:
            trt.IProgressMonitor.__init__(self)
            self.on_progress = on_progress
            self.totals: dict[str, int] = {}
            self.interrupt: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            """A phase begins; phases nest."""
            self.totals[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step, counted from 0, is done; False ends the build."""
            self._tell(phase_name, step + 1)
            return self.interrupt is None and log.interrupt is None

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends, maybe before its last step."""
            self._tell(phase_name, self.totals.get(phase_name, 0))

        def _tell(self, phase: str, done: int) -> None:
            try:
                if self.on_progress is not None and self.interrupt is None:
                    self.on_progress(phase, done, self.totals.get(phase, done))
            except BaseException as error:
                self.interrupt = error

    return Monitor
