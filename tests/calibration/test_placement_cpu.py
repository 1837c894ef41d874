from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from placing import constant, node, optimised, plan_of, run, small, sqnr
from pose_calibration.placement import cpu_graph, cpu_share, int8_share, tensorrt_graph
from pose_calibration.placement.scales import Ties, asymmetric, half_scale, symmetric


def image(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape or (1, 3, 16, 16)).astype(np.float32)


def kernels(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """What ONNX Runtime runs of a graph."""
    return Counter(n.op_type for n in optimised(model, folder).graph.node)


def integers(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Quantised tensor -> scale and zero point."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    return {n.input[0]: (float(values[n.input[1]]), int(values[n.input[2]])) for n in found}


CONV = {"pads": [1] * 4}
RESIDUAL = small(
    [
        node("Conv", ["x", "w:8,3,3,3", "wb:8"], "a", **CONV),
        node("Relu", ["a"], "t"),
        node("Conv", ["t", "v:8,8,3,3"], "b", **CONV),
        node("Clip", ["b", "low", "high"], "c"),
        node("Conv", ["c", "u:8,8,3,3"], "d", **CONV),
        node("Add", ["d", "t"], "s"),
        node("Relu", ["s"], "r"),
        node("Conv", ["r", "head:4,8,1,1"], "y"),
    ],
    constants=[constant("low", np.float32(0)), constant("high", np.float32(6))],
)


def test_residual_block_is_integer_but_for_its_border(tmp_path: Path) -> None:
    """Q, three convolutions with their activations folded in, DQ; the Add feeds a float head and is one itself."""
    new = cpu_graph(RESIDUAL, plan_of(RESIDUAL, [image()]))
    onnx.checker.check_model(new, full_check=True)
    found = kernels(new, tmp_path)
    assert found["QLinearConv"] == 3
    assert found["Clip"] == 0
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] == 2
    assert set(integers(new)) == {"x", "t", "c", "d"}
    assert sqnr(run(RESIDUAL, image())[0], run(new, image())[0]) > 25


def test_naive_plan_leaves_one_q_and_one_dq(tmp_path: Path) -> None:
    new = cpu_graph(RESIDUAL, plan_of(RESIDUAL, [image()], heads=True))
    found = kernels(new, tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"]) == (4, 1)
    assert (found["QuantizeLinear"], found["DequantizeLinear"], found["Relu"], found["Conv"]) == (1, 1, 0, 0)
    assert [v.name for v in new.graph.output] == ["y"]


def test_clip_is_folded_in_where_nothing_ever_passed_it(tmp_path: Path) -> None:
    """A range of 0 to 0 gets a scale whose integers do not reach past the Clip."""
    plan = plan_of(RESIDUAL, [image()])
    plan.ranges["c"] = (0.0, 0.0)
    found = kernels(cpu_graph(RESIDUAL, plan), tmp_path)
    assert (found["QLinearConv"], found["Clip"]) == (3, 0)


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_a_float_convolution_between_integer_ones_stays_float(kind: str, activation: str, tmp_path: Path) -> None:
    """ONNX Runtime makes INT8 of all that stands between DQ and Q, with one scale: here the channels differ much."""
    weights = np.random.default_rng(0).normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32)
    weights *= np.logspace(-3, 0, 8, dtype=np.float32).reshape((8, 1, 1, 1) if kind == "Conv" else (1, 8, 1, 1))
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "a", **CONV),
            node(kind, ["a", "m", "mb:8"], "b"),
            node(activation, ["b"], "r"),
            node("Conv", ["r", "v:8,8,1,1"], "c"),
            node("Conv", ["c", "head:4,8,1,1"], "y"),
        ],
        constants=[constant("m", weights)],
    )
    new = cpu_graph(model, plan_of(model, [image()], int8=("a", "c")))
    ran = optimised(new, tmp_path).graph
    assert Counter(n.op_type for n in ran.node)["QLinearConv"] == 2
    kept = next(n for n in ran.node if n.op_type in (kind, "FusedConv") and "m" in n.input[1])
    stored = {t.name: numpy_helper.to_array(t) for t in ran.initializer}
    np.testing.assert_array_equal(stored[kept.input[1]], weights)


def test_input_model_is_not_changed_and_stays_fp32() -> None:
    before = RESIDUAL.SerializeToString()
    new = cpu_graph(RESIDUAL, plan_of(RESIDUAL, [image()]))
    assert RESIDUAL.SerializeToString() == before
    assert {t.data_type for t in new.graph.initializer} == {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,  # how much a Pad adds
    }


def test_bias_is_int32_in_units_of_activation_times_weight() -> None:
    plan = plan_of(RESIDUAL, [image()])
    new = cpu_graph(RESIDUAL, plan)
    values = {t.name: numpy_helper.to_array(t) for t in new.graph.initializer}
    nodes = {n.output[0]: n for n in new.graph.node}
    weights, bias = (nodes[name] for name in nodes["a"].input[1:])
    step = integers(new)["x"][0]
    np.testing.assert_array_equal(values[bias.input[1]], values[weights.input[1]] * np.float32(step))
    assert values[bias.input[0]].dtype == np.int32
    wanted = numpy_helper.to_array(next(t for t in RESIDUAL.graph.initializer if t.name == "wb"))
    np.testing.assert_allclose(values[bias.input[0]] * values[bias.input[1]], wanted, atol=step)


def test_bias_of_a_dead_channel_fits_int32() -> None:
    weights = np.random.default_rng(0).normal(0, 0.3, (4, 3, 1, 1)).astype(np.float32)
    weights[1], weights[2] = 1e-12, 0
    model = small(
        [node("Conv", ["x", "w", "b"], "a"), node("Conv", ["a", "head:4,4,1,1"], "y")],
        constants=[constant("w", weights), constant("b", np.float32([1, 2, 3, 0]))],
    )
    new = cpu_graph(model, plan_of(model, [image()]))
    assert sqnr(run(model, image())[0], run(new, image())[0]) > 25


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (-1e-3, 500.0), (0.0, 0.0)])
def test_zero_is_exact(low: float, high: float) -> None:
    scale = asymmetric(low, high)
    assert 0 <= scale.zero_point <= 255
    assert scale.scale * (255 - scale.zero_point) >= high - scale.scale / 2 - 1e-6
    assert -scale.scale * scale.zero_point <= low + scale.scale / 2 + 1e-6
    assert symmetric(low, high).zero_point == 0


def test_half_scales_are_fp16_numbers_within_bounds() -> None:
    got = half_scale(np.float32([0, 1e-8, 6e-5, 0.0123456, 3, 1e9]))
    np.testing.assert_array_equal(got, got.astype(np.float16))
    assert got.min() == 2.0**-14
    assert got.max() * 128 < 65504


def test_ties_are_transitive_and_the_root_counts() -> None:
    ties = Ties()
    ties.tie("a", "b")
    ties.tie("c", "b")
    ranges = {"a": (-1.0, 0.0), "b": (0.0, 5.0), "c": (0.0, 2.0), "d": (0.0, 9.0)}
    assert ties.ranges(["a", "c", "d"], ranges) == {"a": (-1.0, 5.0), "c": (-1.0, 5.0), "d": (0.0, 9.0)}


BETWEEN = {
    "MaxPool": (node("MaxPool", ["a"], "m", kernel_shape=[2, 2], strides=[2, 2]), ()),
    "Resize": (node("Resize", ["a", "", "up"], "m", mode="nearest"), (constant("up", np.float32([1, 1, 2, 2])),)),
    "Concat": (node("Concat", ["a", "a"], "m", axis=1), ()),
    "Transpose": (node("Transpose", ["a"], "m", perm=[0, 1, 3, 2]), ()),
    "Pad": (node("Pad", ["a", "pads"], "m"), (constant("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1])),)),
    "DepthToSpace": (node("DepthToSpace", ["a"], "m", blocksize=2), ()),
    "AveragePool": (node("AveragePool", ["a"], "m", kernel_shape=[2, 2]), ()),
    "GlobalAveragePool": (node("GlobalAveragePool", ["a"], "m"), ()),
    "LeakyRelu": (node("LeakyRelu", ["a"], "m", alpha=0.1), ()),
    "Sigmoid": (node("Sigmoid", ["a"], "m"), ()),
    "Mul": (node("Mul", ["a", "a"], "m"), ()),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_nodes_between_integer_convolutions_stay_integer(name: str, tmp_path: Path) -> None:
    between, constants = BETWEEN[name]
    channels = {"Concat": 16, "DepthToSpace": 2}.get(name, 8)
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "a", **CONV),
            between,
            node("Conv", ["m", f"v:8,{channels},1,1"], "c"),
            node("Conv", ["c", "head:4,8,1,1"], "y"),
        ],
        constants=constants,
    )
    new = cpu_graph(model, plan_of(model, [image()]))
    found = kernels(new, tmp_path)
    assert found["QLinearConv"] == 2
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1), found
    assert sqnr(run(model, image())[0], run(new, image())[0]) > 22


def test_nodes_without_a_kernel_are_float_between_q_and_dq(tmp_path: Path) -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "a", **CONV),
            node("InstanceNormalization", ["a", "s", "b"], "n"),
            node("Relu", ["n"], "r"),
            node("Conv", ["r", "v:8,8,1,1"], "c"),
            node("Conv", ["c", "head:4,8,1,1"], "y"),
        ],
        constants=[constant("s", np.ones(8, np.float32)), constant("b", np.zeros(8, np.float32))],
    )
    new = cpu_graph(model, plan_of(model, [image()]))
    found = kernels(new, tmp_path)
    assert (found["QLinearConv"], found["InstanceNormalization"]) == (2, 1)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (2, 2)
    assert sqnr(run(model, image())[0], run(new, image())[0]) > 25


def test_transposed_convolution(tmp_path: Path) -> None:
    """Stride 2 becomes a convolution; one that cannot stays float, and says the same."""
    for attributes, kind in (({"strides": [2, 2], "pads": [1] * 4}, "QLinearConv"), ({"dilations": [2, 2]}, "Other")):
        model = small(
            [
                node("Conv", ["x", "w:8,3,3,3"], "a", **CONV),
                node("ConvTranspose", ["a", "v:8,6,4,4", "b:6"], "t", **attributes),
                node("Relu", ["t"], "r"),
                node("Conv", ["r", "u:8,6,3,3"], "c", **CONV),
                node("Conv", ["c", "head:4,8,1,1"], "y"),
            ]
        )
        new = cpu_graph(model, plan_of(model, [image()]))
        found = kernels(new, tmp_path)
        assert found["QLinearConv"] == (3 if kind == "QLinearConv" else 2)
        assert found["ConvTranspose"] == (0 if kind == "QLinearConv" else 1)
        plan = plan_of(model, [image()])
        if kind == "QLinearConv":
            assert cpu_share(model, plan) == int8_share(model, plan)
        else:
            assert 0 < cpu_share(model, plan) < int8_share(model, plan)
        assert sqnr(run(model, image())[0], run(new, image())[0]) > 22


@pytest.mark.parametrize("activation", [True, False])
def test_transposed_convolution_that_is_a_head(activation: bool, tmp_path: Path) -> None:
    nodes = [node("ConvTranspose", ["x", "v:4,6,4,4", "b:6"], "t", strides=[2, 2], pads=[1] * 4)]
    model = small(
        [*nodes, node("Relu", ["t"], "r")] if activation else nodes, shape=(1, 4, 8, 8), outputs=["tr"[activation]]
    )
    x = image(1, 4, 8, 8)
    plan = plan_of(model, [x], heads=True)
    for make in (cpu_graph, tensorrt_graph):
        new = make(model, plan)
        onnx.checker.check_model(new, full_check=True)
        assert [v.name for v in new.graph.output] == [v.name for v in model.graph.output]
        assert sqnr(run(model, x)[0], run(new, x)[0]) > 25
    assert kernels(cpu_graph(model, plan), tmp_path)["QLinearConv"] == 1


def test_channels_are_filled_up_to_fours() -> None:
    model = small([node("Conv", ["x", "w:8,3,3,3"], "a", **CONV), node("Conv", ["a", "head:4,8,1,1"], "y")])
    new = cpu_graph(model, plan_of(model, [image()]))
    nodes = {n.output[0]: n for n in new.graph.node}
    values = {t.name: numpy_helper.to_array(t) for t in new.graph.initializer}
    weights = values[nodes[nodes["a"].input[1]].input[0]]
    assert weights.shape == (8, 4, 3, 3)
    assert not weights[:, 3].any()
    pad = next(n for n in new.graph.node if n.op_type == "Pad")
    assert values[pad.input[2]] == integers(new)["x"][1]  # what stands for 0
    assert values[pad.input[2]].dtype == np.uint8


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (node("Gemm", ["x", "w:12,8", "b:12"], "a", transB=1), (4, 8), "QGemm"),
        (node("Gemm", ["x", "w:8,12", "b:12"], "a"), (4, 8), "QGemm"),
        (node("Gemm", ["x", "w:8,12", "b:1,12"], "a"), (4, 8), "QGemm"),
        (node("Gemm", ["x", "w:8,12", "b:1"], "a"), (4, 8), "QGemm"),
        (node("Gemm", ["x", "w:8,12", "b:4,12"], "a"), (4, 8), "Gemm"),  # a bias for each row has no kernel
        (node("MatMul", ["x", "w:8,12"], "a"), (1, 4, 8), "QLinearMatMul"),
        (node("MatMul", ["w:5,4", "x"], "a"), (1, 4, 8), "MatMul"),  # its weights stand on the side of activations
    ],
    ids=["GemmB", "Gemm", "row", "scalar", "rows", "MatMul", "left"],
)
def test_matrix_products(layer, shape, kernel: str, tmp_path: Path) -> None:
    model = small([layer, node("Sigmoid", ["a"], "y")], shape=shape)
    x = image(*shape)
    new = cpu_graph(model, plan_of(model, [x], heads=True))
    assert kernels(new, tmp_path)[kernel] == 1
    assert sqnr(run(model, x)[0], run(new, x)[0]) > 25


def test_two_graphs_of_one_plan_agree() -> None:
    plan = plan_of(RESIDUAL, [image()])
    one, other = run(cpu_graph(RESIDUAL, plan), image())[0], run(tensorrt_graph(RESIDUAL, plan), image())[0]
    assert sqnr(one, other) > 25


def test_node_and_tensor_names_may_clash_with_ours(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w:8,3,3,3"], "x/q", **CONV), node("Conv", ["x/q", "x/scale:4,8,1,1"], "y")]
    for clash in nodes:
        clash.name = {"x/q": "x/dq"}.get(clash.output[0], "y")
    model = small(nodes)
    plan = plan_of(model, [image()], heads=True)
    for make in (cpu_graph, tensorrt_graph):
        new = make(model, plan)
        names = [n.name for n in new.graph.node if n.name]
        assert len(names) == len(set(names))
        assert sqnr(run(model, image())[0], run(new, image())[0]) > 22
