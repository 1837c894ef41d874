"""From an FP32 graph to the graphs that ship beside it, in one call: measure, decide by the poses, judge, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import onnx

from pose_calibration.bias import shifts
from pose_calibration.centre import centred
from pose_calibration.collect import collect
from pose_calibration.equalise import Exponents, channel_reach, cut, equalised, exponents, read_by_weights
from pose_calibration.histogram import Histogram
from pose_calibration.inputs import NetworkInputs, usual_size
from pose_calibration.judge import Judge, Verdict, try_graph
from pose_calibration.limits import METHODS, Method, limits
from pose_calibration.overflow import overflowing, watched
from pose_calibration.pictures import Pictures, useless
from pose_calibration.placement import cpu_share, fp16_graph
from pose_calibration.plan import VERSION, Plan
from pose_calibration.progress import OnProgress
from pose_calibration.search import Budget, BudgetError, Found, Tell, encode, int8_nodes, search
from pose_runtime.errors import CalibrationError
from pose_runtime.manifest import Graph, GraphRole, Manifest

FILES: dict[GraphRole, str] = {"tensorrt": "tensorrt.onnx", "cpu_int8": "cpu_int8.onnx"}
"""Role -> the graph's file in a bundle."""

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to quantise.

    Attributes:
        precision: fp16 types the GPU's graph, int8 makes the CPU's too.
        calibration: pictures that the ranges are measured on.
        judged: pictures that the poses are judged on.
        annotations: COCO keypoints of those, or None.
        methods: for the ranges; the one whose poses agree best with FP32's is taken.
        budget: what INT8 may cost.
        memory: bytes of activations held at a time while ranges are measured.
        state: a file that keeps what was measured; a broken run goes on from it.
        all_blocks: measure what each block costs alone even where INT8 is within the budget at once.
    """

    precision: Precision
    calibration: Pictures
    judged: Pictures
    annotations: Path | None
    methods: Sequence[Method] = METHODS
    budget: Budget = field(default_factory=Budget)
    memory: int = 512 << 20
    state: Path | None = None
    all_blocks: bool = False


class Made(NamedTuple):
    """A graph for a bundle: its role, record and bytes."""

    role: GraphRole
    graph: Graph
    data: bytes


@dataclass(frozen=True, slots=True)
class Quantised:
    """The graphs; and for INT8 what the search found."""

    graphs: tuple[Made, ...]
    found: Found | None


def quantise(
    manifest: Manifest, model: onnx.ModelProto, settings: Settings, *, tell: Tell, progress: OnProgress
) -> Quantised:
    """Make the graphs of a precision.

    Args:
        manifest: of the bundle to be; its `reference` graph is `model`.
        model: the FP32 graph.
        settings: how.
        tell: is told of each step.
        progress: is told of every picture.

    Raises:
        CalibrationError: nothing to measure or judge by, or a node that cannot be quantised.
        BudgetError: no plan is within the budget; it has what was tried.
    """
    reference, size_wh = encode(model), usual_size(manifest.input)
    tell(f"measuring ranges on {settings.calibration.description}")
    model, chosen, histograms = _measured(manifest, model, settings, progress)
    fp32 = overflowing(model, {name: (h.low, h.high) for name, h in histograms.items()})
    for name in fp32:
        tell(f"{name}: its values are too large for FP16; it stays FP32")
    tell(f"judging on {settings.judged.description}")
    judge = Judge(manifest, reference, settings.judged, settings.annotations, progress=progress)
    for line in useless(settings.judged, judge.people):
        tell(line)
    tell(f"FP32 finds {sum(judge.people)} people")
    if settings.precision == "fp16":
        return Quantised((_fp16(model, fp32, judge, settings),), None)
    nodes = tuple(name for name in int8_nodes(model, size_wh) if name not in fp32)
    if not nodes:
        raise CalibrationError("every layer with weights is an output or too large for FP16: nothing can be INT8")
    inputs = NetworkInputs(settings.calibration, manifest.input)
    lost = shifts(model, inputs, budget_bytes=settings.memory)
    plans = [
        Plan(
            version=VERSION,
            int8=nodes,
            ranges={name: limits(histogram, method) for name, histogram in histograms.items()},
            exponents=chosen,
            shifts=lost,
            fp32=fp32,
            method=method,
            data=settings.calibration.description,
        )
        for method in settings.methods
    ]
    found = search(model, plans, judge, settings.budget, size_wh=size_wh, all_blocks=settings.all_blocks, tell=tell)
    if not found.within:
        raise BudgetError(found, settings.budget)
    calibration = f"{found.plan.method} ranges of {found.plan.data}"
    shares = {"tensorrt": found.best.share, "cpu_int8": cpu_share(model, found.plan, size_wh=size_wh)}
    made = [
        _made(role, data, "int8", shares[role], calibration, found.best.verdicts[role])
        for role, data in found.graphs.items()
    ]
    return Quantised(tuple(made), found)


def _measured(
    manifest: Manifest, model: onnx.ModelProto, settings: Settings, progress: OnProgress
) -> tuple[onnx.ModelProto, Exponents, dict[str, Histogram]]:
    """The network, centred and with its channels equalised, how these were, and the histograms of its tensors."""
    inputs = NetworkInputs(settings.calibration, manifest.input)
    model = centred(model, inputs, budget_bytes=settings.memory)
    plain = encode(model)
    reach = channel_reach(plain, read_by_weights(model), inputs, budget_bytes=settings.memory)
    bounded = tuple(cut(model))
    peaks = channel_reach(plain, bounded, inputs, budget_bytes=settings.memory, quantile=1) if bounded else {}
    chosen = exponents(model, reach, peaks)
    even = equalised(model, chosen)
    histograms = collect(
        encode(even),
        watched(even),
        inputs,
        budget_bytes=settings.memory,
        names=inputs.names,
        state=settings.state,
        tell=lambda done, total: progress("measuring", done, total),
    )
    return even, chosen, histograms


def _fp16(model: onnx.ModelProto, fp32: tuple[str, ...], judge: Judge, settings: Settings) -> Made:
    data = encode(fp16_graph(model, fp32))
    verdict = try_graph(judge, data, "tensorrt")
    limit = settings.budget.max_loss
    if verdict is None or verdict.loss > limit:
        lost = "gives values that are not finite" if verdict is None else f"loses {verdict.loss:.2f} AP points"
        raise CalibrationError(f"FP16 {lost}, wanted at most {limit:g}; keep --precision fp32, or raise --max-loss")
    return _made("tensorrt", data, "fp16", 0.0, f"overflow looked for on {settings.calibration.description}", verdict)


def _made(
    role: GraphRole, data: bytes, precision: Precision, share: float, calibration: str, verdict: Verdict | None
) -> Made:
    graph = Graph(
        file=FILES[role],
        precision=precision,
        int8_mac_share=round(share, 6),
        calibration=calibration,
        accuracy=verdict.records if verdict else (),
    )
    return Made(role, graph, data)
