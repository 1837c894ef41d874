"""What can be timed: the little that `pose-bench` wants of a pipeline, whatever device it runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from pose_runtime.arrays import AnyArray
from pose_runtime.bundle import Bundle
from pose_runtime.choose import CPU_ROLES
from pose_runtime.engines import Engine, cuda_ordinal
from pose_runtime.errors import EngineError
from pose_runtime.manifest import GraphRole, Manifest
from pose_runtime.pipeline import Image, Pipeline, Timings, open_network


class Target(Protocol):
    """A pipeline at work. `CpuTarget` is one on a CPU, `GpuTarget` one on a GPU."""

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""

    @property
    def timings(self) -> Timings:
        """Of the last call."""

    @property
    def device(self) -> str:
        """Such as `cpu` or `cuda:0`."""

    @property
    def engine(self) -> str:
        """Library and version that run the network."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What the engine was opened with, in words."""

    @property
    def device_memory_bytes(self) -> int | None:
        """Taken on the GPU, None without one."""

    def __call__(self, frames: Any, *, boxes: Any = None) -> Any:
        """As `Pipeline`."""

    def bare(self) -> float:
        """Run the network alone over the input of the last call, on a GPU the same captured one; seconds."""

    def outputs_now(self) -> Mapping[str, AnyArray]:
        """Arrays of the shapes and dtypes of the network's outputs in the last call."""

    def replace_outputs(self, outputs: Mapping[str, AnyArray] | None) -> None:
        """From now on let the network run, but decode these outputs instead of its own; None ends that."""

    def restart(self) -> None:
        """Let the calls to come be as if there had been none of another batch: a GPU stays bound to the largest."""

    def close(self) -> None:
        """Free everything."""


class _Tap(Engine):
    """An engine that remembers its last inputs, and can give other outputs than its own after running as always."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.name, engine.inputs, engine.outputs)
        self._engine = engine
        self._last: Mapping[str, AnyArray] | None = None
        self.instead: Mapping[str, AnyArray] | None = None

    def _infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        self._last = inputs
        outputs = self._engine.infer(inputs)
        return outputs if self.instead is None else self.instead

    def again(self) -> float:
        """Seconds of one more run over the last inputs."""
        if self._last is None:
            raise EngineError("bare network: no frame has been through it yet; run one first")
        start = perf_counter()
        self._engine.infer(self._last)
        return perf_counter() - start

    def _close(self) -> None:
        self._engine.close()


class CpuTarget:
    """A `Pipeline` on the CPU; it is closed with this.

    Args:
        pipeline: open; its engine is put behind one that this looks into.
        threads: that it was opened with.
    """

    device = "cpu"
    device_memory_bytes = None

    def __init__(self, pipeline: Pipeline, threads: int | None) -> None:
        self._tap = _Tap(pipeline.engine)
        pipeline.engine = self._tap
        self._pipeline = pipeline
        self.manifest = pipeline.manifest
        self.engine = f"{self._tap.name} {_installed(self._tap.name)}".strip()
        self.settings = {"threads": "one per core" if threads is None else str(threads)}

    @property
    def timings(self) -> Timings:
        """Of the last call."""
        return self._pipeline.timings

    def __call__(self, frames: Any, *, boxes: Any = None) -> Any:
        """As `Pipeline`."""
        return self._pipeline(frames, boxes=boxes)

    def bare(self) -> float:
        """Seconds of the engine alone, once more over the input of the last call."""
        return self._tap.again()

    def outputs_now(self) -> Mapping[str, AnyArray]:
        """Of the last call; they belong to the engine."""
        return self._pipeline.outputs

    def replace_outputs(self, outputs: Mapping[str, AnyArray] | None) -> None:
        """Decode these instead of the network's own."""
        self._tap.instead = outputs

    def restart(self) -> None:
        """Nothing: a CPU runs the rows that there are."""

    def close(self) -> None:
        """Close the pipeline."""
        self._pipeline.close()


def open_target(
    bundle: Bundle,
    device: str,
    *,
    threads: int | None = None,
    graph: GraphRole | None = None,
    cache: Path | None = None,
) -> tuple[Target, GraphRole]:
    """A bundle's own network ready to be timed, and the graph that runs; parameters and errors as of `open_network`."""
    pipeline = open_network(bundle, device, threads=threads, graph=graph, cache=cache)
    role = pipeline.choice.role if pipeline.choice else graph or "reference"
    if isinstance(pipeline, Pipeline):
        return CpuTarget(pipeline, threads), role
    from pose_runtime.bench.gpu_target import GpuTarget
    from pose_runtime.gpu.pipeline import GpuPipeline

    if not isinstance(pipeline, GpuPipeline):
        raise EngineError(f"device {device}: a {type(pipeline).__name__} cannot be timed")
    return GpuTarget(pipeline), role


def default_roles(bundle: Bundle, device: str, graph: GraphRole | None) -> tuple[GraphRole, ...]:
    """The graphs to time: on a GPU the one asked for or made for it; on a CPU that one beside the reference.

    Args:
        bundle: loaded.
        device: of `choose_device`.
        graph: asked for, None for those made for the device.
    """
    if device != "cpu":
        from pose_runtime.engines.tensorrt import default_graph

        return (graph or default_graph(bundle),)
    beside = [role for role in CPU_ROLES if role in bundle.manifest.graphs] if graph is None else [graph]
    return tuple(dict.fromkeys(["reference", *beside]))


def choose_device(device: str, graph: GraphRole | None) -> str:
    """`cpu` or `cuda:N`: what `auto` means here, so that all that is timed runs on one device.

    Raises:
        EngineError: another name.
    """
    ordinal = cuda_ordinal(device)
    if ordinal is not None:
        return f"cuda:{ordinal}"
    if device == "auto" and graph != "cpu_int8":
        from pose_runtime.gpu.open import missing

        with contextlib.suppress(EngineError):  # no GPU at all
            return "cpu" if missing() else "cuda:0"
    return "cpu"


def _installed(library: str) -> str:
    """The version of a library, empty where it has none."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def size_wh(image: Image) -> tuple[int, int]:
    """Width and height of a frame."""
    shape: Sequence[int] = getattr(image, "shape", ())
    if shape:
        return int(shape[1]), int(shape[0])
    width, height = image.size_wh  # type: ignore[union-attr]  # no array: a Frame
    return width, height
