"""What is done to a graph before it goes into a bundle: its input's open sizes, simplifying, and the comparison."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import onnx
import onnxsim

from pose_calibration.graph_stats import check_model
from pose_export.presets import Preset
from pose_runtime.arrays import AnyArray
from pose_runtime.engines import Engine, open_engine
from pose_runtime.errors import ExportError

TOLERANCE = 1e-4
"""Largest difference that exporting or simplifying may make, as a share of an output's range."""


def input_name(model: onnx.ModelProto, preset: Preset) -> str:
    """The graph's one input, which must be the preset's where that names one."""
    stored = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in stored]
    if len(names) != 1:
        raise ExportError(f"graph: got {len(names)} inputs ({', '.join(names)[:200]}), wanted one image")
    if preset.input.tensor not in (None, names[0]):
        raise ExportError(f"graph: its input is {names[0]!r}, the preset says {preset.input.tensor!r}; give --input")
    return str(names[0])


def fix_input(model: onnx.ModelProto, name: str, *, size_wh: tuple[int, int] | None, batch: int | None) -> None:
    """Give the input's open dimensions these sizes, in place; None leaves one as it is, 0 wants it open."""
    value = next(value for value in model.graph.input if value.name == name)
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise ExportError(
            f"graph: input {name!r} has {len(dims)} dimensions, wanted 4: (batch, channels, height, width)"
        )
    wanted: dict[int, int] = {}
    if batch is not None:
        wanted[0] = batch
    if size_wh is not None:
        wanted |= {2: size_wh[1], 3: size_wh[0]}
    for axis, size in wanted.items():
        dim = dims[axis]
        if dim.HasField("dim_value") and dim.dim_value != size:
            what = ("batch", "channels", "height", "width")[axis]
            raise ExportError(f"graph: its {what} is fixed at {dim.dim_value}, cannot become {size or 'dynamic'}")
        if size:
            dim.dim_value = size
    if any(wanted.values()):
        del model.graph.value_info[:]
        for output in model.graph.output:  # they follow from the input's
            for dim in output.type.tensor_type.shape.dim:
                if not dim.HasField("dim_value"):
                    dim.Clear()
        check_model(model, "the graph with its input size")


def infer(engine: Engine, name: str, probe: AnyArray) -> dict[str, AnyArray]:
    """Copies of all outputs for one input; ExportError where one is not finite."""
    outputs = engine.infer({name: probe.astype(engine.inputs[0].dtype)})
    for output, array in outputs.items():
        if not np.isfinite(array).all():
            raise ExportError(f"graph: output {output!r} has values that are not finite; the weights are damaged")
    return {output: array.copy() for output, array in outputs.items()}


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxsim makes of the graph."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            simple, _ = onnxsim.simplify(model)
    except Exception as error:  # whatever its C++ side raises on a graph it does not understand
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"graph: onnxsim cannot simplify it: {reason}; try --no-simplify") from error
    if not isinstance(simple, onnx.ModelProto):
        raise ExportError("graph: onnxsim gave nothing back; try --no-simplify")
    check_model(simple, "the simplified graph")
    return simple


def compare(data: bytes, name: str, probes: Sequence[AnyArray], before: Sequence[dict[str, AnyArray]]) -> None:
    """The simplified graph must compute what the original did."""
    with open_engine("onnxruntime", data) as engine:
        for probe, wanted in zip(probes, before, strict=True):
            got = infer(engine, name, probe)
            if got.keys() != wanted.keys():
                raise ExportError(f"simplified graph: its outputs became {sorted(got)}; try --no-simplify")
            for output, array in wanted.items():
                difference = range_difference(got[output], array)
                if not difference <= TOLERANCE:
                    raise ExportError(
                        f"simplified graph: output {output!r} differs by {difference:.2g} of its range, "
                        f"{TOLERANCE:g} is allowed; try --no-simplify"
                    )


def range_difference(got: AnyArray, wanted: AnyArray) -> float:
    """Largest difference as a share of the range of `wanted`; infinite where the shapes differ."""
    if got.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    scale = max(float(np.ptp(b)), 1e-6 * float(np.abs(b).max()), 1e-12)
    return float(np.abs(a - b).max()) / scale
