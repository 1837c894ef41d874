"""What FP16 cannot hold: the nodes that stay FP32 in a graph typed FP16."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from pose_calibration.placement import candidates
from pose_calibration.placement.graph import Graph
from pose_calibration.placement.operators import result_of
from pose_calibration.placement.prepared import prepared

LIMIT = float(np.finfo(np.float16).max) / 2
"""Largest magnitude that calibration may see: other pictures go further than those."""


def watched(model: onnx.ModelProto) -> tuple[str, ...]:
    """Tensors whose ranges are measured: `candidates`, and every other result in floating point.

    What an activation cuts at once is watched after the cut, for executors do both in one step.
    """
    graph = Graph(prepared(model))
    inferred = onnx.shape_inference.infer_shapes(graph.model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    wanted = {*candidates(model), *(result_of(graph, node) for node in graph.nodes.values())} & floats
    given = {value.name for value in model.graph.input}.union(*(node.output for node in model.graph.node))
    return tuple(name for name in (*graph.inputs, *graph.producers) if name in wanted and name in given)


def overflowing(model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Nodes, by first output, that read, make or hold what is too large for FP16; in the graph's order.

    Args:
        model: the FP32 graph.
        ranges: tensor -> smallest and largest value that was seen.
    """
    graph = Graph(prepared(model))
    large = {name for name, (low, high) in ranges.items() if max(-low, high) > LIMIT}
    large |= {
        name
        for name, stored in graph.constants.items()
        if stored.data_type == TensorProto.FLOAT and np.abs(graph.array(name)).max(initial=0.0) > LIMIT
    }
    return tuple(
        name
        for name, node in graph.nodes.items()
        if not large.isdisjoint((*_data(node), *node.output, result_of(graph, node)))
    )


def _data(node: onnx.NodeProto) -> tuple[str, ...]:
    """What a node computes with; the bounds of Clip may be infinite, and FP16 cuts at its own."""
    return tuple(node.input[:1] if node.op_type == "Clip" else node.input)
