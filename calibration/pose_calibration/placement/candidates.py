"""The activation tensors whose ranges a plan may need."""

from __future__ import annotations

from onnx import ModelProto

from pose_calibration.placement.cpu import KERNELS
from pose_calibration.placement.graph import Graph
from pose_calibration.placement.operators import data_of, moves, operands, result_of
from pose_calibration.placement.prepared import prepared


def candidates(model: ModelProto) -> tuple[str, ...]:
    """Inputs of weighted nodes, of Adds and of nodes that integers pass, and their results, in the graph's order.

    Each of them is a tensor of the model as it was given. A result that an activation cuts at once counts only after
    the cut.

    Raises:
        CalibrationError: the model cannot be quantised (see `prepared`).
    """
    graph = Graph(prepared(model))
    wanted: set[str] = set()
    for node in graph.nodes.values():
        places = operands(graph, node)
        if places is not None:
            wanted.update((node.input[places[0]], result_of(graph, node)))
        elif node.op_type in KERNELS or moves(node):
            wanted.update((*data_of(node), result_of(graph, node)))
    given = {value.name for value in model.graph.input}.union(*(node.output for node in model.graph.node))
    return tuple(name for name in (*graph.inputs, *graph.producers) if name in wanted and name in given)
