"""What a TensorRT plan depends on: all of it is in the plan's key, so that no other board's plan is ever found."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pose_runtime.gpu.driver import Gpu

_Batch = Annotated[int, Meta(ge=1, le=1024)]
_Mebibytes = Annotated[int, Meta(ge=1, le=1 << 20)]


class BuildOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a plan is built. Precision is not among them: it is in the graph.

    Attributes:
        max_batch, opt_batch: largest batch, and the one to be fast at, of a graph whose batch is free.
        workspace_mib: scratch memory that a layer may want, in MiB.
        tactic_mib: device memory that the builder may take for its trials, in MiB; None for all there is.
        level: effort of the search, 0 (quick to build) to 5 (slow to build, maybe faster); TensorRT's own is 3.
        dla_core: Deep Learning Accelerator to run on, where the board has one; layers it cannot run go to the GPU.
    """

    max_batch: _Batch = 8
    opt_batch: _Batch = 1
    workspace_mib: _Mebibytes = 1024
    tactic_mib: _Mebibytes | None = None
    level: Annotated[int, Meta(ge=0, le=5)] = 3
    dla_core: Annotated[int, Meta(ge=0, le=7)] | None = None


class TimingKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a timing cache depends on: library and GPU. `kind` keeps keys of different files apart."""

    kind: Literal["timing"] = "timing"
    library: str
    version: str
    gpu: str
    sm: tuple[int, int]
    processors: int
    driver: int

    def __str__(self) -> str:
        library = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}.get(self.library, self.library)
        cuda = f"{self.driver // 1000}.{self.driver % 1000 // 10}"
        sm = f"SM {self.sm[0]}.{self.sm[1]}"
        return f"{library} {self.version} on {self.gpu} ({sm}, {self.processors} multiprocessors, CUDA {cuda})"


class PlanKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan depends on: SHA-256 of the ONNX file, library, GPU and options."""

    kind: Literal["plan"] = "plan"
    onnx: str
    machine: TimingKey
    options: BuildOptions


class ChoiceKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a choice of options is for: a graph on a machine."""

    kind: Literal["choice"] = "choice"
    onnx: str
    machine: TimingKey


class ProofKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a proof is of: the plan's file by its SHA-256 (on a processor graph, library and processor), and the bundle
    whose frames it was shown.
    """

    kind: Literal["proof"] = "proof"
    plan: str
    bundle: str


Key = TimingKey | PlanKey | ChoiceKey | ProofKey


def machine_key(library: str, version: str, gpu: Gpu) -> TimingKey:
    """The key of a library on a GPU."""
    return TimingKey(
        library=library, version=version, gpu=gpu.name, sm=gpu.sm, processors=gpu.processors, driver=gpu.driver
    )


def plan_key(graph: bytes, machine: TimingKey, options: BuildOptions) -> PlanKey:
    """The key of an ONNX file's plan."""
    return PlanKey(onnx=hashlib.sha256(graph).hexdigest(), machine=machine, options=options)


def choice_key(plan: PlanKey) -> ChoiceKey:
    """The key of the options that are chosen for a plan's graph on its machine."""
    return ChoiceKey(onnx=plan.onnx, machine=plan.machine)


def digest(key: Key) -> str:
    """32 hexadecimal digits that name a key's file."""
    return hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:32]
