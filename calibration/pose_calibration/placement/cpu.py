"""The graph for ONNX Runtime's integer kernels: FP32-typed, uint8 activations, results quantised too.

A convolution becomes QLinearConv only where a DequantizeLinear stands before each input and a QuantizeLinear behind
its result; the activation between is dropped where the result's range already ends where it cuts. Nodes between
convolutions stay in uint8 where there is a kernel. uint8 times int8 is exact only on CPUs with VNNI or Arm's dot
product. See "Quantize ONNX Models" in ONNX Runtime's documentation.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from pose_calibration.placement.aligned import aligned
from pose_calibration.placement.graph import Graph, name_of
from pose_calibration.placement.operators import data_of, moves, operands, pads_zeros, result_of
from pose_calibration.placement.prepared import prepared
from pose_calibration.placement.qdq import Placement, with_qdq
from pose_calibration.placement.scales import Ties, asymmetric
from pose_calibration.placement.shifted import shifted
from pose_calibration.placement.subpixel import subpixel
from pose_calibration.placement.weighted import activation_of, planned, share_of
from pose_calibration.plan import Plan

KERNELS = frozenset(("Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"))
"""Integer kernels of ONNX Runtime beside those of weighted nodes, with a scale of their own for each tensor."""
SAME_SCALE = frozenset(
    ("DepthToSpace", "Flatten", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze")
)
"""Operators that ONNX Runtime runs on integers if the scale is the same before and after."""
BARE = frozenset(("DepthToSpace", "Pad"))
"""Those of them that it does not free from the DQ before and the Q behind, so that we do."""


def cpu_graph(model: ModelProto, plan: Plan) -> ModelProto:
    """The network for ONNX Runtime on a CPU with VNNI or Arm's dot product.

    Weights are int8 with a scale per output channel, biases int32. A transposed convolution, for which there is no
    integer kernel, is written as a convolution (see `subpixel`), or stays FP32.

    Args:
        model: checked, FP32, opset 11 to 21; it is not changed.
        plan: what is INT8, and the ranges; nodes whose input or result has no range stay FP32.

    Raises:
        CalibrationError: model and plan do not fit, or the model cannot be quantised.
    """
    graph = shifted(Graph(prepared(model)), plan)
    graph, plan = subpixel(graph, plan, planned(graph, plan))
    graph, plan = aligned(graph, plan, integer_weighted(graph, plan))
    return with_qdq(graph, placement(graph, plan))


def cpu_share(model: ModelProto, plan: Plan, *, size_wh: tuple[int, int] | None = None) -> float:
    """As `int8_share`, of what `cpu_graph` really makes integer: no more than the plan says."""
    graph = Graph(prepared(model))
    written, new = subpixel(graph, plan, planned(graph, plan))
    integer = integer_weighted(written, new)
    return share_of(graph, (old for old, name in zip(plan.int8, new.int8, strict=True) if name in integer), size_wh)


def placement(graph: Graph, plan: Plan) -> Placement:
    """Which tensors are uint8, and which nodes read and make them."""
    chosen = integer_weighted(graph, plan)
    others = _between(graph, plan, chosen)
    reads = {name: frozenset({activation_of(graph, name)}) for name in chosen}
    reads.update({name: frozenset(data_of(graph.nodes[name])) for name in others})
    results = frozenset(result_of(graph, graph.nodes[name]) for name in reads)
    ties = Ties()
    for name in others:
        node = graph.nodes[name]
        if node.op_type in SAME_SCALE:
            ties.tie(node.input[0], result_of(graph, node))
    tensors = results.union(*reads.values())
    ranges = ties.ranges(tensors, plan.ranges)
    return Placement(
        scales={tensor: asymmetric(*ranges[tensor]) for tensor in tensors},
        reads=reads,
        weighted=chosen,
        results=results,
        bare=frozenset(name for name in others if graph.nodes[name].op_type in BARE and name in results),
        guarded=_guarded(graph, chosen, results) & tensors,
        integer_bias=True,
        round_scales=lambda scales: scales,
    )


def _guarded(graph: Graph, chosen: frozenset[str], results: frozenset[str]) -> frozenset[str]:
    """Results of float nodes that ONNX Runtime would make INT8 by itself, with one scale for all their weights.

    It does so (WeightBiasQuantization) to any that finds a DQ in front and a Q behind, which would undo the plan.
    """
    return frozenset(
        result_of(graph, node)
        for name, node in graph.nodes.items()
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and name not in chosen and node.input[0] in results
    )


def integer_weighted(graph: Graph, plan: Plan) -> frozenset[str]:
    """The planned nodes for which there is an integer kernel and whose result has a range."""
    return frozenset(
        name
        for name in planned(graph, plan)
        if (node := graph.nodes[name]).op_type != "ConvTranspose"
        and operands(graph, node) == (0, 1)
        and result_of(graph, node) in plan.ranges
    )


def _between(graph: Graph, plan: Plan, chosen: frozenset[str]) -> set[str]:
    """Nodes without weights that stay in uint8: what they read is uint8 anyway, and an integer node wants the result.

    Nodes that only move an integer node's result lose nothing, whoever reads it. Starts from all that have a kernel
    and drops what does not hold until everything does.
    """
    kept = {name for name, node in graph.nodes.items() if _has_kernel(graph, plan, node)}
    fed = {activation_of(graph, name) for name in chosen}
    fed |= {node.input[0] for tensor in fed if (node := graph.producer(tensor)) is not None and node.op_type == "Pad"}
    result = {name: result_of(graph, graph.nodes[name]) for name in chosen | kept}
    while True:
        integer = chosen | kept
        made = {result[name] for name in integer}
        dropped = set()
        for name in kept:
            node = graph.nodes[name]
            wanted = not integer.isdisjoint(graph.readers.get(result[name], ()))
            moved = node.op_type in SAME_SCALE and node.input[0] in made
            if not (made | fed).issuperset(data_of(node)) or not (wanted or moved):
                dropped.add(name)
        if not dropped:
            return kept
        kept -= dropped


def _has_kernel(graph: Graph, plan: Plan, node: NodeProto) -> bool:
    known = node.op_type in KERNELS or (node.op_type in SAME_SCALE and moves(node)) or pads_zeros(graph, node)
    return (
        known
        and node.domain in ("", "ai.onnx")
        and len(node.output) == 1
        and name_of(node) not in plan.int8
        and {*data_of(node), result_of(graph, node)} <= plan.ranges.keys()
    )
