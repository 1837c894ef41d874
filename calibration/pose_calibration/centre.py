"""Take off the means that a normalisation takes off anyway.

InstanceNormalization subtracts each channel's mean over the picture (Ulyanov et al., 2016, equation 2): a constant in
front of it changes nothing. In trained networks these constants differ from channel to channel and are often several
times as large as what varies, so that one scale for all channels spends most of its steps on them.
"""

from __future__ import annotations

import numpy as np
import onnx

from pose_calibration.passes import BUDGET_BYTES, Inputs, Passes
from pose_calibration.placement.biases import takes_bias, with_added
from pose_calibration.placement.graph import Graph
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
    return with_added(graph, {name: -mean for name, mean in means.items()}, "centred")


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
    readers = graph.readers.get(name, [])
    return (
        takes_bias(graph, graph.nodes[name])
        and name not in graph.outputs
        and bool(readers)
        and all(graph.nodes[reader].op_type == "InstanceNormalization" for reader in readers)
    )
