from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pose_calibration.collect import collect
from pose_calibration.overflow import LIMIT, overflowing, watched
from pose_calibration.placement import fp16_graph

IMAGES = [np.random.default_rng(i).normal(0, 1, (1, 3, 8, 8)).astype(np.float32) for i in range(2)]


def network(large: float) -> onnx.ModelProto:
    """conv a, Relu r, conv b whose results reach `large`, Clip k, conv c back to small numbers."""
    random = np.random.default_rng(2)
    weights = {
        "wa": random.normal(0, 0.3, (4, 3, 1, 1)),
        "wb": random.uniform(0.5, 1.0, (4, 4, 1, 1)) * large,
        "wc": random.normal(0, 0.3, (2, 4, 1, 1)) / large,
        "low": np.array(0.0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "wa"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "wb"], ["b"]),
        helper.make_node("Clip", ["b", "low"], ["k"]),
        helper.make_node("Conv", ["k", "wc"], ["out"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 8, 8])
    stored = [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "net", [image], [out], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def found(model: onnx.ModelProto) -> tuple[str, ...]:
    histograms = collect(model.SerializeToString(), watched(model), IMAGES, threads=1)
    return overflowing(model, {name: (h.low, h.high) for name, h in histograms.items()})


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": IMAGES[0]})[0])


def test_results_are_watched_after_the_activation_that_cuts_them() -> None:
    assert watched(network(1.0)) == ("image", "r", "k", "out")


def test_small_numbers_overflow_nowhere() -> None:
    assert found(network(1.0)) == ()


def test_what_makes_and_reads_large_numbers_stays_fp32() -> None:
    model = network(LIMIT)
    fp32 = found(model)
    assert set(fp32) == {"b", "k", "out"}
    typed = fp16_graph(model, fp32)
    got, wanted = run(typed), run(model)
    assert np.isfinite(got).all()
    assert np.abs(got - wanted).max() < 0.01 * np.abs(wanted).max()


def test_without_that_the_numbers_break() -> None:
    with pytest.raises(Exception, match="overflow"):
        fp16_graph(network(4 * LIMIT))


def test_a_constant_that_is_too_large() -> None:
    assert "b" in overflowing(network(4 * LIMIT), {})
