"""Read ONNX files from anywhere with care, and count what a graph holds and does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from msgspec import Struct
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from pose_runtime.errors import ExportError

MAX_BYTES = (2 << 30) - 1
"""Protobuf's own limit."""


WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators whose multiply-accumulates are counted."""


class GraphStats(Struct, frozen=True, kw_only=True):
    """Size and work of one graph.

    Attributes:
        parameters: numbers in weights and biases; scales, zero points and shapes are not counted.
        macs: multiply-accumulates of convolutions, transposed convolutions and matrix products for one input. Padding
            counts as input, as everyone counts; for a transposed convolution each input pixel times the kernel.
    """

    parameters: int
    macs: int


def load_onnx(path: Path, *, max_bytes: int = MAX_BYTES) -> ModelProto:
    """A checked model with all its weights in the one file; ExportError for anything else."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ExportError(f"{path}: not a file; wanted an ONNX model")
        if not 0 < size <= max_bytes:
            raise ExportError(f"{path}: {size} bytes; an ONNX model has between 1 and {max_bytes}")
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ExportError(f"{path}: cannot read: {error.strerror}") from error
    except DecodeError as error:
        raise ExportError(f"{path}: not an ONNX model, or truncated") from error
    check_model(model, str(path))
    return model


def check_model(model: ModelProto, name: str) -> None:
    """ExportError unless the model is valid ONNX and keeps its weights to itself."""
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ExportError(f"{name}: tensor {tensor.name[:80]!r} lies in another file; save the model as one file")
        if tensor.raw_data and len(tensor.raw_data) != _stored_bytes(tensor):
            raise ExportError(
                f"{name}: tensor {tensor.name[:80]!r} holds {len(tensor.raw_data)} bytes, its shape says otherwise"
            )
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and what the checker's C++ side raises on odd models
        raise ExportError(f"{name}: not a valid ONNX model: {_first_line(error)}") from error


def count(model: ModelProto, *, size_wh: tuple[int, int] | None = None) -> GraphStats:
    """Count a checked model. A dynamic batch counts as 1; dynamic height and width (NCHW) are taken from `size_wh`.

    Sub-graphs of If and Loop, of which pose networks have none, count as nothing.
    """
    return GraphStats(parameters=_parameters(model), macs=sum(node_macs(model, size_wh=size_wh).values()))


def node_macs(model: ModelProto, *, size_wh: tuple[int, int] | None = None) -> dict[str, int]:
    """Multiply-accumulates of each weighted node by its first output's name; sizes as for `count`."""
    shapes = _shapes(model, size_wh)
    return {node.output[0]: _macs(node, shapes) for node in model.graph.node if node.op_type in WEIGHTED}


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """All stored tensors: initialisers, and attributes of nodes, in the graph, its sub-graphs and local functions."""
    nodes = [node for function in model.functions for node in function.node]
    graphs = [model.graph, *(info.initialization for info in model.training_info)]
    while nodes or graphs:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
        else:
            for attribute in nodes.pop().attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                graphs.extend((attribute.g, *attribute.graphs))


def _stored_bytes(tensor: TensorProto) -> int:
    """Bytes that the shape asks for; -1 for a type that is none."""
    numbers: int = math.prod(tensor.dims)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return -(-numbers // 2)
    try:
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        return -1
    return numbers * int(itemsize)


def _parameters(model: ModelProto) -> int:
    """Float initialisers, and integer ones that a DequantizeLinear turns into floats."""
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    scales, quantised = set(), set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales.update(node.input[1:])
            quantised.update(node.input[:1])
        elif node.op_type in ("Resize", "Upsample"):
            scales.update(node.input[1:])
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name not in scales and (tensor.data_type in floats or tensor.name in quantised)
    )


def _shapes(model: ModelProto, size_wh: tuple[int, int] | None) -> dict[str, list[int | None]]:
    """Shapes of all tensors that shape inference finds; None where a dimension stays unknown."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    _fix_inputs(fixed.graph, size_wh)
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception as error:
        raise ExportError(f"cannot infer the shapes of the ONNX model: {_first_line(error)}") from error
    shapes: dict[str, list[int | None]] = {t.name: list(t.dims) for t in model.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes.setdefault(value.name, [dim.dim_value if dim.HasField("dim_value") else None for dim in dims])
    return shapes


def _fix_inputs(graph: GraphProto, size_wh: tuple[int, int] | None) -> None:
    """Give open dimensions of the inputs a value, and forget the outputs' and inner ones, which follow from them."""
    stored = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if value.name in stored or dim.HasField("dim_value"):
                continue
            if axis == 0:
                dim.dim_value = 1
            elif size_wh is not None and len(dims) == 4 and axis >= 2:
                dim.dim_value = size_wh[3 - axis]
    del graph.value_info[:]
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()


def _macs(node: NodeProto, shapes: dict[str, list[int | None]]) -> int:
    if node.op_type == "Conv":
        return _volume(node, node.output[0], shapes) * math.prod(_known(node, node.input[1], shapes)[1:])
    if node.op_type == "ConvTranspose":
        return _volume(node, node.input[0], shapes) * math.prod(_known(node, node.input[1], shapes)[1:])
    if node.op_type in ("MatMul", "Gemm"):
        inner = _known(node, node.input[0], shapes)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return _volume(node, node.output[0], shapes) * inner[0 if transposed else -1]
    return 0


def _volume(node: NodeProto, name: str, shapes: dict[str, list[int | None]]) -> int:
    return math.prod(_known(node, name, shapes))


def _known(node: NodeProto, name: str, shapes: dict[str, list[int | None]]) -> list[int]:
    shape = shapes.get(name) or [None]
    known = [dim for dim in shape if dim is not None and dim >= 0]
    if len(known) != len(shape):
        raise ExportError(
            f"{node.op_type} {node.name[:80]!r}: the shape of {name[:80]!r} is open in the model; give an input size"
        )
    return known


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
