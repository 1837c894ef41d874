"""Biases that make up for rounded weights, put into the graph where a plan makes the node INT8."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pose_calibration.placement.graph import Graph, free_name, name_of
from pose_calibration.placement.weighted import planned
from pose_calibration.plan import Plan
from pose_runtime.errors import CalibrationError


def shifted(graph: Graph, plan: Plan) -> Graph:
    """The graph with the plan's shifts added to the biases of its INT8 nodes, each in a tensor of its own.

    Raises:
        CalibrationError: the plan does not fit the graph.
    """
    chosen = set(planned(graph, plan)) & plan.shifts.keys()
    if not chosen:
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    taken = {*graph.inputs, *graph.constants, *graph.producers}
    for node in model.graph.node:
        name = name_of(node)
        if name not in chosen:
            continue
        shift = np.array(plan.shifts[name], np.float32)
        channels = graph.constants[node.input[1]].dims[0]
        if node.op_type != "Conv" or len(shift) != channels:
            raise CalibrationError(f"INT8 plan: {len(shift)} shifts of {name[:80]!r}, wanted a Conv's {channels}")
        if len(node.input) > 2 and node.input[2]:
            shift += graph.array(node.input[2])
        bias = free_name(f"{name}/shifted", taken)
        model.graph.initializer.append(numpy_helper.from_array(shift, bias))
        del node.input[2:]
        node.input.append(bias)
    return Graph(model)
