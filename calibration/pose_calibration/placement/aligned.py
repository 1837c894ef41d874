"""Fill the channels in front of integer convolutions up to a multiple of four.

ONNX Runtime's fast integer convolution takes four channels at once and hands anything else to one that is about four
times slower. Zero channels with zero weights change nothing in the result.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from msgspec.structs import replace
from onnx import NodeProto

from pose_calibration.placement.graph import Draft, Graph, attribute, renamed
from pose_calibration.plan import Plan

MULTIPLE = 4


def aligned(graph: Graph, plan: Plan, chosen: Collection[str]) -> tuple[Graph, Plan]:
    """The graph with a Pad node in front of such convolutions, shared by those that read one tensor, and its plan."""
    missing = {name: -_channels(graph, graph.nodes[name]) % MULTIPLE for name in chosen}
    if not any(missing.values()):
        return graph, plan
    draft = Draft(graph)
    draft.constants.update(graph.constants)
    ranges = dict(plan.ranges)
    padded: dict[str, str] = {}
    for name, node in graph.nodes.items():
        more = missing.get(name, 0)
        if not more:
            draft.nodes.append(node)
            continue
        source = node.input[0]
        if source not in padded:
            rank = len(graph.constants[node.input[1]].dims)
            pads = np.zeros((2, rank), np.int64)
            pads[1, 1] = more
            amounts = draft.constant(f"{source}/pads", pads.reshape(-1))
            padded[source] = draft.node("Pad", [source, amounts], draft.fresh(f"{source}/padded"))
            ranges[padded[source]] = ranges[source]
        weights = graph.array(node.input[1])
        zeros = np.zeros((weights.shape[0], more, *weights.shape[2:]), np.float32)
        wider = draft.constant(f"{node.input[1]}/padded", np.concatenate([weights, zeros], axis=1))
        draft.nodes.append(renamed(node, [padded[source], wider, *node.input[2:]], node.output))
    return Graph(draft.model()), replace(plan, ranges=ranges)


def _channels(graph: Graph, node: NodeProto) -> int:
    """Input channels of a convolution without groups; 0 for any other node."""
    plain = node.op_type == "Conv" and attribute(node, "group", 1) == 1
    return int(graph.constants[node.input[1]].dims[1]) if plain else 0
