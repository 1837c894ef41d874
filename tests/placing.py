"""Ranges and figures that the placement's tests need; the product has its own collector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pose_calibration.placement import candidates, weighted
from pose_calibration.plan import VERSION, Plan

Array = np.ndarray
ort = pytest.importorskip("onnxruntime")


def session(model: onnx.ModelProto, **config: object) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if any(tensor.data_type == tensor.FLOAT16 for tensor in model.graph.initializer):
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # it has no integer kernels for FP16 scales
    for key, value in config.items():
        setattr(options, key, value)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, *inputs: Array) -> list[Array]:
    """The outputs of one call."""
    running = session(model)
    return running.run(None, {i.name: x for i, x in zip(running.get_inputs(), inputs, strict=True)})


def ranges(model: onnx.ModelProto, images: Iterable[Array], tensors: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor over the images, around 0."""
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in tensors if name not in inputs]
    del open_model.graph.output[:]
    open_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    running = session(open_model)
    found: dict[str, tuple[float, float]] = {}
    for image in images:
        values = dict(zip(inner, running.run(inner, {running.get_inputs()[0].name: image}), strict=True))
        for name in tensors:
            value = values.get(name, image)
            low, high = found.get(name, (0.0, 0.0))
            found[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return found


def plan_of(model: onnx.ModelProto, images: Iterable[Array], *, heads: bool = False, **changes: object) -> Plan:
    """Everything INT8 but the heads (`heads`: they too), between the smallest and largest values seen."""
    chosen = changes.pop("int8", None)
    parts = {
        "version": VERSION,
        "int8": chosen or tuple(node.name for node in weighted(model) if heads or not node.head),
        "ranges": ranges(model, images, candidates(model)),
        "exponents": {},
        "shifts": {},
        "fp32": (),
        "method": "minmax",
        "data": "test",
    }
    return Plan(**(parts | changes))


def sqnr(wanted: Array, got: Array) -> float:
    """Signal over quantisation noise in dB."""
    noise = float(np.square(np.float64(wanted) - got).sum())
    return float(10 * np.log10(float(np.square(np.float64(wanted)).sum()) / noise)) if noise else np.inf


def node(op_type: str, inputs: Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    """A node; an input "w:8,3,3,3" is a constant of that shape, drawn by `small`."""
    return helper.make_node(op_type, inputs, [output], **attributes)


def constant(name: str, values: Array | np.generic) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def small(
    nodes: Sequence[onnx.NodeProto],
    *,
    shape: Sequence[int | str] = (1, 3, 16, 16),
    outputs: Sequence[str] = ("y",),
    opset: int = 19,
    constants: Sequence[onnx.TensorProto] = (),
    check: bool = True,
) -> onnx.ModelProto:
    """A checked model with input x whose outputs are of any size."""
    random = np.random.default_rng(1)
    drawn: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in constants}
    new = []
    for old in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(old)
        for i, name in enumerate(copy.input):
            if ":" in name:
                name, dims = name.split(":")
                copy.input[i] = name
                values = random.normal(0, 0.3, [int(n) for n in dims.split(",")]).astype(np.float32)
                drawn.setdefault(name, numpy_helper.from_array(values, name))
        new.append(copy)
    graph = helper.make_graph(
        new,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        list(drawn.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 9)
    if not check:
        return model
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    onnx.checker.check_model(model)
    return model


def bias_of(model: onnx.ModelProto, name: str) -> Array | None:
    """A convolution's bias, or None."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = next(n.input for n in model.graph.node if n.output[0] == name)
    return stored[inputs[2]] if len(inputs) > 2 else None


def with_outputs(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with other tensors given away."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.output[:]
    new.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return new


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The graph as ONNX Runtime runs it, before it is laid out for the machine's vector units."""
    path = folder / "optimised.onnx"
    level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session(model, optimized_model_filepath=str(path), graph_optimization_level=level)
    return onnx.load(path)
