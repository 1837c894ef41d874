"""Biases that make up for rounded weights, put into the graph where a plan makes the node INT8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_calibration.placement.biases import with_added
from pose_calibration.placement.graph import Graph
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
    added: dict[str, NDArray[np.float32]] = {}
    for name in chosen:
        node, shift = graph.nodes[name], np.array(plan.shifts[name], np.float32)
        channels = graph.constants[node.input[1]].dims[0]
        if node.op_type != "Conv" or len(shift) != channels:
            raise CalibrationError(f"INT8 plan: {len(shift)} shifts of {name[:80]!r}, wanted a Conv's {channels}")
        added[name] = shift
    return Graph(with_added(graph, added, "shifted"))
