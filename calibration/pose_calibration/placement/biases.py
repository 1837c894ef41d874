"""Biases of convolutions, changed in a copy of the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from pose_calibration.placement.graph import Graph, free_name, name_of
from pose_calibration.placement.operators import operands


def takes_bias(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is a convolution with constant weights whose bias, if it has one, is constant too."""
    bias = node.input[2] if len(node.input) > 2 else ""
    return node.op_type == "Conv" and operands(graph, node) == (0, 1) and (not bias or bias in graph.constants)


def with_added(graph: Graph, added: Mapping[str, NDArray[np.floating]], suffix: str) -> onnx.ModelProto:
    """The model with (C_out,) added to the biases of some convolutions, by name; each in a tensor of its own.

    Others may read the old tensor. `suffix` is of the new tensors' names.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    taken = {*graph.inputs, *graph.constants, *graph.producers}
    for node in model.graph.node:
        bias = added.get(name_of(node))
        if bias is None:
            continue
        if len(node.input) > 2 and node.input[2]:
            bias = bias + graph.array(node.input[2])
        name = free_name(f"{name_of(node)}/{suffix}", taken)
        model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        del node.input[2:]
        node.input.append(name)
    return model
