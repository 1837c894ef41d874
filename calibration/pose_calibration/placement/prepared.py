"""Bring an FP32 ONNX model into the one shape that placement works on, or say why that cannot be."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper, version_converter

from pose_runtime.errors import CalibrationError

OPSETS = range(11, 22)
OPSET = 19
"""The first with FP16 scales in QuantizeLinear and DequantizeLinear."""
IR_VERSION = 9
"""The first that knows opset 19."""

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


def prepared(model: ModelProto) -> ModelProto:
    """A copy at opset 19 to 21 whose constants are all initialisers that nothing can override.

    Args:
        model: a checked FP32 model (`graph_stats.load_onnx`) at opset 11 to 21; it is not changed.

    Raises:
        CalibrationError: it is quantised already, has sub-graphs, local functions, sparse or NaN constants, or an
            opset that cannot be brought to 19.
    """
    _refuse(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise CalibrationError(f"the model: got opset {opset}, wanted {OPSETS[0]} to {OPSETS[-1]}; export it at 19")
    copy = _converted(model) if opset < OPSET else _copied(model)
    copy.ir_version = max(copy.ir_version, IR_VERSION)
    used = {node.domain for node in copy.graph.node}
    kept = [entry for entry in copy.opset_import if entry.domain in ("", "ai.onnx") or entry.domain in used]
    del copy.opset_import[:]
    copy.opset_import.extend(kept)
    _fold(copy.graph)
    _check_numbers(copy.graph)
    return copy


def _refuse(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type in _QUANTISED or node.op_type.startswith("QLinear"):
            raise CalibrationError(
                f"the model is quantised already ({node.op_type} makes {node.output[0][:80]!r}); give the FP32 one"
            )
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise CalibrationError(f"the model branches or loops ({node.op_type}), which INT8 does not cover")
    if model.functions:
        raise CalibrationError("the model has local functions; inline them (onnx.inliner), then calibrate again")
    if model.graph.sparse_initializer:
        raise CalibrationError("the model has sparse weights, which INT8 does not cover; store them dense")


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _converted(model: ModelProto) -> ModelProto:
    """At opset 19, with every node's first output named as before."""
    source = _copied(model)
    source.ir_version = max(source.ir_version, 4)  # the converter demands inputs for all initialisers before 4
    try:
        new = version_converter.convert_version(source, OPSET)
        onnx.checker.check_model(new)
    except Exception as error:  # the converter's C++ side raises RuntimeError and its own kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CalibrationError(
            f"the model cannot be brought to opset {OPSET}: {reason[:200]}; export it at opset {OPSET}"
        ) from error
    made = {output for node in new.graph.node for output in node.output}
    lost = [node.output[0] for node in model.graph.node if node.output[0] not in made]
    if lost:
        raise CalibrationError(f"bringing the model to opset {OPSET} lost {lost[0][:80]!r}; export it at opset {OPSET}")
    return new


def _fold(graph: GraphProto) -> None:
    """Turn Constant nodes into initialisers, and take initialisers off the list of inputs."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        value = _value(node) if node.op_type == "Constant" else None
        if value is None:
            nodes.append(node)
        else:
            value.name = node.output[0]
            graph.initializer.append(value)
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    for field, kept in ((graph.node, nodes), (graph.input, inputs)):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept] if len(kept) < len(field) else None
        if copies is not None:
            del field[:]
            field.extend(copies)
    del graph.value_info[:]


def _value(node: NodeProto) -> TensorProto | None:
    """What a Constant node holds."""
    value = next(iter(node.attribute))
    if value.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value.t)
        return tensor
    if value.name in ("value_float", "value_floats"):
        numbers = value.f if value.name == "value_float" else list(value.floats)
        return numpy_helper.from_array(np.asarray(numbers, np.float32))
    if value.name in ("value_int", "value_ints"):
        return numpy_helper.from_array(np.asarray(value.i if value.name == "value_int" else list(value.ints), np.int64))
    return None


def _check_numbers(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.isnan(numpy_helper.to_array(tensor)).any():
            raise CalibrationError(f"weights {tensor.name[:80]!r} hold NaN; the checkpoint or its export is broken")
