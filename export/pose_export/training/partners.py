"""Which step of a PyTorch network computes a tensor of its ONNX graph: the one with the same values.

Names do not tell: the exporter makes its own, and batch norms are folded. So both run on the same random picture, and
what comes out of each step is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, helper
from torch import fx, nn

from pose_runtime.arrays import AnyArray
from pose_runtime.errors import ExportError

TOLERANCE = 1e-4
"""Largest difference between two values that are the same, as a share of the tensor's largest value."""


class Partners:
    """The steps of one traced network by their values.

    Args:
        network: in evaluation mode.
        graph: `torch.fx`'s, of that network.
        model: exported from it, any graph with one input of one picture.
        tensors: of the model, those that will be looked up.
    """

    def __init__(self, network: nn.Module, graph: fx.Graph, model: ModelProto, tensors: Sequence[str]) -> None:
        (value,) = model.graph.input
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self._wanted = values_of(model, list(dict.fromkeys(tensors)), {value.name: x})
        recorder = _Recorder(network, graph)
        with torch.inference_mode():
            recorder.run(torch.from_numpy(x))
        self._by_shape: dict[tuple[int, ...], list[tuple[fx.Node, AnyArray]]] = {}
        for node, array in recorder.values.items():
            self._by_shape.setdefault(array.shape, []).append((node, array))

    def of(self, tensor: str) -> list[fx.Node]:
        """All steps with the tensor's values, in the order that they run; ExportError where there is none."""
        wanted = self._wanted[tensor]
        allowed = TOLERANCE * max(float(np.abs(wanted).max(initial=0)), float(np.finfo(np.float32).tiny))
        found = [
            node for node, array in self._by_shape.get(wanted.shape, ()) if np.abs(array - wanted).max() <= allowed
        ]
        if not found:
            raise ExportError(f"the plan rounds {tensor[:200]!r}, which no step of the PyTorch network computes")
        return found


class _Recorder(fx.Interpreter):
    """Keeps a copy of every float tensor, since the next step may work in place."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.values: dict[fx.Node, AnyArray] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.values[n] = result.detach().clone().numpy()
        return result


def values_of(model: ModelProto, tensors: list[str], feed: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """The values of some tensors anywhere in a model; inputs may be among them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    inner = [name for name in tensors if name not in feed]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {**feed, **dict(zip(inner, session.run(inner, feed), strict=True))} if inner else dict(feed)
