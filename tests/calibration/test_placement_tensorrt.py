from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from placing import constant, node, plan_of, run, small, sqnr
from pose_calibration.placement import cpu_graph, fp16_graph, int8_share, tensorrt_graph
from pose_calibration.placement.scales import SMALLEST_HALF
from pose_runtime.errors import CalibrationError


def image(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape or (1, 3, 16, 16)).astype(np.float32)


def made_by(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: n for n in model.graph.node for output in n.output}


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def quantised(model: onnx.ModelProto) -> list[str]:
    """Activations that have a Q/DQ pair."""
    return [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]


CHAIN = small(
    [
        node("Conv", ["x", "w:8,3,3,3", "b:8"], "a", pads=[1] * 4),
        node("Relu", ["a"], "b1"),
        node("Conv", ["b1", "w2:8,8,3,3"], "c", pads=[1] * 4),
        node("Conv", ["c", "head:4,8,1,1"], "y"),
    ]
)


def test_one_pair_per_input_and_int8_weights_per_channel() -> None:
    new = tensorrt_graph(CHAIN, plan_of(CHAIN, [image()]))
    onnx.checker.check_model(new, full_check=True)
    nodes, values = made_by(new), stored(new)
    assert quantised(new) == ["x/fp16", "b1"]
    first = nodes["a"]
    weights = nodes[first.input[1]]
    assert weights.op_type == "DequantizeLinear"
    assert helper.get_attribute_value(weights.attribute[0]) == 0
    assert values[weights.input[0]].dtype == np.int8
    assert values[weights.input[1]].shape == (8,)
    assert values[weights.input[1]].dtype == np.float16
    assert values[first.input[2]].dtype == np.float16
    assert "head" in values  # the head is not in the plan
    assert values["head"].dtype == np.float16
    assert all(not z.any() for t, z in values.items() if "zero" in t)


def test_input_model_is_not_changed_and_the_interface_stays_fp32() -> None:
    before = CHAIN.SerializeToString()
    new = tensorrt_graph(CHAIN, plan_of(CHAIN, [image()]))
    assert CHAIN.SerializeToString() == before
    assert [v.type.tensor_type.elem_type for v in (*new.graph.input, *new.graph.output)] == [onnx.TensorProto.FLOAT] * 2
    assert [v.name for v in (*new.graph.input, *new.graph.output)] == ["x", "y"]
    assert sqnr(run(CHAIN, image())[0], run(new, image())[0]) > 30


def test_dead_channel_has_a_scale_that_fp16_holds() -> None:
    model = small([node("Conv", ["x", "w:4,3,3,3"], "a"), node("Conv", ["a", "w2:4,4,1,1"], "y")])
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[2] = 1e-6  # a scale of 1e-8, which FP16 rounds to 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    new = tensorrt_graph(model, plan_of(model, [image()]))
    scales = stored(new)[made_by(new)[made_by(new)["a"].input[1]].input[1]]
    assert scales.dtype == np.float16
    assert float(scales[2]) == SMALLEST_HALF
    assert np.isfinite(run(new, image())[0]).all()


def test_weights_are_rounded_with_the_fp16_scale() -> None:
    new = tensorrt_graph(CHAIN, plan_of(CHAIN, [image()]))
    dequantise = made_by(new)[made_by(new)["a"].input[1]]
    whole, scales = (stored(new)[name].astype(np.float64) for name in dequantise.input[:2])
    wanted = numpy_helper.to_array(CHAIN.graph.initializer[0])
    assert np.abs(whole * scales[:, None, None, None] - wanted).max() <= 0.51 * scales.max()
    assert np.abs(whole).max() <= 127


@pytest.mark.parametrize("name", ["a", "nobody"])
def test_plan_of_another_model_is_refused(name: str) -> None:
    plan = plan_of(CHAIN, [image()], int8=("b1",) if name == "a" else (name,))
    with pytest.raises(CalibrationError, match="no constant weights" if name == "a" else "not in the graph"):
        tensorrt_graph(CHAIN, plan)


def axis_of(model: onnx.ModelProto, name: str) -> tuple[int, tuple[int, ...]]:
    """Axis and size of the weight scales of a node."""
    nodes = made_by(model)
    weights = next(nodes[t] for t in nodes[name].input if t in nodes and nodes[t].input[0].endswith("/int8"))
    return helper.get_attribute_value(weights.attribute[0]), stored(model)[weights.input[1]].shape


def test_residual_add_quantises_the_skip_only_and_shares_it() -> None:
    """d is fused with the Add; t is the skip, read by the convolution and the Add from one pair."""
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "t", pads=[1] * 4),
            node("Conv", ["t", "a:8,8,3,3"], "c", pads=[1] * 4),
            node("Relu", ["c"], "r"),
            node("Conv", ["r", "b:8,8,3,3"], "d", pads=[1] * 4),
            node("Add", ["d", "t"], "s"),
            node("Relu", ["s"], "u"),
            node("Conv", ["u", "e:8,8,3,3"], "f", pads=[1] * 4),
            node("Conv", ["f", "head:4,8,1,1"], "y"),
        ]
    )
    new = tensorrt_graph(model, plan_of(model, [image()]))
    assert quantised(new) == ["x/fp16", "t", "r", "u"]
    assert list(made_by(new)["s"].input) == ["d", "t/dq"]
    assert made_by(new)["c"].input[0] == "t/dq"
    assert made_by(new)["y/fp16"].input[0] == "f"  # an FP16 reader takes the tensor as it was


def test_of_two_convolutions_in_an_add_the_later_one_is_fused() -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,1,1"], "a"),
            node("Conv", ["x", "v:8,3,1,1"], "b"),
            node("Add", ["a", "b"], "s"),
            node("Conv", ["s", "head:4,8,1,1"], "y"),
        ]
    )
    new = tensorrt_graph(model, plan_of(model, [image()]))
    assert quantised(new) == ["x/fp16", "a"]
    assert list(made_by(new)["s"].input) == ["a/dq", "b"]


def test_an_add_among_fp16_nodes_is_left_alone() -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,1,1"], "a"),
            node("Sigmoid", ["a"], "b"),
            node("Sigmoid", ["b"], "c"),
            node("Add", ["b", "c"], "s"),
            node("Conv", ["s", "v:8,8,1,1"], "d"),
            node("Conv", ["d", "head:4,8,1,1"], "y"),
        ]
    )
    new = tensorrt_graph(model, plan_of(model, [image()]))
    assert quantised(new) == ["x/fp16", "s"]


def test_pooling_and_nearest_resize_pass_integers_with_one_scale() -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "a", pads=[1] * 4),
            node("MaxPool", ["a"], "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["p", "v:8,8,3,3"], "b", pads=[1] * 4),
            node("Resize", ["b", "", "up"], "u", mode="nearest"),
            node("Add", ["u", "a"], "s"),
            node("Conv", ["s", "z:8,8,3,3"], "c", pads=[1] * 4),
            node("Conv", ["c", "head:4,8,1,1"], "y"),
        ],
        constants=[constant("up", np.float32([1, 1, 2, 2]))],
    )
    plan = plan_of(model, [image()])
    plan.ranges.update({"a": (-2.0, 3.0), "p": (-1.0, 2.5), "b": (-1.5, 1.0), "u": (-9.0, 1.0)})
    new = tensorrt_graph(model, plan)
    values = stored(new)
    assert set(quantised(new)) == {"x/fp16", "a", "p", "b", "u", "s"}
    assert made_by(new)["p"].input[0] == "a/dq"
    assert made_by(new)["u"].input[0] == "b/dq"
    assert values["a/scale"] == values["p/scale"] == np.float16(3 / 127)
    assert values["b/scale"] == values["u/scale"] == np.float16(9 / 127)
    assert list(made_by(new)["s"].input) == ["u/dq", "a/dq"]


def test_linear_resize_stays_fp16() -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,3,3"], "a", pads=[1] * 4),
            node("Resize", ["a", "", "up"], "u", mode="linear"),
            node("Conv", ["u", "z:8,8,3,3"], "c", pads=[1] * 4),
            node("Conv", ["c", "head:4,8,1,1"], "y"),
        ],
        constants=[constant("up", np.float32([1, 1, 2, 2]))],
    )
    new = tensorrt_graph(model, plan_of(model, [image()]))
    assert quantised(new) == ["x/fp16", "u"]
    assert stored(new)["up"].dtype == np.float32  # the operator's definition knows no other
    assert sqnr(run(model, image())[0], run(new, image())[0]) > 30


def test_a_concat_group_has_one_scale() -> None:
    model = small(
        [
            node("Conv", ["x", "w:8,3,1,1"], "a"),
            node("Conv", ["a", "v:8,8,1,1"], "b"),
            node("Concat", ["a", "b"], "c", axis=1),
            node("Conv", ["c", "z:8,16,1,1"], "d"),
            node("Conv", ["d", "head:4,8,1,1"], "y"),
        ]
    )
    plan = plan_of(model, [image()])
    plan.ranges.update({"a": (-1.0, 1.0), "b": (-2.0, 7.0), "c": (-2.0, 6.0)})
    new = tensorrt_graph(model, plan)
    assert quantised(new) == ["x/fp16", "a", "c"]
    assert stored(new)["a/scale"] == stored(new)["c/scale"] == np.float16(7 / 127)
    plan = plan_of(model, [image()], int8=("a", "b"))  # nobody wants the Concat in INT8: its parts are free
    plan.ranges.update({"a": (-1.0, 1.0), "b": (-2.0, 7.0)})
    assert stored(tensorrt_graph(model, plan))["a/scale"] == np.float16(1 / 127)


@pytest.mark.parametrize(
    ("layer", "shape", "axis", "channels"),
    [
        (node("Conv", ["x", "w:8,3,1,1"], "a"), (1, 3, 8, 8), 0, 8),
        (node("Conv", ["x", "w:6,1,3,3"], "a", group=3), (1, 3, 8, 8), 0, 6),
        (node("Conv", ["x", "w:6,3,3"], "a"), (1, 3, 9), 0, 6),
        (node("ConvTranspose", ["x", "w:3,5,3,3"], "a", dilations=[2, 2]), (1, 3, 8, 8), 1, 5),
        (node("ConvTranspose", ["x", "w:4,5,3,3"], "a", strides=[2, 2], group=2), (1, 4, 8, 8), 1, 5),
        (node("Gemm", ["x", "w:7,5"], "a"), (2, 7), 1, 5),
        (node("Gemm", ["x", "w:5,7", "b:5"], "a", transB=1), (2, 7), 0, 5),
        (node("MatMul", ["x", "w:7,5"], "a"), (1, 4, 7), 1, 5),
        (node("MatMul", ["w:5,4", "x"], "a"), (1, 4, 7), 0, 5),
        (node("MatMul", ["x", "w:1,7,5"], "a"), (1, 4, 7), 2, 5),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_weight_scales_run_along_the_output_channels(layer, shape, axis: int, channels: int) -> None:
    model = small([layer, node("Sigmoid", ["a"], "y")], shape=shape)
    x = image(*shape)
    new = tensorrt_graph(model, plan_of(model, [x], heads=True))
    onnx.checker.check_model(new, full_check=True)
    assert axis_of(new, "a") == (axis, (channels,))
    assert sqnr(run(model, x)[0], run(new, x)[0]) > 30


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "extra", "group"),
    [(4, 2, 1, 0, 1), (2, 2, 0, 0, 1), (3, 2, 1, 1, 1), (4, 2, 1, 0, 4), (8, 4, 2, 0, 2), (5, 3, 1, 0, 1)],
)
def test_transposed_convolution_is_a_convolution_and_a_layout(kernel, stride, pad, extra, group) -> None:
    attributes = {"strides": [stride] * 2, "pads": [pad] * 4, "output_padding": [extra] * 2, "group": group}
    model = small(
        [
            node("ConvTranspose", ["x", f"w:4,{8 // group},{kernel},{kernel}", "b:8"], "a", **attributes),
            node("Relu", ["a"], "r"),
            node("Conv", ["r", "v:3,8,1,1"], "y"),
        ],
        shape=(1, 4, 7, 9),
    )
    x = image(1, 4, 7, 9)
    plan = plan_of(model, [x])
    new = tensorrt_graph(model, plan)
    assert "ConvTranspose" not in [n.op_type for n in new.graph.node]
    assert int8_share(model, plan) > 0
    wanted, got = run(model, x)[0], run(new, x)[0]
    assert wanted.shape == got.shape
    assert sqnr(wanted, got) > 30


def test_weights_used_twice() -> None:
    """One set of int8 weights where both readers are INT8; a float set beside it where one is not."""
    model = small(
        [
            node("Conv", ["x", "w:3,3,3,3"], "a", pads=[1] * 4),
            node("Conv", ["a", "w"], "b", pads=[1] * 4),
            node("Conv", ["b", "head:4,3,1,1"], "y"),
        ]
    )
    plan = plan_of(model, [image()])
    both, one = tensorrt_graph(model, plan), tensorrt_graph(model, plan_of(model, [image()], int8=("a",)))
    assert [name for name in stored(both) if name.startswith("w")] == ["w/int8", "w/scales", "w/zeros"]
    assert stored(one)["w"].dtype == np.float16
    for new in (both, one):
        assert sqnr(run(model, image())[0], run(new, image())[0]) > 25


def test_zero_weights_and_a_tensor_that_never_leaves_zero() -> None:
    model = small(
        [
            node("Conv", ["x", "w", "b"], "a"),
            node("Relu", ["a"], "r"),
            node("Conv", ["r", "v:4,4,1,1"], "c"),
            node("Conv", ["c", "head:4,4,1,1", "bias:4"], "y"),
        ],
        constants=[constant("w", np.zeros((4, 3, 1, 1), np.float32)), constant("b", np.full(4, -1, np.float32))],
    )
    plan = plan_of(model, [image()])
    assert plan.ranges["r"] == (0.0, 0.0)
    for make in (tensorrt_graph, cpu_graph):
        np.testing.assert_allclose(run(make(model, plan), image())[0], run(model, image())[0], atol=1e-3)


def test_nodes_without_a_range_stay_fp16() -> None:
    plan = plan_of(CHAIN, [image()])
    del plan.ranges["x"]
    new = tensorrt_graph(CHAIN, plan)
    assert quantised(new) == ["b1"]
    assert stored(new)["w"].dtype == np.float16


def test_naive_plan_quantises_the_heads_too() -> None:
    new = tensorrt_graph(CHAIN, plan_of(CHAIN, [image()], heads=True))
    assert quantised(new) == ["x/fp16", "b1", "c"]


def test_fp32_nodes_keep_their_type_between_casts() -> None:
    """One cast in, one out, none between two of them."""
    model = small(
        [
            node("Conv", ["x", "w:4,3,1,1"], "a"),
            node("Mul", ["a", "big"], "m"),
            node("Mul", ["m", "tiny"], "n"),
            node("Conv", ["n", "v:4,4,1,1"], "c"),
            node("Conv", ["c", "head:4,4,1,1"], "y"),
        ],
        constants=[constant("big", np.float32(1e6)), constant("tiny", np.float32(1e-6))],
    )
    with pytest.raises(CalibrationError, match="constant 'big' of node 'm' overflows FP16"):
        fp16_graph(model)
    new = fp16_graph(model, ("m", "n"))
    casts = [(n.input[0], helper.get_attribute_value(n.attribute[0])) for n in new.graph.node if n.op_type == "Cast"]
    assert casts == [("x", 10), ("a", 1), ("n", 10), ("y/fp16", 1)]
    assert stored(new)["big"].dtype == np.float32
    assert sqnr(run(model, image())[0], run(new, image())[0]) > 50
    plan = plan_of(model, [image()], fp32=("m", "n"))
    assert sqnr(run(model, image())[0], run(tensorrt_graph(model, plan), image())[0]) > 25
    with pytest.raises(CalibrationError, match="both INT8 and FP32"):
        tensorrt_graph(model, plan_of(model, [image()], fp32=("a",)))
    with pytest.raises(CalibrationError, match="'nobody' is not in the graph"):
        fp16_graph(model, ("nobody",))


def test_fp16_types_attributes_and_bounds() -> None:
    model = small(
        [
            node("Cast", ["x"], "i", to=onnx.TensorProto.INT32),
            node("Cast", ["i"], "f", to=onnx.TensorProto.FLOAT),
            node("Clip", ["f", "low", "high"], "c"),
            node("Shape", ["c"], "shape"),
            helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.float32([2]))),
            node("Add", ["c", "ones"], "y"),
        ],
        constants=[constant("low", np.float32(-1)), constant("high", np.float32(3.4e38))],
    )
    new = fp16_graph(model)
    onnx.checker.check_model(new, full_check=True)
    types = {v.name: v.type.tensor_type.elem_type for v in new.graph.value_info}
    assert {types[name] for name in ("f", "c", "ones")} == {onnx.TensorProto.FLOAT16}
    assert types["shape"] == onnx.TensorProto.INT64
    assert stored(new)["high"] == np.finfo(np.float16).max
    np.testing.assert_array_equal(run(new, image())[0], run(model, image())[0])


def test_interface_of_a_graph_that_only_copies() -> None:
    model = small([node("Identity", ["x"], "y"), node("Sigmoid", ["y"], "z")], outputs=["y", "z"])
    got = run(fp16_graph(model), image())
    for wanted, value in zip(run(model, image()), got, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-3)
