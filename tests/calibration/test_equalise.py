"""Channels divided by powers of two: the same outputs to the last bit, and channels that reach alike."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pose_calibration.equalise import channel_reach, cut, equalised, exponents, read_by_weights
from pose_runtime.arrays import AnyArray
from pose_runtime.networks import bundle_path


def run(model: onnx.ModelProto, x: AnyArray) -> list[AnyArray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def network(middle: list[onnx.NodeProto], *, channels: int = 8, last: str = "m", groups: int = 1) -> onnx.ModelProto:
    """conv a (3 to channels) and Relu r; `middle`, which makes `last`; conv b (to 4), the output."""
    random = np.random.default_rng(3)
    wild = np.ldexp(1.0, random.integers(-5, 6, channels))[:, None, None, None]  # channels of very different reach
    weights = {
        "wa": random.normal(0, 0.3, (channels, 3, 3, 3)) * wild,
        "ba": random.normal(0, 0.3, channels) * wild[:, 0, 0, 0],
        "wd": random.normal(0, 0.3, (channels, channels // groups, 3, 3)),
        "wt": random.normal(0, 0.3, (channels, channels, 2, 2)),
        "wb": random.normal(0, 0.3, (4, channels, 1, 1)),
        "shelf": random.normal(0, 1, (1, channels, 12, 12)),
        "zero": np.float32(0),
        "six": np.float32(6),
        "scales": np.array([1, 1, 2, 2]),
        "wc": random.normal(0, 0.3, (4, 2 * channels, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "wa", "ba"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        *middle,
        helper.make_node("Conv", [last, "wc" if last == "cat" else "wb"], ["out"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 12, 12])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, None, None])
    used = {name for node in nodes for name in node.input}
    stored = [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items() if n in used]
    graph = helper.make_graph(nodes, "net", [image], [out], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def conv(source: str, out: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "wd"], [out], pads=[1] * 4, **attributes)


IMAGES = [np.random.default_rng(i).normal(0, 1, (1, 3, 12, 12)).astype(np.float32) for i in range(3)]

MIDDLES = {
    "straight": [conv("r", "m")],
    "residual": [conv("r", "d"), helper.make_node("Add", ["d", "r"], ["s"]), helper.make_node("Relu", ["s"], ["m"])],
    "concat": [conv("r", "d"), helper.make_node("Concat", ["r", "d"], ["cat"], axis=1)],
    "pool": [helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2])],
    "deconv": [helper.make_node("ConvTranspose", ["r", "wt"], ["m"], strides=[2, 2])],
}


@pytest.mark.parametrize("kind", MIDDLES)
def test_the_outputs_stay_and_channels_reach_alike(kind: str) -> None:
    model = network(MIDDLES[kind], last="cat" if kind == "concat" else "m")
    tensors = read_by_weights(model)
    reach = channel_reach(model.SerializeToString(), tensors, IMAGES, threads=1)
    chosen = exponents(model, reach, balance=1.0)
    assert chosen
    new = equalised(model, chosen)
    for x in IMAGES:
        assert all(np.array_equal(a, b) for a, b in zip(run(model, x), run(new, x), strict=True))
    after = channel_reach(new.SerializeToString(), tensors, IMAGES, threads=1)

    def spread(values: AnyArray) -> float:
        return float(np.std(np.log2(np.maximum(values, 1e-9))))

    if kind != "residual":  # there the sum's channels reach alike from the start, and r must follow them
        uneven = "m" if kind == "pool" else "r"
        assert spread(after[uneven]) < 0.5 * spread(reach[uneven])


@pytest.mark.parametrize(
    "middle",
    [
        [helper.make_node("Sigmoid", ["r"], ["m"])],
        [helper.make_node("Clip", ["r", "zero", "six"], ["m"])],
        [helper.make_node("Resize", ["r", "", "scales"], ["m"], mode="cubic")],
    ],
)
def test_what_lets_no_factor_through_stays_as_it_is(middle: list[onnx.NodeProto]) -> None:
    model = network(middle)
    reach = channel_reach(model.SerializeToString(), read_by_weights(model), IMAGES, threads=1)
    assert exponents(model, reach, balance=1.0) == {}


@pytest.mark.parametrize("kind", ["concat", "relu"])
def test_constants_among_the_activations(kind: str) -> None:
    if kind == "concat":
        model = network([helper.make_node("Concat", ["r", "shelf"], ["cat"], axis=1)], last="cat")
    else:
        model = network([helper.make_node("Relu", ["shelf"], ["p"]), helper.make_node("Add", ["r", "p"], ["m"])])
    reach = channel_reach(model.SerializeToString(), read_by_weights(model), IMAGES, threads=1)
    new = equalised(model, exponents(model, reach, balance=1.0))
    assert all(np.array_equal(a, b) for a, b in zip(run(model, IMAGES[0]), run(new, IMAGES[0]), strict=True))


def test_an_output_inside_keeps_its_values() -> None:
    model = network(MIDDLES["straight"])
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 8, 12, 12]))
    reach = channel_reach(model.SerializeToString(), read_by_weights(model), IMAGES, threads=1)
    chosen = exponents(model, reach, balance=1.0)
    assert "r" not in chosen
    new = equalised(model, chosen)
    assert all(np.array_equal(a, b) for a, b in zip(run(model, IMAGES[0]), run(new, IMAGES[0]), strict=True))


def test_depthwise_and_grouped_convolutions() -> None:
    for groups in (2, 8):
        model = network([conv("r", "m", group=groups)], groups=groups)
        reach = channel_reach(model.SerializeToString(), read_by_weights(model), IMAGES, threads=1)
        chosen = exponents(model, reach, balance=1.0)
        assert "r" in chosen
        new = equalised(model, chosen)
        assert all(np.array_equal(a, b) for a, b in zip(run(model, IMAGES[0]), run(new, IMAGES[0]), strict=True))


def test_dead_channels_are_left_alone() -> None:
    model = network(MIDDLES["straight"])
    reach = {name: np.zeros(len(values)) for name, values in _reach(model).items()}
    assert exponents(model, reach) == {}


def test_without_balance_only_weights_count() -> None:
    model = network(MIDDLES["straight"])
    reach = _reach(model)
    tame = {name: np.ones(len(values)) for name, values in reach.items()}
    assert exponents(model, reach, balance=0.0) == exponents(model, tame, balance=0.0)


def _reach(model: onnx.ModelProto) -> dict[str, AnyArray]:
    return dict(channel_reach(model.SerializeToString(), read_by_weights(model), IMAGES, threads=1))


def test_a_bundled_network() -> None:
    model = onnx.load(bundle_path("lightweight-tiny") / "reference.onnx")
    inputs = [np.random.default_rng(i).normal(0, 1, (1, 3, 320, 320)).astype(np.float32) for i in range(2)]
    reach = channel_reach(model.SerializeToString(), read_by_weights(model), inputs, threads=1)
    new = equalised(model, exponents(model, reach))
    assert all(np.array_equal(a, b) for a, b in zip(run(model, inputs[0]), run(new, inputs[0]), strict=True))


def test_behind_a_relu6_channels_grow_as_far_as_it_does_not_cut_them() -> None:
    model = network([helper.make_node("Clip", ["r", "zero", "six"], ["m"])])
    graph = model.SerializeToString()
    reach = channel_reach(graph, read_by_weights(model), IMAGES, threads=1)
    assert cut(model) == {"m": 6.0}
    assert exponents(model, reach) == {}
    peaks = channel_reach(graph, tuple(cut(model)), IMAGES, threads=1, quantile=1)
    chosen = exponents(model, reach, peaks, balance=1.0)
    e = np.array(chosen["m"])
    assert (e <= 0).all()
    assert (e[peaks["m"] > 3] == 0).all()
    small = peaks["m"] < 1
    assert small.any()
    assert (e[small] < 0).all()
    assert (2 * np.ldexp(peaks["m"], -e)[e < 0] <= 6).all()
    new = equalised(model, chosen)
    for x in IMAGES:
        assert all(np.array_equal(a, b) for a, b in zip(run(model, x), run(new, x), strict=True))


def test_other_bounds_are_no_relu() -> None:
    assert cut(network([helper.make_node("Clip", ["r", "six"], ["m"])])) == {}
    assert cut(network([helper.make_node("Clip", ["r", "six", "six"], ["m"])])) == {}
    assert cut(network([helper.make_node("Clip", ["r", "", "six"], ["m"])])) == {}
