"""Equalise channels: the same network in floating point, with values that one scale per tensor fits better.

In trained networks a few channels of a tensor often reach ten times as far as the others, and one INT8 scale per tensor
then leaves those others a few steps. Between two weighted nodes a channel's values may be divided by any factor if the
weights that read it are multiplied by the same, and ReLU, addition, concatenation and resizing let factors pass:
M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1, here
with measured activations in the place of weights on the producing side (as G. Xiao et al., "SmoothQuant", ICML 2023,
equation 4), and over residual connections. Factors are powers of two, so nothing is rounded: the outputs stay the same
to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from pose_calibration.passes import BUDGET_BYTES, Inputs, Passes
from pose_calibration.placement.graph import Graph, attribute, free_name, name_of, text
from pose_calibration.placement.operators import operands
from pose_calibration.placement.prepared import prepared
from pose_runtime.arrays import AnyArray, Float64Array, IntArray

MOST = 6
"""Exponents are at most this, up and down: a factor of 64."""

_MARGIN = 2.0
"""Times the largest value that calibration saw of a channel: what a bound has to let through."""

Exponents = dict[str, tuple[int, ...]]
"""Tensor -> exponent e per channel: the equalised tensor holds x / 2^e."""

_WEIGHTED = ("Conv", "ConvTranspose")
_PASS = frozenset(("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Resize"))
"""Let a positive factor of a channel through."""


def channel_reach(
    graph: bytes,
    tensors: Sequence[str],
    inputs: Inputs,
    *,
    budget_bytes: int = BUDGET_BYTES,
    threads: int | None = None,
    quantile: float = 0.5,
) -> dict[str, Float64Array]:
    """How far each channel of tensors (N, C, H, W) usually reaches: float64 (C,), median over the inputs of max |x|.

    Args:
        graph, tensors, inputs, budget_bytes, threads: as in `collect.collect`.
        quantile: other than the median; 1 for the largest of all inputs.
    """
    passes = Passes(graph, tensors, inputs, budget_bytes=budget_bytes, threads=threads)
    reach: dict[str, Float64Array] = {}
    for group in passes.groups:
        peaks: dict[str, list[AnyArray]] = {name: [] for name in group}
        for _, values in passes.run(group):
            for name, array in values.items():
                peaks[name].append(np.abs(array).max(axis=(0, *range(2, array.ndim))))
        reach |= {name: np.quantile(np.array(rows, np.float64), quantile, axis=0) for name, rows in peaks.items()}
    return reach


def read_by_weights(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors whose channels `exponents` wants to know about."""
    graph = Graph(prepared(model))
    nodes = (node for node in graph.nodes.values() if _weighs(graph, node))
    return tuple(dict.fromkeys(node.input[0] for node in nodes))


def _weighs(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is a convolution of an activation with constant weights."""
    return node.op_type in _WEIGHTED and operands(graph, node) == (0, 1)


def cut(model: onnx.ModelProto) -> dict[str, float]:
    """What comes out of a ReLU with an upper bound, and that bound."""
    graph = Graph(prepared(model))
    bounds = {name: _bound(graph, node) for name, node in graph.nodes.items()}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def exponents(
    model: onnx.ModelProto,
    reach: Mapping[str, Float64Array],
    peaks: Mapping[str, Float64Array] | None = None,
    *,
    balance: float = 0.5,
) -> Exponents:
    """Choose the factors.

    Behind a ReLU6 a channel may grow as long as twice its largest value stays below the bound, which then cuts what
    calibration never saw; it may not shrink, for then the bound would let through what it has to cut.

    Args:
        model: the FP32 graph.
        reach: of the tensors in `read_by_weights`, see `channel_reach`.
        peaks: of those in `cut`, the largest over all inputs; without them their channels stay as they are.
        balance: 0 leaves activations as they are, 1 makes all their channels reach equally far, between them the
            weights' spread is kept in check as well.

    Returns:
        Exponents for every tensor that has other than zeros.
    """
    graph = Graph(prepared(model))
    groups = _Groups(graph, frozenset(peaks or ()))
    extent = np.zeros(groups.count)
    column = np.zeros(groups.count)
    for node in graph.nodes.values():
        if not _weighs(graph, node):
            continue
        labels = groups.roots(node.input[0])
        channels = reach[node.input[0]]
        np.maximum.at(extent, labels, channels / max(float(channels.max()), 1e-30))
        np.maximum.at(column, labels, _columns(graph, node))
    live = groups.free & (extent > 0) & (column > 0)
    wanted = np.zeros(groups.count)
    wanted[live] = balance * np.log2(extent[live]) - (1 - balance) * np.log2(column[live])
    lowest, highest = np.full(groups.count, -MOST), np.full(groups.count, MOST)
    for tensor, largest in (peaks or {}).items():
        labels = groups.roots(tensor)
        bound = _bound(graph, graph.nodes[tensor])
        assert bound is not None
        room = np.ceil(np.log2(np.maximum(_MARGIN * largest, bound / 2**MOST) / bound)).astype(np.int64)
        np.maximum.at(lowest, labels, np.minimum(room, 0))
        np.minimum.at(highest, labels, 0)
    whole = np.clip(np.rint(wanted).astype(np.int64), lowest, highest)
    chosen = {tensor: whole[groups.roots(tensor)] for tensor in groups.labels}
    return {tensor: tuple(int(e) for e in values) for tensor, values in chosen.items() if values.any()}


def equalised(model: onnx.ModelProto, chosen: Exponents) -> onnx.ModelProto:
    """The network with channels divided by the chosen factors; at the opset that placement works on.

    Args:
        model: the FP32 graph; it is not changed.
        chosen: of `exponents` for this graph.
    """
    graph = Graph(prepared(model))
    new = onnx.ModelProto()
    new.CopyFrom(graph.model)
    stored = {tensor.name: tensor for tensor in new.graph.initializer}
    taken = {*stored, *graph.inputs, *graph.producers}
    for node in new.graph.node:
        if not _weighs(graph, node):
            continue
        before, after = (_factors(chosen.get(name)) for name in (node.input[0], name_of(node)))
        if before is None and after is None:
            continue
        weights = _scaled(graph.array(node.input[1]), node, before, after)
        values = {1: weights}
        if after is not None and len(node.input) > 2 and node.input[2]:
            values[2] = graph.array(node.input[2]) / after
        for place, value in values.items():  # a tensor of its own: others may read the old one
            name = free_name(f"{name_of(node)}/{'weight' if place == 1 else 'bias'}", taken)
            new.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
            node.input[place] = name
    read = {name for node in new.graph.node for name in node.input}
    kept = [tensor for tensor in new.graph.initializer if tensor.name in read]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del new.graph.initializer[:]
    new.graph.initializer.extend(copies)
    return new


def _factors(values: Iterable[int] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.ldexp(np.float32(1), np.array(tuple(values), np.int32))


def _by_channel(weights: AnyArray, node: NodeProto) -> tuple[tuple[int, ...], int, int]:
    """The weights' shape with groups apart, and in it the axes of (group, input) and (group, output) channels."""
    groups = attribute(node, "group", 1)
    a, b = weights.shape[:2]
    return (groups, a // groups, b, *weights.shape[2:]), *((2, 1) if node.op_type == "Conv" else (1, 2))


def _scaled(
    weights: AnyArray, node: NodeProto, before: NDArray[np.float32] | None, after: NDArray[np.float32] | None
) -> AnyArray:
    """Weights times the factors of what they read, over those of what they make."""
    shape, inputs, outputs = _by_channel(weights, node)
    apart = weights.reshape(shape)
    for factors, axis in ((before, inputs), (None if after is None else 1 / after, outputs)):
        if factors is not None:
            place = [1] * len(shape)
            place[0], place[axis] = shape[0], shape[axis]
            apart = apart * factors.reshape(place)
    return np.asarray(apart.reshape(weights.shape))


def _columns(graph: Graph, node: NodeProto) -> Float64Array:
    """float64 (C_in,): how large an input channel's weights are beside the largest of the same output channel."""
    weights = graph.array(node.input[1])
    shape, inputs, outputs = _by_channel(weights, node)
    sizes = np.abs(weights.reshape(shape)).max(axis=tuple(range(3, len(shape)))).astype(np.float64)  # (groups, a, b)
    largest = sizes.max(axis=inputs, keepdims=True)
    relative = np.divide(sizes, largest, out=np.zeros_like(sizes), where=largest > 0)
    return np.asarray(relative.max(axis=outputs).reshape(-1))


def _bound(graph: Graph, node: NodeProto) -> float | None:
    """Where a ReLU with an upper bound cuts; None for any other node."""
    if node.op_type != "Clip" or len(node.input) < 3:
        return None
    low, high = node.input[1:3]
    if low not in graph.constants or high not in graph.constants or float(graph.array(low)) != 0.0:
        return None
    return float(graph.array(high)) or None


class _Groups:
    """Which channels must share a factor: labels per tensor, united where an operator demands it.

    Attributes:
        labels: tensor -> int64 (C,).
        count: of labels.
        free: bool (count,), of roots: whether a factor may be chosen at all.
    """

    def __init__(self, graph: Graph, bounded: frozenset[str] = frozenset()) -> None:
        self._bounded = bounded
        self.labels: dict[str, IntArray] = {}
        self._parent: list[int] = []
        self._fixed: set[int] = set()
        for tensor in graph.inputs:
            self._fix(tensor)
        for node in graph.nodes.values():
            self._node(graph, node)
        for tensor in graph.outputs:
            self._fix(tensor)
        self.count = len(self._parent)
        self.free = np.ones(self.count, bool)
        self.free[[self._root(label) for label in self._fixed]] = False

    def roots(self, tensor: str) -> IntArray:
        """int64 (C,): of a tensor's channels."""
        return np.array([self._root(int(label)) for label in self.labels.get(tensor, ())], np.int64)

    def _node(self, graph: Graph, node: NodeProto) -> None:
        out, data = name_of(node), [name for name in node.input if name and name not in graph.constants]
        if _weighs(graph, node):
            weights, groups = graph.array(node.input[1]), attribute(node, "group", 1)
            self._fresh(out, weights.shape[0] if node.op_type == "Conv" else weights.shape[1] * groups)
            self._meet(node.input[0], weights.shape[1] * groups if node.op_type == "Conv" else weights.shape[0])
        elif self._passes(graph, node) and data and data[0] in self.labels:
            self.labels[out] = self.labels[data[0]]
        elif node.op_type == "Add" and len(data) == 2 and self._alike(data):
            for a, b in zip(*(self.labels[name] for name in data), strict=True):
                self._unite(int(a), int(b))
            self.labels[out] = self.labels[data[0]]
        elif node.op_type == "Concat" and attribute(node, "axis", 1) == 1 and self.labels.keys() >= set(node.input):
            self.labels[out] = np.concatenate([self.labels[name] for name in node.input])
        else:
            for name in data:
                self._fix(name)

    def _passes(self, graph: Graph, node: NodeProto) -> bool:
        if node.op_type == "Clip":
            low, high = ([*node.input[1:], "", ""])[:2]
            relu = not high and low in graph.constants and float(graph.array(low)) == 0.0
            return relu or name_of(node) in self._bounded
        if node.op_type == "Resize":
            return text(node, "mode", "nearest") in ("nearest", "linear")
        return node.op_type in _PASS and len(node.output) == 1

    def _alike(self, names: list[str]) -> bool:
        return all(name in self.labels for name in names) and len({len(self.labels[name]) for name in names}) == 1

    def _fresh(self, tensor: str, channels: int) -> None:
        first = len(self._parent)
        self._parent.extend(range(first, first + channels))
        self.labels[tensor] = np.arange(first, first + channels)

    def _meet(self, tensor: str, channels: int) -> None:
        """A weighted node reads a tensor of so many channels, which may not have been seen: a network's input."""
        if tensor not in self.labels:
            self._fresh(tensor, channels)
            self._fix(tensor)

    def _fix(self, tensor: str) -> None:
        self._fixed.update(int(label) for label in self.labels.get(tensor, ()))

    def _unite(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        self._parent[max(a, b)] = min(a, b)

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label
