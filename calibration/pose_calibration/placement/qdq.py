"""Write QuantizeLinear and DequantizeLinear nodes into a graph, as a placement says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from pose_calibration.placement.graph import Draft, Graph, renamed
from pose_calibration.placement.operators import channel_axis, operands
from pose_calibration.placement.scales import FloatArray, Scale, quantised_weights, weight_scales


class Placement(Struct, frozen=True, kw_only=True):
    """What is quantised, and who reads it so.

    Attributes:
        scales: tensor -> how its integers are read.
        reads: node -> the tensors that it reads as integers; it reads all others as they are.
        weighted: the nodes whose weights are int8.
        results: tensors of which everyone, outside the graph too, sees only the quantised values.
        bare: nodes that stand between Q and DQ, on the integers themselves.
        guarded: tensors between whose producer and Q stands a Max of one input, which is the value itself.
        integer_bias: biases are int32, as ONNX Runtime's kernels want them; else floating.
        round_scales: weight scales -> the ones that are stored.
    """

    scales: dict[str, Scale]
    reads: dict[str, frozenset[str]]
    weighted: frozenset[str]
    results: frozenset[str]
    bare: frozenset[str]
    guarded: frozenset[str]
    integer_bias: bool
    round_scales: Callable[[FloatArray], FloatArray]


def with_qdq(graph: Graph, placement: Placement) -> ModelProto:
    """The graph with one pair of Q/DQ nodes behind each quantised tensor, and int8 weights behind DequantizeLinear."""
    return _Writer(graph, placement).write()


class _Writer:
    def __init__(self, graph: Graph, placement: Placement) -> None:
        self.graph = graph
        self.placement = placement
        self.draft = Draft(graph)
        self.draft.constants.update(graph.constants)
        self.whole: dict[str, tuple[str, str, str]] = {}  # quantised tensor -> its integers, scale and zero point
        self.values: dict[str, str] = {}  # quantised tensor -> its values after the pair
        self.stored: dict[tuple[str, int | None, bytes], str] = {}

    def write(self) -> ModelProto:
        for tensor in self.graph.inputs:
            self._pair(tensor, tensor)
        for name, node in self.graph.nodes.items():
            if name in self.placement.bare:
                self._bare(name, node)
                continue
            hidden = {out: self._hidden(out) for out in node.output if out}
            self.draft.nodes.append(renamed(node, self._inputs(name, node), [hidden.get(o, "") for o in node.output]))
            for output, made in hidden.items():
                self._pair(output, made)
        return self._pruned()

    def _pruned(self) -> ModelProto:
        """The model without the DequantizeLinear nodes of tensors that only bare nodes read."""
        read = {tensor for node in self.draft.nodes for tensor in node.input} | self.graph.outputs
        self.draft.nodes = [n for n in self.draft.nodes if n.op_type != "DequantizeLinear" or n.output[0] in read]
        return self.draft.model()

    def _hidden(self, tensor: str) -> str:
        """Where a node's result goes: under another name if the graph gives away the values after the pair."""
        taken = tensor in self.graph.outputs and tensor in self.placement.results
        return self.draft.fresh(f"{tensor}/float") if taken else tensor

    def _bare(self, name: str, node: NodeProto) -> None:
        """A node that moves integers, or adds some that mean 0; their scale stays."""
        source, size, zero = self.whole[node.input[0]]
        others = [node.input[1], zero, *node.input[3:]] if node.op_type == "Pad" else node.input[1:]
        whole = self.draft.fresh(f"{name}/q")
        self.draft.nodes.append(renamed(node, [source, *others], [whole]))
        self._dequantise(name, whole, size, zero, name)

    def _pair(self, tensor: str, made: str) -> None:
        """Q and DQ behind a tensor that is made under the name `made`."""
        scale = self.placement.scales.get(tensor)
        if scale is None:
            return
        own = made == tensor  # else the name waits for the values after the pair
        kind = np.int8 if scale.symmetric else np.uint8
        size = self.draft.constant(f"{tensor}/scale", np.asarray(scale.scale, np.float32))
        zero = self.draft.constant(f"{tensor}/zero_point", np.asarray(scale.zero_point, kind))
        if tensor in self.placement.guarded:
            made = self.draft.node("Max", [made], self.draft.fresh(f"{tensor}/guard"))
        whole = self.draft.node("QuantizeLinear", [made, size, zero], self.draft.fresh(f"{tensor}/q"))
        self._dequantise(tensor, whole, size, zero, self.draft.fresh(f"{tensor}/dq") if own else tensor)

    def _dequantise(self, tensor: str, whole: str, size: str, zero: str, values: str) -> None:
        self.whole[tensor] = (whole, size, zero)
        self.values[tensor] = self.draft.node("DequantizeLinear", [whole, size, zero], values)

    def _inputs(self, name: str, node: NodeProto) -> list[str]:
        reads = self.placement.reads.get(name, frozenset())
        inputs = [
            self.values[tensor] if tensor in reads or tensor in self.placement.results else tensor
            for tensor in node.input
        ]
        if name in self.placement.weighted:
            self._weights(node, inputs)
        return inputs

    def _weights(self, node: NodeProto, inputs: list[str]) -> None:
        """Put int8 weights, and where they are wanted int32 biases, in the place of float ones."""
        places = operands(self.graph, node)
        assert places is not None
        source, axis = node.input[places[1]], channel_axis(self.graph, node)
        weights = self.graph.array(source)
        scales = self.placement.round_scales(weight_scales(weights, axis))
        if self.placement.integer_bias:
            size = np.float32(self.placement.scales[node.input[places[0]]].scale)
            bias = self._vector(node, scales.size)
            scales = _floored(scales, np.zeros(1, np.float32) if bias is None else bias, size)
            if bias is not None:
                inputs[2] = self._bias(node.input[2], bias, scales * size)
        inputs[places[1]] = self._stored(source, weights, scales, axis)

    def _vector(self, node: NodeProto, channels: int) -> FloatArray | None:
        """A constant bias as (channels,); None where there is none, or one that differs along other axes too."""
        if len(node.input) < 3 or node.input[2] not in self.graph.constants:
            return None
        bias = self.graph.array(node.input[2])
        return np.broadcast_to(bias.reshape(-1), (channels,)) if bias.size in (1, channels) else None

    def _stored(self, source: str, weights: FloatArray, scales: FloatArray, axis: int | None) -> str:
        key = (source, axis, scales.tobytes())
        if key not in self.stored:
            whole = self.draft.constant(f"{source}/int8", quantised_weights(weights, scales, axis))
            self.stored[key] = self._dequantised(source, whole, scales, np.zeros(scales.shape, np.int8), axis)
        return self.stored[key]

    def _bias(self, source: str, bias: FloatArray, scales: FloatArray) -> str:
        whole = self.draft.constant(f"{source}/int32", np.rint(bias / scales).astype(np.int32))
        return self._dequantised(source, whole, scales, np.zeros(scales.shape, np.int32), 0 if scales.ndim else None)

    def _dequantised(
        self,
        source: str,
        whole: str,
        scales: FloatArray,
        zeros: NDArray[np.signedinteger],
        axis: int | None,
    ) -> str:
        size = self.draft.constant(f"{source}/scales", scales)
        zero = self.draft.constant(f"{source}/zeros", zeros)
        attributes = {} if axis is None else {"axis": axis}
        return self.draft.node("DequantizeLinear", [whole, size, zero], self.draft.fresh(f"{source}/dq"), **attributes)


def _floored(scales: FloatArray, bias: FloatArray, size: np.float32) -> FloatArray:
    """Scales large enough for the bias to fit int32 in units of activation times weight; a dead channel gets 1."""
    least = np.abs(bias) / (size * np.float32(2**30))
    if scales.ndim == 0:
        least = least.max(initial=0.0)
    floored = np.maximum(scales, np.broadcast_to(least, scales.shape))
    return np.asarray(np.where(floored < np.finfo(np.float32).tiny, 1, floored), np.float32)
