"""Type an FP32 graph FP16: constants, tensors, and casts where a node stays FP32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

from pose_calibration.placement.graph import Draft, Graph, name_of, renamed
from pose_calibration.placement.prepared import prepared
from pose_runtime.errors import CalibrationError

FLOAT, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
_LARGEST = float(np.finfo(np.float16).max)


def fp16_graph(model: ModelProto, fp32: Iterable[str] = ()) -> ModelProto:
    """The network typed FP16; inputs and outputs stay FP32, behind casts.

    Args:
        model: checked, FP32; it is not changed.
        fp32: nodes, by first output, that stay FP32.

    Raises:
        CalibrationError: the model cannot be typed (see `prepared`), lacks such a node, or holds a constant that FP16
            cannot.
    """
    source = prepared(model)
    wanted = frozenset(fp32)
    missing = sorted(wanted - {name_of(node) for node in source.graph.node})
    if missing:
        raise CalibrationError(f"FP32 node {missing[0][:80]!r} is not in the graph; the plan is of another model")
    return typed(source, wanted)


def typed(model: ModelProto, fp32: frozenset[str]) -> ModelProto:
    """A prepared model, with or without Q/DQ nodes, typed FP16 but for the nodes in `fp32`."""
    new = _Typer(Graph(model), fp32).write()
    inferred = onnx.shape_inference.infer_shapes(new)
    new.graph.value_info.extend(inferred.graph.value_info)
    return new


class _Typer:
    def __init__(self, graph: Graph, fp32: frozenset[str]) -> None:
        self.graph = graph
        self.fp32 = fp32
        self.draft = Draft(graph)
        self.kinds = _kinds(graph)
        self.at: dict[tuple[str, int], str] = {(t, FLOAT): t for t in graph.inputs if self.kinds[t] == FLOAT}

    def write(self) -> ModelProto:
        for node in self.graph.nodes.values():
            self._node(node)
        for tensor in sorted(self.graph.outputs):
            if self.kinds.get(tensor) == FLOAT and (tensor, FLOAT) not in self.at:
                self._cast(self.at[tensor, HALF], tensor, FLOAT)
        return self.draft.model()

    def _node(self, node: NodeProto) -> None:
        inputs, outputs = self._wanted(node)
        read = [
            self._as(tensor, kind, node) if self._float(tensor) else self._other(tensor)
            for tensor, kind in zip(node.input, inputs, strict=True)
        ]
        made = []
        for tensor, kind in zip(node.output, outputs, strict=True):
            hidden = self._float(tensor) and kind == HALF and tensor in self.graph.outputs
            name = self.draft.fresh(f"{tensor}/fp16") if hidden else tensor
            if self._float(tensor):
                self.at[tensor, kind] = name
            made.append(name)
        new = renamed(node, read, made)
        if outputs[0] == HALF:
            _retype(new)
        self.draft.nodes.append(new)

    def _float(self, tensor: str) -> bool:
        return bool(tensor) and self.kinds.get(tensor) == FLOAT

    def _other(self, tensor: str) -> str:
        """A tensor that is no float one keeps its type and name."""
        if tensor in self.graph.constants:
            self.draft.constants[tensor] = self.graph.constants[tensor]
        return tensor

    def _wanted(self, node: NodeProto) -> tuple[list[int], list[int]]:
        """The types that a node's inputs and outputs shall have, where they are floats."""
        schema = _schema(node, self.graph.opset)
        if schema is None or name_of(node) in self.fp32:
            return [FLOAT] * len(node.input), [FLOAT] * len(node.output)
        return (
            [_type(schema, schema.inputs, i) for i in range(len(node.input))],
            [_type(schema, schema.outputs, i) for i in range(len(node.output))],
        )

    def _as(self, tensor: str, kind: int, node: NodeProto) -> str:
        """The tensor in the wanted type: as it is, converted once, or behind a cast that all its readers share."""
        found = self.at.get((tensor, kind))
        if found is not None:
            return found
        if tensor in self.graph.constants:
            first = (tensor, FLOAT) not in self.at and (tensor, HALF) not in self.at
            name = tensor if first else self.draft.fresh(f"{tensor}/{_SUFFIX[kind]}")
            self.draft.constants[name] = self._constant(tensor, kind, name, node)
            self.at[tensor, kind] = name
            return name
        source = self.at[tensor, FLOAT if kind == HALF else HALF]
        return self._cast(source, self.draft.fresh(f"{tensor}/{_SUFFIX[kind]}"), kind, of=tensor)

    def _cast(self, source: str, name: str, kind: int, *, of: str | None = None) -> str:
        self.draft.node("Cast", [source], name, to=kind)
        self.at[of or name, kind] = name
        return name

    def _constant(self, tensor: str, kind: int, name: str, node: NodeProto) -> TensorProto:
        stored = self.graph.constants[tensor]
        if kind == FLOAT:
            copy = TensorProto()
            copy.CopyFrom(stored)
            copy.name = name
            return copy
        values = self.graph.array(tensor)
        if node.op_type == "Clip":
            values = np.clip(values, -_LARGEST, _LARGEST)  # FP16 has no number outside these bounds anyway
        elif np.abs(values).max(initial=0.0) > _LARGEST:
            raise CalibrationError(
                f"constant {tensor[:80]!r} of node {name_of(node)[:80]!r} overflows FP16; keep that node FP32"
            )
        return numpy_helper.from_array(np.asarray(values, np.float16), name)


_SUFFIX: dict[int, str] = {FLOAT: "fp32", HALF: "fp16"}


def _kinds(graph: Graph) -> dict[str, int]:
    """Element type of each tensor; CalibrationError where one is unknown."""
    inferred = onnx.shape_inference.infer_shapes(graph.model).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)}
    kinds.update({name: tensor.data_type for name, tensor in graph.constants.items()})
    for tensor, name in graph.producers.items():
        if not kinds.get(tensor):
            op_type = graph.nodes[name].op_type
            raise CalibrationError(f"{op_type} makes {tensor[:80]!r}, whose type ONNX cannot tell; it cannot be FP16")
    return kinds


def _schema(node: NodeProto, opset: int) -> defs.OpSchema | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    return defs.get_schema(node.op_type, opset)


def _type(schema: defs.OpSchema, parameters: Sequence[defs.OpSchema.FormalParameter], place: int) -> int:
    """FP16 where the operator's definition allows it (the scales of Resize, for one, are always FP32)."""
    name = parameters[min(place, len(parameters) - 1)].type_str
    allowed = next((list(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == name), [name])
    return HALF if "tensor(float16)" in allowed else FLOAT


def _retype(node: NodeProto) -> None:
    """Let attributes that name or hold the output's type follow it."""
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == FLOAT:
            attribute.i = HALF
        elif node.op_type == "ConstantOfShape" and attribute.t.data_type == FLOAT:
            values = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.CopyFrom(helper.make_attribute(attribute.name, numpy_helper.from_array(values)))
