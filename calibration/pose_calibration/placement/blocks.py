"""Groups of weighted nodes for the sensitivity search."""

from __future__ import annotations

from collections.abc import Mapping

from pose_calibration.placement.graph import Graph
from pose_runtime.errors import CalibrationError

_LONGEST = 8  # weighted nodes between fork and Add of a residual block; longer skips join stages, not blocks


def grouped(graph: Graph, macs: Mapping[str, int], heads: frozenset[str], most: int) -> list[list[str]]:
    """Residual blocks and single nodes, neighbours merged until `most` groups are left, smallest pair first.

    Args:
        graph: the model.
        macs: weighted node -> multiply-accumulates, in the graph's order.
        heads: the nodes that are one group of their own.
        most: number of groups at most, 2 or more.

    Returns:
        Groups in the order of their first nodes; every weighted node is in one.
    """
    if most < 2:
        raise CalibrationError(f"blocks: got {most}, wanted 2 or more")
    last = [name for name in macs if name in heads]
    groups = _residual(graph, [name for name in macs if name not in heads])
    while len(groups) + bool(last) > most:
        work = [sum(macs[name] for name in group) for group in groups]
        at = min(range(len(groups) - 1), key=lambda i: work[i] + work[i + 1])
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    position = {name: i for i, name in enumerate(macs)}
    groups = [sorted(group, key=position.__getitem__) for group in groups]
    return sorted([*groups, last] if last else groups, key=lambda group: position[group[0]])


def _residual(graph: Graph, names: list[str]) -> list[list[str]]:
    """Nodes between a fork and the Add that closes it are together, all others alone; in the graph's order."""
    above = _ancestors(graph, frozenset(names))
    group = {name: [name] for name in names}
    for node in graph.nodes.values():
        if node.op_type != "Add" or len(node.input) != 2:
            continue
        left, right = (above.get(tensor, frozenset()) for tensor in node.input)
        together = sorted(left ^ right, key=names.index)
        if 2 <= len(together) <= _LONGEST and all(len(group[name]) == 1 for name in together):
            for name in together:
                group[name] = together
    return list({id(members): members for members in group.values()}.values())


def _ancestors(graph: Graph, names: frozenset[str]) -> dict[str, frozenset[str]]:
    """Tensor -> the weighted nodes that it depends on."""
    above: dict[str, frozenset[str]] = {}
    for name, node in graph.nodes.items():
        found = frozenset().union(*(above.get(tensor, frozenset()) for tensor in node.input))
        for output in node.output:
            above[output] = found | {name} if name in names else found
    return above
