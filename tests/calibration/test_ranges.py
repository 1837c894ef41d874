"""Ranges of a network that comes with jetpose, on the scenes that come with it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from pose_calibration.collect import collect
from pose_calibration.histogram import Histogram
from pose_calibration.inputs import NetworkInputs
from pose_calibration.limits import METHODS, limits
from pose_calibration.pictures import bundled_scenes, open_pictures
from pose_runtime.bundle import load_bundle

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network() -> tuple[bytes, list[str], NetworkInputs]:
    """lightweight-tiny, the inputs of its convolutions, and four scenes."""
    bundle = load_bundle("lightweight-tiny")
    graph = bundle.graph_bytes("reference")
    nodes = onnx.load_model_from_string(graph).graph.node
    tensors = list(dict.fromkeys(node.input[0] for node in nodes if node.op_type == "Conv"))
    pictures = open_pictures(bundled_scenes()[0], count=4, seed=1)
    return graph, tensors, NetworkInputs(pictures, bundle.manifest.input)


@pytest.fixture(scope="module")
def collected(network: tuple[bytes, list[str], NetworkInputs]) -> dict[str, Histogram]:
    return collect(*network, budget_bytes=16 << 20, threads=1)


@pytest.fixture(scope="module")
def values(network: tuple[bytes, list[str], NetworkInputs]) -> Arrays:
    """All that the tensors hold for the last scene."""
    graph, tensors, inputs = network
    model = onnx.load_model_from_string(graph)
    del model.graph.output[:]
    name = model.graph.input[0].name
    inner = [tensor for tensor in tensors if tensor != name]
    model.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in inner)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    *_, last = inputs
    return {name: last} | dict(zip(inner, session.run(inner, {name: last}), strict=True))


def test_every_value_is_counted(
    network: tuple[bytes, list[str], NetworkInputs], collected: dict[str, Histogram], values: Arrays
) -> None:
    assert list(collected) == network[1]
    assert len(collected) > 30
    for name, histogram in collected.items():
        assert histogram.total == 4 * values[name].size
        spread = histogram.high - histogram.low
        assert histogram.low <= values[name].min() + 1e-5 * spread  # other fusions round differently
        assert histogram.high >= values[name].max() - 1e-5 * spread


def noise(array: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of symmetric int8 with that range, over the mean square."""
    step = max(-low, high) / 127
    rounded = step * np.clip(np.rint(array.astype(np.float64) / step), -127, 127)
    return float(((array - np.clip(rounded, low, high)) ** 2).mean() / (array.astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
def test_ranges_are_fit_for_8_bits(method: str, collected: dict[str, Histogram], values: Arrays) -> None:
    for name, histogram in collected.items():
        low, high = limits(histogram, method)  # type: ignore[arg-type]
        assert histogram.low <= low <= 0 <= high <= max(histogram.high, 0) or histogram.low > 0
        assert noise(values[name], low, high) < (0.2 if method == "entropy" else 0.05)


def test_mse_has_the_least_noise_on_what_it_has_seen(collected: dict[str, Histogram], values: Arrays) -> None:
    name = list(collected)[-1]
    single = Histogram()
    single.add(values[name])
    by = {method: noise(values[name], *limits(single, method)) for method in METHODS}
    assert by["mse"] <= 1.02 * min(by.values())
