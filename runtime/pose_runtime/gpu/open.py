"""A bundle on a GPU, proven on its check frames; and why this machine has none for it."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from pose_runtime.bundle import Bundle
from pose_runtime.choose import Choice
from pose_runtime.engines.tensorrt import Origin, default_graph, open_tensorrt
from pose_runtime.gpu.device import Device
from pose_runtime.gpu.driver import find_gpu
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.manifest import GraphRole
from pose_runtime.plan_cache import PlanCache
from pose_runtime.plan_key import digest
from pose_runtime.prove import require_proof

_LIBRARIES = (  # what a GPU takes beside its driver: names of which one is enough, and how to get it
    (("pycuda",), "pip install 'jetpose[gpu]'"),
    (("tensorrt", "tensorrt_rtx"), "it comes with JetPack; make the environment with --system-site-packages"),
)


def open_gpu(
    bundle: Bundle,
    ordinal: int = 0,
    graph: GraphRole | None = None,
    *,
    cache: PlanCache | None = None,
    max_batch: int | None = None,
) -> GpuPipeline:
    """Load a bundle's engine, which is built first where the cache has none, and let it show the check frames.

    Args:
        bundle: loaded.
        ordinal: number of the GPU.
        graph: role of the graph to run; None for `tensorrt` where the bundle has it, else `reference`.
        cache: where plans are kept; None for the default folder.
        max_batch: as `GpuPipeline`'s.

    Raises:
        BundleError: the bundle has no such graph, or it does not fit the engine.
        EngineError: no working GPU, pycuda or TensorRT, memory is full, or the engine fails the check frames.
    """
    role = graph or default_graph(bundle)
    pipeline, origin = open_unproven(bundle, ordinal, role, cache=cache, max_batch=max_batch)
    try:
        pipeline.engine_key = digest(origin.key)
        pipeline.proof = require_proof(bundle, role, origin, pipeline)
    except BaseException:
        pipeline.close()
        raise
    return pipeline


def open_unproven(
    bundle: Bundle,
    ordinal: int,
    graph: GraphRole,
    *,
    cache: PlanCache | None = None,
    max_batch: int | None = None,
    **build: Any,
) -> tuple[GpuPipeline, Origin]:
    """A pipeline that has not shown the check frames, and where its plan is from; for `pose-build`, which then does it.

    Args:
        bundle, ordinal, graph, cache, max_batch: as `open_gpu`'s.
        build: what else `open_tensorrt` takes.

    Raises:
        BundleError: the bundle has no such graph, or it does not fit the engine.
        EngineError: no working GPU, pycuda or TensorRT, or memory is full.
    """
    device = Device(ordinal)
    try:
        with device.current(), ExitStack() as opened:
            engine = opened.enter_context(open_tensorrt(bundle, ordinal, graph=graph, cache=cache, **build))
            choice = Choice(graph, f"on {device.facts.name}")
            pipeline = GpuPipeline(bundle.manifest, engine, device, choice, max_batch=max_batch)
            opened.pop_all()
    except BaseException:
        device.close()
        raise
    return pipeline, engine.origin


def missing(ordinal: int = 0) -> str | None:
    """The first thing that a GPU pipeline would lack here, and what to do; None where all is there.

    Loads neither pycuda nor TensorRT.

    Raises:
        EngineError: there is no working GPU at all.
    """
    gpu = find_gpu(ordinal)
    for names, remedy in _LIBRARIES:
        if not any(find_spec(name) for name in names):
            return f"{gpu.name} is there, but not {' or '.join(names)}: {remedy}"
    return None
