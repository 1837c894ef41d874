"""A view of an ONNX graph: who makes a tensor, who reads it, what is constant.

Nodes are named by their first output, which ONNX demands to be unique; their own names may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper


class Graph:
    """One prepared model, indexed; nothing in it is changed.

    Attributes:
        model: as `prepared` gives it.
        nodes: name -> node, in the graph's order, which is topological.
        constants: tensor -> its value.
        producers: tensor -> name of the node that makes it; graph inputs and constants have none.
        readers: tensor -> names of the nodes that read it, one for each reading input.
        inputs: the graph's inputs.
        outputs: the graph's outputs.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.nodes: dict[str, NodeProto] = {name_of(node): node for node in graph.node}
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.producers: dict[str, str] = {out: name for name, node in self.nodes.items() for out in node.output if out}
        self.readers: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for tensor in node.input:
                if tensor:
                    self.readers.setdefault(tensor, []).append(name)
        self.inputs: tuple[str, ...] = tuple(value.name for value in graph.input)
        self.outputs: frozenset[str] = frozenset(value.name for value in graph.output)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor."""
        name = self.producers.get(tensor)
        return None if name is None else self.nodes[name]

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The one node that reads a tensor; None where several do, or where the graph gives it away."""
        readers = self.readers.get(tensor, [])
        return self.nodes[readers[0]] if len(readers) == 1 and tensor not in self.outputs else None

    def array(self, tensor: str) -> NDArray[np.float32]:
        """A constant's values."""
        return np.asarray(numpy_helper.to_array(self.constants[tensor]))

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return int(next(entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")))


def name_of(node: NodeProto) -> str:
    """A node's first output."""
    return str(next(output for output in node.output if output))


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    found: AttributeProto | None = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else int(found.i)


def text(node: NodeProto, name: str, default: str) -> str:
    """A string attribute."""
    found: AttributeProto | None = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else bytes(found.s).decode()


def ints(node: NodeProto, name: str, default: list[int]) -> list[int]:
    """An attribute of several integers."""
    found: AttributeProto | None = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else list(found.ints)


class Draft:
    """A new graph in the making: nodes in order, constants, names that nobody has yet."""

    def __init__(self, graph: Graph) -> None:
        self._model = graph.model
        self._taken = {*graph.inputs, *graph.constants, *graph.producers}
        self._names = {node.name for node in graph.nodes.values()}
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def fresh(self, wanted: str) -> str:
        """A tensor name that is free, and from now on taken."""
        return free_name(wanted, self._taken)

    def constant(self, wanted: str, values: NDArray[np.generic]) -> str:
        """Store values under a fresh name."""
        name = self.fresh(wanted)
        self.constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        """Append a node that makes `output`."""
        name = free_name(output, self._names)
        self.nodes.append(helper.make_node(op_type, inputs, [output], name, None, None, None, **attributes))
        return output

    def model(self) -> ModelProto:
        """The graph with the old one's inputs, outputs and opset; constants that nobody reads are left behind."""
        old = self._model
        read = {tensor for node in self.nodes for tensor in node.input} | {value.name for value in old.graph.output}
        model = ModelProto(ir_version=old.ir_version, producer_name="jetpose")
        model.opset_import.extend(old.opset_import)
        model.graph.name = old.graph.name
        model.graph.input.extend(old.graph.input)
        model.graph.output.extend(old.graph.output)
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in read)
        return model


def free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a number behind it, whichever is not taken; from now on it is."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def renamed(node: NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
    """The same node between other tensors."""
    new = NodeProto()
    new.CopyFrom(node)
    del new.input[:], new.output[:]
    new.input.extend(inputs)
    new.output.extend(outputs)
    return new
