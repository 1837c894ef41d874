"""Tiny ONNX networks that are built in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = list[int | str]


def heatmap_net(*, channels: int = 3, dims: Dims | None = None, stride: int = 4, outputs: int = 1) -> onnx.ModelProto:
    """A strided convolution (8 x 8 kernel) of an image: `channels` maps at 1/stride, then Relu; input `image`."""
    random = np.random.default_rng(5)
    dims = dims or [1, 3, 32, 48]
    nodes, values, weights = [], [], []
    for i in range(outputs):
        weight = random.normal(0, 0.05, (channels, 3, 8, 8)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        half = (8 - stride) // 2
        nodes.append(
            helper.make_node(
                "Conv", ["image", f"w{i}"], [f"c{i}"], strides=[stride] * 2, pads=[half] * 4, kernel_shape=[8, 8]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"maps{i}"]))
        shape = [dims[0], channels, *(n // stride if isinstance(n, int) else f"{n}_{i}" for n in dims[2:])]
        values.append(helper.make_tensor_value_info(f"maps{i}", TensorProto.FLOAT, shape))
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("image", TensorProto.FLOAT, dims)], values, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write it."""
    path.write_bytes(model.SerializeToString())
    return path


def maps_net(image: str, size_hw: tuple[int, int], stride: int, channels: dict[str, int]) -> onnx.ModelProto:
    """One strided convolution per named output, as a published graph names them; input (1, 3, H, W) `image`."""
    random = np.random.default_rng(6)
    height, width = size_hw
    nodes, values, weights = [], [], []
    for name, count in channels.items():
        weight = random.normal(0, 0.02, (count, 3, stride, stride)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"{name}.w"))
        nodes.append(helper.make_node("Conv", [image, f"{name}.w"], [name], strides=[stride] * 2))
        shape = [1, count, height // stride, width // stride]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    inputs = [helper.make_tensor_value_info(image, TensorProto.FLOAT, [1, 3, height, width])]
    graph = helper.make_graph(nodes, "maps", inputs, values, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
