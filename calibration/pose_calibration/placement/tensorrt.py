"""The graph for TensorRT: FP16-typed, with explicit symmetric int8 Q/DQ where its fusions want them.

TensorRT fuses a weighted layer with the Q/DQ pairs in front of it and the Q behind it, adds a residual inside the
convolution's kernel where the other operand is int8, and moves Q and DQ through layers that only move values. See
"Working with Quantized Types" in NVIDIA's TensorRT documentation.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from pose_calibration.placement.fp16 import typed
from pose_calibration.placement.graph import Graph
from pose_calibration.placement.operators import ACTIVATIONS, data_of, moves
from pose_calibration.placement.prepared import prepared
from pose_calibration.placement.qdq import Placement, with_qdq
from pose_calibration.placement.scales import Ties, half_scale, symmetric
from pose_calibration.placement.shifted import shifted
from pose_calibration.placement.subpixel import subpixel
from pose_calibration.placement.weighted import activation_of, planned
from pose_calibration.plan import Plan


def tensorrt_graph(model: ModelProto, plan: Plan) -> ModelProto:
    """The network for TensorRT 10.3 and newer: one graph, strongly typed.

    Inputs and outputs stay FP32 behind casts. Weights are int8 with a scale per output channel, biases floating. Each
    quantised tensor has one Q/DQ pair, which its INT8 readers share; FP16 readers take the tensor as it was. Tensors
    that are joined by nodes that only move values share one scale. Scales are FP16 numbers of at least 2^-14.

    Args:
        model: checked, FP32, opset 11 to 21; it is not changed.
        plan: what is INT8, and the ranges; nodes whose input has no range stay FP16.

    Raises:
        CalibrationError: model and plan do not fit, or the model cannot be quantised.
    """
    graph = shifted(Graph(prepared(model)), plan)
    graph, plan = subpixel(graph, plan, planned(graph, plan))
    return typed(with_qdq(graph, placement(graph, plan)), frozenset(plan.fp32))


def placement(graph: Graph, plan: Plan) -> Placement:
    """Which tensors are quantised, and for whom."""
    chosen = frozenset(planned(graph, plan))
    search = _Search(graph, plan, chosen)
    search.run()
    tensors = {tensor for read in search.reads.values() for tensor in read}
    ranges = search.ties.ranges(tensors, plan.ranges)
    return Placement(
        scales={tensor: symmetric(*ranges[tensor]) for tensor in tensors},
        reads={name: frozenset(read) for name, read in search.reads.items()},
        weighted=chosen,
        results=frozenset(),
        bare=frozenset(),
        guarded=frozenset(),
        integer_bias=False,
        round_scales=half_scale,
    )


class _Search:
    """Walks from the outputs to the inputs, so that all readers of a tensor are known before its producer."""

    def __init__(self, graph: Graph, plan: Plan, chosen: frozenset[str]) -> None:
        self.graph = graph
        self.plan = plan
        self.chosen = chosen
        self.ties = Ties()
        self.reads: dict[str, set[str]] = {}

    def run(self) -> None:
        order = {name: i for i, name in enumerate(self.graph.nodes)}
        for name in reversed(order):
            node = self.graph.nodes[name]
            if name in self.chosen:
                self._read(name, activation_of(self.graph, name))
            elif name in self.plan.fp32:
                continue
            elif moves(node):
                self._pass(name, node)
            elif node.op_type == "Add":
                self._add(name, node)
        self._share()

    def _read(self, name: str, tensor: str) -> None:
        self.reads.setdefault(name, set()).add(tensor)

    def _pass(self, name: str, node: NodeProto) -> None:
        """Move the quantisation of a result in front of a node that only moves values, if all readers want it."""
        tensors = data_of(node)
        results = [output for output in node.output if output]
        if not all(tensor in self.plan.ranges for tensor in tensors):
            return
        if any(self._read_as_float(output) for output in results):
            return
        for tensor in tensors:
            if node.op_type != "Concat":  # TensorRT moves Q there itself, and ONNX Runtime refuses FP16 scales there
                self._read(name, tensor)
            for output in results:
                self.ties.tie(tensor, output)

    def _read_as_float(self, tensor: str) -> bool:
        readers = self.graph.readers.get(tensor, [])
        as_integer = all(tensor in self.reads.get(reader, ()) for reader in readers)
        return tensor in self.graph.outputs or not as_integer

    def _add(self, name: str, node: NodeProto) -> None:
        """Quantise the skip: what the INT8 convolution that is fused with this Add does not make itself."""
        fused = [tensor for tensor in node.input if self._fused(tensor)]
        kept = max(fused, key=list(self.graph.producers).index, default=None)
        for tensor in node.input:
            if tensor != kept and tensor in self.plan.ranges and (kept is not None or self._from_int8(tensor)):
                self._read(name, tensor)

    def _fused(self, tensor: str) -> bool:
        """Whether an INT8 node makes this tensor, alone or with an activation, for one reader only."""
        while self.graph.only_reader(tensor) is not None:
            producer = self.graph.producer(tensor)
            if producer is None:
                return False
            if self.graph.producers[tensor] in self.chosen:
                return True
            if producer.op_type not in ACTIVATIONS:
                return False
            tensor = producer.input[0]
        return False

    def _from_int8(self, tensor: str) -> bool:
        """Whether this tensor is an INT8 node's result, moved or activated."""
        while (producer := self.graph.producer(tensor)) is not None:
            if self.graph.producers[tensor] in self.chosen:
                return True
            if producer.op_type not in ACTIVATIONS and not (moves(producer) and len(data_of(producer)) == 1):
                return False
            tensor = producer.input[0]
        return False

    def _share(self) -> None:
        """Let an Add of two results that no convolution takes in read what is quantised for others anyway."""
        quantised = {tensor for read in self.reads.values() for tensor in read}
        for name, node in self.graph.nodes.items():
            if node.op_type == "Add" and name not in self.plan.fp32 and not any(map(self._fused, node.input)):
                for tensor in quantised.intersection(node.input):
                    self._read(name, tensor)
