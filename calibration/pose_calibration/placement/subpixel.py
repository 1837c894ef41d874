"""A transposed convolution as a convolution at its input's resolution, whose channels are then laid out as pixels.

Neither ONNX Runtime's CPU kernels nor TensorRT for RTX have integer transposed convolutions, but both have the two
parts, and the function is the same: W. Shi et al., "Is the deconvolution layer the same as a convolutional layer?",
2016. Output pixel s*j + f, for phase f in 0..s-1, sums over inputs j + d with the weight at k = f + p - s*d.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from onnx import AttributeProto, NodeProto, helper

from pose_calibration.placement.graph import Draft, Graph, attribute, name_of, renamed
from pose_calibration.placement.operators import operands, result_of
from pose_calibration.placement.scales import FloatArray
from pose_calibration.plan import Plan


class Axis(Struct, frozen=True):
    """One axis of such a convolution: kernel size, padding before and after, the offset d of the kernel's first tap."""

    kernel: int
    before: int
    after: int
    first: int


def subpixel(graph: Graph, plan: Plan, chosen: Collection[str]) -> tuple[Graph, Plan]:
    """The graph with every chosen ConvTranspose so written where that can be, and the plan for it.

    The activation behind it moves in front of the new layout, where convolutions are fused with it; the result keeps
    its name. Ones with dilation, unequal strides or sizes that are no multiple of the stride stay as they are.
    """
    found = {
        name: axes
        for name in chosen
        if graph.nodes[name].op_type == "ConvTranspose" and (axes := _axes(graph, graph.nodes[name])) is not None
    }
    if not found:
        return graph, plan
    draft = Draft(graph)
    draft.constants.update(graph.constants)
    names: dict[str, str] = {}
    ranges = dict(plan.ranges)
    moved: dict[str, str] = {}  # tensor between the ConvTranspose and its result -> the same before the layout
    results = {result_of(graph, graph.nodes[name]): name for name in found}
    activations = {name for end, start in results.items() for name in _tail(graph, start, end)}
    for name, node in graph.nodes.items():
        if name in found:
            names[name] = moved[name] = _convolution(graph, draft, node, found[name])
        elif name in activations:
            moved[name] = draft.fresh(f"{name}/phases")
            draft.nodes.append(renamed(node, [moved[node.input[0]], *node.input[1:]], [moved[name]]))
        else:
            draft.nodes.append(node)
        if name in results:
            stride = _strides(graph.nodes[results[name]])
            draft.nodes.append(
                helper.make_node("DepthToSpace", [moved[name]], [name], f"{name}/pixels", blocksize=stride, mode="CRD")
            )
            if name in ranges:
                ranges[moved[name]] = ranges[name]
    return Graph(draft.model()), replace(plan, int8=tuple(names.get(name, name) for name in plan.int8), ranges=ranges)


def _tail(graph: Graph, start: str, end: str) -> list[str]:
    """Names of the nodes behind `start` up to `end`."""
    found = []
    while end != start:
        found.append(end)
        end = graph.nodes[end].input[0]
    return found


def _convolution(graph: Graph, draft: Draft, node: NodeProto, axes: tuple[Axis, Axis]) -> str:
    """Append the convolution; its output channel c * s^2 + fy * s + fx is phase (fy, fx) of channel c."""
    source = node.input[1]
    stride, pads = _strides(node), _ints(node, "pads", [0] * 4)
    group = attribute(node, "group", 1)
    weights = draft.constant(
        f"{source}/phases", phase_weights(graph.array(source), stride, (pads[0], pads[1]), axes, group)
    )
    inputs = [node.input[0], weights]
    if len(node.input) > 2 and node.input[2]:
        inputs.append(draft.constant(f"{node.input[2]}/phases", np.repeat(graph.array(node.input[2]), stride**2)))
    vertical, horizontal = axes
    name = draft.fresh(f"{name_of(node)}/phases")
    draft.nodes.append(
        helper.make_node(
            "Conv",
            inputs,
            [name],
            node.name or name,
            group=group,
            kernel_shape=[vertical.kernel, horizontal.kernel],
            pads=[vertical.before, horizontal.before, vertical.after, horizontal.after],
        )
    )
    return name


def phase_weights(
    weights: FloatArray, stride: int, pads: tuple[int, int], axes: tuple[Axis, Axis], group: int
) -> FloatArray:
    """Weights (C_in, C_out / groups, kH, kW) as (C_out * s^2, C_in / groups, ...) of the convolution."""
    inputs, outputs = weights.shape[:2]
    vertical, horizontal = axes
    new = np.zeros(
        (group, outputs, stride, stride, inputs // group, vertical.kernel, horizontal.kernel), dtype=np.float32
    )
    grouped = weights.reshape(group, inputs // group, outputs, *weights.shape[2:])
    for at_y in range(vertical.kernel):
        for at_x in range(horizontal.kernel):
            for phase_y in range(stride):
                for phase_x in range(stride):
                    y = phase_y + pads[0] - stride * (at_y + vertical.first)
                    x = phase_x + pads[1] - stride * (at_x + horizontal.first)
                    if 0 <= y < weights.shape[2] and 0 <= x < weights.shape[3]:
                        new[:, :, phase_y, phase_x, :, at_y, at_x] = grouped[..., y, x].transpose(0, 2, 1)
    return new.reshape(-1, *new.shape[4:])


def _axes(graph: Graph, node: NodeProto) -> tuple[Axis, Axis] | None:
    """Both axes, where the node can be rewritten."""
    assert operands(graph, node) is not None
    dims = list(graph.constants[node.input[1]].dims)
    strides = _ints(node, "strides", [1, 1])
    known = {"kernel_shape", "strides", "pads", "output_padding", "group", "dilations", "auto_pad"}
    if (
        len(dims) != 4
        or strides[0] != strides[1]
        or any(dilation != 1 for dilation in _ints(node, "dilations", [1, 1]))
        or any(a.name not in known or (a.name == "auto_pad" and a.s != b"NOTSET") for a in node.attribute)
    ):
        return None
    pads, extra = _ints(node, "pads", [0] * 4), _ints(node, "output_padding", [0, 0])
    vertical, horizontal = (_axis(dims[2 + i], strides[0], pads[i], pads[i + 2], extra[i]) for i in range(2))
    return None if vertical is None or horizontal is None else (vertical, horizontal)


def _axis(kernel: int, stride: int, before: int, after: int, extra: int) -> Axis | None:
    """One axis; None where the output's size is no multiple of the stride or the padding would be negative."""
    surplus = kernel - before - after + extra  # output size = stride * (input size - 1) + surplus
    first = -((kernel - 1 - before) // stride)
    size = (stride - 1 + before) // stride - first + 1
    pad_after = surplus // stride - 1 + first + size - 1
    return None if surplus % stride or first > 0 or pad_after < 0 else Axis(size, -first, pad_after, first)


def _strides(node: NodeProto) -> int:
    return _ints(node, "strides", [1, 1])[0]


def _ints(node: NodeProto, name: str, default: list[int]) -> list[int]:
    found: AttributeProto | None = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else list(found.ints)
