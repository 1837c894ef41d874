"""Where a Q/DQ graph rounds to INT8, read from the graph itself and told in the names of the graph it was made of."""

from __future__ import annotations

from msgspec import Struct
from onnx import ModelProto, numpy_helper

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
        weights: the nodes, by first output, whose weights are integers; in the graph's order.
    """

    activations: tuple[Place, ...]
    weights: tuple[str, ...]


def read_places(model: ModelProto, quantised: ModelProto) -> Places:
    """What `quantised` rounds on the way into each node of `model`.

    Args:
        model: the original graph.
        quantised: the same nodes, and QuantizeLinear, DequantizeLinear and Cast between. A node's first output has the
            name that it had, or a Cast of it has.

    Raises:
        ExportError: there is something else between.
    """
    return _Reader(model, quantised).read()


class _Reader:
    def __init__(self, model: ModelProto, quantised: ModelProto) -> None:
        self.nodes = quantised.graph.node
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.stored = {tensor.name: tensor for tensor in quantised.graph.initializer}
        self.before = {name: node.op_type for node in model.graph.node for name in node.output}
        self.before |= dict.fromkeys((value.name for value in model.graph.input), "input")
        self.names: dict[str, str] = {  # where the result is cast to what the graph gives away
            node.input[0]: node.output[0]
            for node in self.nodes
            if node.op_type == "Cast" and self.before.get(node.output[0], "Cast") != "Cast"
        }

    def read(self) -> Places:
        activations: list[Place] = []
        weights: list[str] = []
        for node in self.nodes:
            reader = self._named(node.output[0])
            if self.before.get(reader) != node.op_type:
                continue
            for name in dict.fromkeys(filter(None, node.input)):
                source, scales = self._followed(name)
                if scales and source in self.stored:
                    weights.append(reader)
                elif scales:
                    activations.append(Place(tensor=source, reader=reader, scales=scales))
        return Places(activations=tuple(activations), weights=tuple(weights))

    def _named(self, name: str) -> str:
        return self.names.get(name, name)

    def _followed(self, name: str) -> tuple[str, tuple[float, ...]]:
        """Up from a node's input to the original tensor or stored integers, and the scales on the way."""
        scales: list[float] = []
        while self._named(name) not in self.before and name not in self.stored:
            node = self.makers.get(name)
            if node is None or node.op_type not in _BETWEEN:
                raise ExportError(f"INT8 graph: {name[:80]!r} is no tensor of the network, nor a rounded one")
            if node.op_type == "DequantizeLinear":
                scales.append(float(numpy_helper.to_array(self.stored[node.input[1]]).reshape(-1)[0]))
            name = node.input[0]
        return self._named(name), tuple(reversed(scales))
