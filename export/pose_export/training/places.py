"""Where a Q/DQ graph rounds to INT8, read from the graph itself and told in the names of the graph it was made of."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from pose_runtime.errors import ExportError

_BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Cast")


class Place(Struct, frozen=True, kw_only=True):
    """One tensor on its way into one node.

    Attributes:
        tensor: of the original graph; its values are rounded.
        reader: the node that sees them rounded, named by its first output.
        scales: step sizes of the integers; several where the tensor is rounded several times, the first one first.
    """

    tensor: str
    reader: str
    scales: tuple[float, ...]


class Places(Struct, frozen=True, kw_only=True):
    """All roundings of a graph.

    Attributes:
        activations: in the graph's order.
        weights: node, by first output, whose weights are integers -> how many scales they have; in the graph's order.
    """

    activations: tuple[Place, ...]
    weights: dict[str, int]


def read_places(model: ModelProto, quantised: ModelProto) -> Places:
    """What `quantised` rounds on the way into each node of `model`.

    Args:
        model: the original graph.
        quantised: the same nodes, and QuantizeLinear, DequantizeLinear and Cast between. A node's first output has the
            name that it had, or a Cast of it has. Some nodes may be replaced by others (a transposed convolution by a
            convolution and DepthToSpace); the result then has the old name.

    Raises:
        ExportError: something is rounded that the original graph does not have.
    """
    return _Reader(model, quantised).read()


class _Reader:
    def __init__(self, model: ModelProto, quantised: ModelProto) -> None:
        self.nodes = quantised.graph.node
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers = {name: node for node in self.nodes for name in node.input}
        self.stored = {tensor.name: tensor for tensor in quantised.graph.initializer}
        self.original = {name: node for node in model.graph.node for name in node.output}
        self.known = {*self.original, *(value.name for value in model.graph.input)}
        self.names: dict[str, str] = {  # where the result is cast to what the graph gives away
            node.input[0]: node.output[0]
            for node in self.nodes
            if node.op_type == "Cast" and not self._kept(node, node.output[0]) and node.output[0] in self.original
        }
        self.kept = {name for node in self.nodes if self._kept(node, name := self._named(node.output[0]))}

    def read(self) -> Places:
        activations: list[Place] = []
        weights: dict[str, int] = {}
        for node in self.nodes:
            kept = self._kept(node, self._named(node.output[0]))
            if node.op_type in _BETWEEN or (node.op_type == "DepthToSpace" and not kept):
                continue  # the pixels that a new DepthToSpace lays out are rounded alike behind it
            found = [self._followed(name) for name in dict.fromkeys(filter(None, node.input))]
            if not any(scales for _, scales in found):
                continue
            reader = self._named(node.output[0]) if kept else self._replaced(node, found[0][0])
            for source, scales in found:
                if scales and source in self.stored:
                    weights[reader] = scales[0].size
                elif scales:
                    steps = tuple(float(scale.reshape(())) for scale in scales)
                    activations.append(Place(tensor=source, reader=reader, scales=steps))
        return Places(activations=tuple(activations), weights=weights)

    def _named(self, name: str) -> str:
        return self.names.get(name, name)

    def _kept(self, node: NodeProto, name: str) -> bool:
        """Whether the node makes the tensor `name` in the original graph too."""
        return name in self.original and self.original[name].op_type == node.op_type

    def _followed(self, name: str) -> tuple[str, tuple[NDArray[np.floating], ...]]:
        """Up from a node's input to the original tensor or stored integers, and the scales on the way."""
        scales: list[NDArray[np.floating]] = []
        while self._named(name) not in self.known and name not in self.stored:
            node = self.makers.get(name)
            if node is None or node.op_type not in _BETWEEN:
                if not scales:
                    break  # made by nodes that replace others
                raise ExportError(f"INT8 graph: rounds {name[:80]!r}, which is no tensor of the network")
            if node.op_type == "DequantizeLinear":
                scales.append(numpy_helper.to_array(self.stored[node.input[1]]))
            name = node.input[0]
        return self._named(name), tuple(reversed(scales))

    def _replaced(self, node: NodeProto, source: str) -> str:
        """The original reader of `source` in whose place, with nodes behind it, the node is."""
        while self._named(node.output[0]) not in self.known:
            if node.output[0] not in self.readers:
                raise ExportError(f"INT8 graph: {node.output[0][:80]!r} leads to no tensor of the network")
            node = self.readers[node.output[0]]
        name = self._named(node.output[0])
        while name in self.original and source not in self.original[name].input and name not in self.kept:
            name = self.original[name].input[0]
        if name not in self.original or name in self.kept:
            raise ExportError(f"INT8 graph: no node of the network reads {source[:80]!r} for {node.output[0][:80]!r}")
        return name
