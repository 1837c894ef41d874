"""Take off the means that a normalisation takes off anyway.

InstanceNormalization subtracts each channel's mean over the picture (Ulyanov et al., 2016, equation 2): a constant in
front of it changes nothing. In trained networks these constants differ from channel to channel and are often several
times as large as what varies, so that one scale for all channels spends most of its steps on them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pose_calibration.passes import BUDGET_BYTES, Inputs, Passes
from pose_calibration.placement.graph import Graph, free_name, name_of
from pose_calibration.placement.operators import operands
from pose_calibration.placement.prepared import prepared
from pose_runtime.arrays import Float64Array


def centred(model: onnx.ModelProto, inputs: Inputs, *, budget_bytes: int = BUDGET_BYTES) -> onnx.ModelProto:
    """The network with the biases of convolutions that only InstanceNormalization reads less their channels' means.

    Args:
        model: the FP32 graph; it is not changed.
        inputs: of the network, over which the means are taken.
        budget_bytes: of activations that one run gives out.

    Returns:
        The same function but for rounding, at the opset that placement works on.

    Raises:
        CalibrationError: no inputs.
        EngineError: ONNX Runtime cannot run the graph.
    """
    graph = Graph(prepared(model))
    means = _means(graph, inputs, budget_bytes)
    new = onnx.ModelProto()
    new.CopyFrom(graph.model)
    taken = {*graph.inputs, *graph.constants, *graph.producers}
    for node in new.graph.node:
        if name_of(node) not in means:
            continue
        bias = -means[name_of(node)]
        if len(node.input) > 2 and node.input[2]:
            bias = bias + graph.array(node.input[2])
        name = free_name(f"{name_of(node)}/centred", taken)
        new.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        del node.input[2:]
        node.input.append(name)
    return new


def _means(graph: Graph, inputs: Inputs, budget_bytes: int) -> dict[str, Float64Array]:
    """float64 (C,) of each such convolution, over all pictures."""
    names = [name for name in graph.nodes if _is_normalised(graph, name)]
    if not names:
        return {}
    sums: dict[str, Float64Array] = {}
    passes = Passes(bytes(graph.model.SerializeToString()), names, inputs, budget_bytes=budget_bytes)
    for group in passes.groups:
        for _, tensors in passes.run(group):
            for name, values in tensors.items():
                mean = values.mean(axis=(0, *range(2, values.ndim)), dtype=np.float64)
                sums[name] = sums.get(name, np.zeros_like(mean)) + mean
    return {name: total / passes.survey.count for name, total in sums.items()}


def _is_normalised(graph: Graph, name: str) -> bool:
    """Whether a convolution's constant bias shows nowhere."""
    node, readers = graph.nodes[name], graph.readers.get(name, [])
    bias = node.input[2] if len(node.input) > 2 else ""
    return (
        node.op_type == "Conv"
        and operands(graph, node) == (0, 1)
        and (not bias or bias in graph.constants)
        and name not in graph.outputs
        and bool(readers)
        and all(graph.nodes[reader].op_type == "InstanceNormalization" for reader in readers)
    )
