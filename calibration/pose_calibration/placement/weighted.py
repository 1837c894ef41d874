"""The nodes that carry the work: convolutions and matrix products with constant weights."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from onnx import ModelProto

from pose_calibration.graph_stats import node_macs
from pose_calibration.placement.blocks import grouped
from pose_calibration.placement.graph import Graph
from pose_calibration.placement.operators import operands
from pose_calibration.placement.prepared import prepared
from pose_calibration.plan import Plan
from pose_runtime.errors import CalibrationError

MOST_BLOCKS = 24


class Weighted(Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        name: its first output.
        op_type: Conv, ConvTranspose, Gemm or MatMul.
        macs: multiply-accumulates for one input.
        head: its result reaches an output of the graph without passing another of these nodes.
        block: the group that the sensitivity search moves as one, named by its first member.
    """

    name: str
    op_type: str
    macs: int
    head: bool
    block: str


def weighted(
    model: ModelProto, *, size_wh: tuple[int, int] | None = None, most: int = MOST_BLOCKS
) -> tuple[Weighted, ...]:
    """All of a model's weighted nodes, in the graph's order.

    Args:
        model: checked, FP32.
        size_wh: stands in for an open width and height.
        most: number of blocks at most.

    Raises:
        CalibrationError: the model cannot be quantised (see `prepared`).
        ExportError: the input's size is open and `size_wh` is None.
    """
    graph = Graph(prepared(model))
    names = weighted_names(graph)
    counted = node_macs(graph.model, size_wh=size_wh)
    macs = {name: counted[name] for name in names}
    heads = heads_of(graph, names)
    block_of = {name: group[0] for group in grouped(graph, macs, heads, most) for name in group}
    return tuple(
        Weighted(
            name=name,
            op_type=graph.nodes[name].op_type,
            macs=macs[name],
            head=name in heads,
            block=block_of[name],
        )
        for name in names
    )


def blocks(
    model: ModelProto, most: int = MOST_BLOCKS, *, size_wh: tuple[int, int] | None = None
) -> dict[str, tuple[str, ...]]:
    """At most `most` groups of weighted nodes: block -> names of its nodes, both in the graph's order.

    Residual blocks stay whole where `most` allows it, heads are one group, the rest is merged along the graph so that
    the groups hold about as many multiply-accumulates.
    """
    groups: dict[str, list[str]] = {}
    for node in weighted(model, size_wh=size_wh, most=most):
        groups.setdefault(node.block, []).append(node.name)
    return {block: tuple(names) for block, names in groups.items()}


def int8_share(model: ModelProto, plan: Plan, *, size_wh: tuple[int, int] | None = None) -> float:
    """The plan's INT8 multiply-accumulates over those of all weighted nodes, 0 to 1; 0 where there are none."""
    graph = Graph(prepared(model))
    return share_of(graph, planned(graph, plan), size_wh)


def share_of(graph: Graph, names: Iterable[str], size_wh: tuple[int, int] | None) -> float:
    """The multiply-accumulates of some weighted nodes over those of all, 0 to 1."""
    counted = node_macs(graph.model, size_wh=size_wh)
    total = sum(counted[name] for name in weighted_names(graph))
    return sum(counted[name] for name in names) / total if total else 0.0


def weighted_names(graph: Graph) -> tuple[str, ...]:
    """Names of the weighted nodes, in the graph's order."""
    return tuple(name for name, node in graph.nodes.items() if operands(graph, node) is not None)


def planned(graph: Graph, plan: Plan) -> tuple[str, ...]:
    """The nodes that the plan makes INT8 and whose input has a range, in the graph's order.

    Raises:
        CalibrationError: the plan names a node that the graph lacks or that has no weights, or wants one both INT8
            and FP32.
    """
    names = weighted_names(graph)
    for name in plan.int8:
        if name not in names:
            what = "has no constant weights" if name in graph.nodes else "is not in the graph"
            raise CalibrationError(f"INT8 plan: node {name[:80]!r} {what}; the plan is of another model")
    for name in plan.fp32:
        if name not in graph.nodes:
            raise CalibrationError(f"INT8 plan: node {name[:80]!r} is not in the graph; the plan is of another model")
    both = sorted(set(plan.int8) & set(plan.fp32))
    if both:
        raise CalibrationError(f"INT8 plan: node {both[0][:80]!r} is both INT8 and FP32; wanted one of them")
    wanted = set(plan.int8)
    return tuple(name for name in names if name in wanted and activation_of(graph, name) in plan.ranges)


def activation_of(graph: Graph, name: str) -> str:
    """The tensor that a weighted node multiplies with its weights."""
    node = graph.nodes[name]
    places = operands(graph, node)
    assert places is not None
    return str(node.input[places[0]])


def heads_of(graph: Graph, names: tuple[str, ...]) -> frozenset[str]:
    """Weighted nodes whose result reaches an output of the graph past no other one."""
    chosen, heads, seen = set(names), set(), set()
    open_ends = list(graph.outputs)
    while open_ends:
        tensor = open_ends.pop()
        producer = graph.producers.get(tensor)
        if producer is None or producer in seen:
            continue
        seen.add(producer)
        if producer in chosen:
            heads.add(producer)
        else:
            open_ends.extend(tensor for tensor in graph.nodes[producer].input if tensor)
    return frozenset(heads)
