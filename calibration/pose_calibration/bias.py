"""Biases that take back what rounding the weights shifts.

Rounded weights give each output channel an error with a mean of its own, for what they multiply has one behind a ReLU:
M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2. They
take off the mean of the error; here it is its median over each picture, averaged over the pictures, for pose networks
make activations of ten times the usual size in regions where nobody is, which rule a mean.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from pose_calibration.passes import BUDGET_BYTES, Inputs, Passes
from pose_calibration.placement.biases import takes_bias
from pose_calibration.placement.graph import Graph, free_name, renamed
from pose_calibration.placement.prepared import prepared
from pose_calibration.placement.scales import half_scale, quantised_weights, weight_scales
from pose_runtime.arrays import AnyArray, Float64Array

Shifts = dict[str, tuple[float, ...]]
"""Convolution -> what its bias gains per output channel where its weights are INT8."""


def shifts(model: onnx.ModelProto, inputs: Inputs, *, budget_bytes: int = BUDGET_BYTES) -> Shifts:
    """What the biases of all convolutions with constant weights have to gain.

    Args:
        model: the FP32 graph, its channels equalised if they are to be.
        inputs: of the network.
        budget_bytes: of the errors that one run gives out.

    Raises:
        CalibrationError: no inputs.
        EngineError: ONNX Runtime cannot run the graph.
    """
    graph = Graph(prepared(model))
    data, errors = _with_errors(graph)
    sums: dict[str, Float64Array] = {}
    passes = Passes(data, tuple(errors), inputs, budget_bytes=budget_bytes)
    for group in passes.groups:
        for _, tensors in passes.run(group):
            for tensor, values in tensors.items():
                middle = np.median(values, axis=(0, *range(2, values.ndim))).astype(np.float64)
                sums[errors[tensor]] = sums.get(errors[tensor], np.zeros_like(middle)) + middle
    return {name: tuple((total / passes.survey.count).tolist()) for name, total in sums.items()}


def _with_errors(graph: Graph) -> tuple[bytes, dict[str, str]]:
    """The model with, beside each convolution, one by what rounding takes from its weights; error tensor -> node."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    taken = {*graph.inputs, *graph.constants, *graph.producers}
    errors: dict[str, str] = {}
    for name, node in graph.nodes.items():
        if not takes_bias(graph, node) or graph.constants[node.input[1]].data_type != TensorProto.FLOAT:
            continue
        lost, error = free_name(f"{name}/lost", taken), free_name(f"{name}/error", taken)
        model.graph.initializer.append(numpy_helper.from_array(_lost(graph.array(node.input[1])), lost))
        beside = renamed(node, [node.input[0], lost], [error])
        beside.name = error
        model.graph.node.append(beside)
        errors[error] = name
    return bytes(model.SerializeToString()), errors


def _lost(weights: AnyArray) -> AnyArray:
    """Weights (C_out, ...) less what INT8 makes of them, float32."""
    scales = half_scale(weight_scales(weights, 0))
    whole = quantised_weights(weights, scales, 0).astype(np.float32)
    return np.asarray(weights - whole * scales.reshape(-1, *[1] * (weights.ndim - 1)), np.float32)
