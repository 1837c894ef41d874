"""What operators mean for integers: which carry weights, which only move values, which act on one value each."""

from __future__ import annotations

from onnx import NodeProto

from pose_calibration.placement.graph import Graph, attribute, name_of, text

MOVES = frozenset(
    (
        "Concat",
        "DepthToSpace",
        "Flatten",
        "Identity",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
"""Their results hold values of their inputs and nothing else, so integers pass with the same scale."""

ACTIVATIONS = frozenset(("Clip", "Relu"))
"""Both executors fold them into the node before."""


def moves(node: NodeProto) -> bool:
    """Whether a node's result holds values of its inputs only."""
    if node.op_type == "Resize":
        return text(node, "mode", "nearest") == "nearest"
    return node.op_type in MOVES and (node.op_type != "MaxPool" or len(node.output) == 1)


def pads_zeros(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is a Pad that adds zeros."""
    if node.op_type != "Pad" or text(node, "mode", "constant") != "constant":
        return False
    value = node.input[2] if len(node.input) > 2 else ""
    return not value or (value in graph.constants and not graph.array(value).any())


def data_of(node: NodeProto) -> tuple[str, ...]:
    """The inputs that carry values, without shapes, scales and bounds."""
    return tuple(node.input) if node.op_type in ("Add", "Mul", "Concat") else tuple(node.input[:1])


def operands(graph: Graph, node: NodeProto) -> tuple[int, int] | None:
    """Places (activation, weights) among the inputs of a node with constant weights; None for any other node."""
    if node.domain not in ("", "ai.onnx"):
        return None
    pairs = {"Conv": ((0, 1),), "ConvTranspose": ((0, 1),), "Gemm": ((0, 1),), "MatMul": ((0, 1), (1, 0))}
    for activation, weights in pairs.get(node.op_type, ()):
        stored = graph.constants.get(node.input[weights])
        if stored is not None and stored.data_type == stored.FLOAT and node.input[activation] not in graph.constants:
            return activation, weights
    return None


def channel_axis(graph: Graph, node: NodeProto) -> int | None:
    """Axis of the weights that counts output channels; None where one scale must do for all.

    ConvTranspose keeps (C_in, C_out / groups, kH, kW): with groups, one scale serves a channel of each group.
    """
    places = operands(graph, node)
    if places is None:
        return None
    rank = len(graph.constants[node.input[places[1]]].dims)
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if rank < 2:
        return None
    return rank - 1 if places == (0, 1) else rank - 2


def result_of(graph: Graph, node: NodeProto) -> str:
    """The tensor after a node and the activations that are folded into it."""
    tensor = name_of(node)
    while (reader := graph.only_reader(tensor)) is not None and reader.op_type in ACTIVATIONS:
        tensor = name_of(reader)
    return tensor
