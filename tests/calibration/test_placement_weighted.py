from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from placing import constant, node, plan_of, run, small, sqnr
from pose_calibration.graph_stats import count, load_onnx
from pose_calibration.placement import blocks, candidates, cpu_graph, fp16_graph, int8_share, tensorrt_graph, weighted
from pose_runtime.errors import CalibrationError
from pose_runtime.networks import bundled
from shared import shared

MODELS = ["mv2_cpm_192", "mv2_hourglass_192", "tfpose_mobilenet_v2_small_368x432"]


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, shape or (1, 3, 16, 16)).astype(np.float32)


def residual(depth: int) -> onnx.ModelProto:
    """A stem, residual blocks of two convolutions each, a head."""
    nodes = [node("Conv", ["x", "stem:8,3,3,3"], "t0", pads=[1] * 4)]
    for i in range(depth):
        nodes += [
            node("Conv", [f"t{i}", f"a{i}:8,8,3,3"], f"c{i}", pads=[1] * 4),
            node("Relu", [f"c{i}"], f"r{i}"),
            node("Conv", [f"r{i}", f"b{i}:8,8,3,3"], f"d{i}", pads=[1] * 4),
            node("Add", [f"d{i}", f"t{i}"], f"s{i}"),
            node("Relu", [f"s{i}"], f"t{i + 1}"),
        ]
    return small([*nodes, node("Conv", [f"t{depth}", "head:4,8,1,1"], "y")])


def test_names_macs_and_heads() -> None:
    model = residual(1)
    found = weighted(model)
    assert [n.name for n in found] == ["t0", "c0", "d0", "y"]
    assert [n.macs for n in found] == [8 * 27 * 256, 8 * 72 * 256, 8 * 72 * 256, 4 * 8 * 256]
    assert sum(n.macs for n in found) == count(model).macs
    assert [n.head for n in found] == [False, False, False, True]


def test_weights_that_are_computed_are_none() -> None:
    nodes = [
        node("Conv", ["x", "w:3,3,1,1"], "a"),
        node("MatMul", ["a", "x"], "b"),
        node("Reshape", ["b", "shape"], "kernel"),
        node("Conv", ["x", "kernel"], "y"),
    ]
    model = small(nodes, constants=[constant("shape", np.array([3, 16, 16, 1], np.int64)[[0, 1, 2, 3]])], check=False)
    assert [n.name for n in weighted(model)] == ["a"]


def test_weights_in_a_constant_node() -> None:
    value = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), node("Conv", ["x", "w"], "y")]
    model = small(nodes)
    assert [(n.name, n.macs) for n in weighted(model)] == [("y", 4 * 3 * 256)]
    new = tensorrt_graph(model, plan_of(model, [image()], heads=True))
    assert [t.data_type for t in new.graph.initializer].count(TensorProto.INT8) == 3  # weights and two zero points


def test_a_head_reaches_an_output_through_nodes_without_weights() -> None:
    nodes = [
        node("Conv", ["x", "w:4,3,1,1"], "a"),
        node("Sigmoid", ["a"], "y"),
        node("Conv", ["a", "v:4,4,1,1"], "b"),
        node("Slice", ["b", "from", "to", "axis"], "tags"),
    ]
    numbers = [constant(name, np.array([n], np.int64)) for name, n in (("from", 0), ("to", 2), ("axis", 1))]
    model = small(nodes, outputs=["y", "tags"], constants=numbers)
    assert [n.head for n in weighted(model)] == [True, True]


def test_residual_blocks_stay_whole_and_heads_are_apart() -> None:
    groups = blocks(residual(3))
    assert list(groups.values()) == [("t0",), ("c0", "d0"), ("c1", "d1"), ("c2", "d2"), ("y",)]
    assert [n.block for n in weighted(residual(1))] == ["t0", "c0", "c0", "y"]


@pytest.mark.parametrize("most", [2, 3, 5])
def test_blocks_are_merged_along_the_graph_until_few_are_left(most: int) -> None:
    model = residual(9)
    groups = blocks(model, most)
    assert len(groups) == most
    names = [n.name for n in weighted(model)]
    assert [name for group in groups.values() for name in group] == names  # contiguous, complete
    if most == 5:
        macs = {n.name: n.macs for n in weighted(model)}
        work = [sum(macs[name] for name in group) for group in groups.values()][:-1]
        assert max(work) < 0.5 * sum(work)


def test_fewer_than_two_blocks_are_refused() -> None:
    with pytest.raises(CalibrationError, match="blocks: got 1"):
        blocks(residual(1), 1)


def test_candidates_are_what_is_read_and_made_around_weights() -> None:
    assert candidates(residual(1)) == ("x", "t0", "r0", "d0", "t1", "y")  # c0 counts after its Relu, s0 too


def test_share_counts_what_is_planned_and_has_ranges() -> None:
    model = residual(1)
    plan = plan_of(model, [image()])
    total = sum(n.macs for n in weighted(model))
    assert int8_share(model, plan) == pytest.approx(1 - 4 * 8 * 256 / total)
    del plan.ranges["x"]
    assert int8_share(model, plan) == pytest.approx(2 * 8 * 72 * 256 / total)


def test_dynamic_axes() -> None:
    nodes = [node("Conv", ["x", "w:8,3,3,3"], "a", pads=[1] * 4), node("Conv", ["a", "v:4,8,1,1"], "y")]
    model = small(nodes, shape=("n", 3, "h", "w"))
    assert [n.macs for n in weighted(model, size_wh=(20, 10))] == [8 * 27 * 200, 4 * 8 * 200]
    plan = plan_of(model, [image()], int8=("a",))
    assert int8_share(model, plan, size_wh=(8, 8)) == pytest.approx(27 * 8 / (27 * 8 + 32))
    for make in (tensorrt_graph, cpu_graph):
        new = make(model, plan)
        for x in (image(), image(2, 3, 10, 20)):
            assert sqnr(run(model, x)[0], run(new, x)[0]) > 25


def quantised() -> onnx.ModelProto:
    numbers = [constant("s", np.float32(0.1)), constant("z", np.uint8(3))]
    return small(
        [node("QuantizeLinear", ["x", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"], "y")],
        constants=numbers,
    )


def branching() -> onnx.ModelProto:
    model = small([node("Conv", ["x", "w:4,3,1,1"], "y")])
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Constant", [], ["inner"], value_floats=[1.0])], "g", [], [value])
    model.graph.initializer.append(constant("yes", np.bool_(True)))
    model.graph.node.append(helper.make_node("If", ["yes"], ["other"], then_branch=inner, else_branch=inner))
    return model


def broken() -> onnx.ModelProto:
    weights = np.ones((4, 3, 1, 1), np.float32)
    weights[1, 2] = np.nan
    return small([node("Conv", ["x", "w"], "y")], constants=[constant("w", weights)])


def old() -> onnx.ModelProto:
    return small([node("Conv", ["x", "w:4,3,1,1"], "y")], opset=10)


def unconvertible() -> onnx.ModelProto:
    """A training-mode BatchNormalization of opset 13 has outputs that opset 14 lacks."""
    names = [constant(name, np.ones(3, np.float32)) for name in "abcd"]
    nodes = [helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "m", "v", "sm", "sv"])]
    return small(nodes, opset=13, constants=names)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (quantised, "quantised already.*QuantizeLinear"),
        (branching, "branches or loops"),
        (broken, "'w' hold NaN"),
        (old, "got opset 10"),
        (unconvertible, "cannot be brought to opset 19"),
    ],
)
@pytest.mark.parametrize("call", [weighted, candidates, fp16_graph])
def test_models_that_are_refused_in_one_line(make, message: str, call) -> None:
    with pytest.raises(CalibrationError, match=message) as caught:
        call(make())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 18, 19, 20, 21])
def test_opsets(opset: int) -> None:
    nodes = [
        node("Conv", ["x", "w:8,3,3,3", "b:8"], "a", pads=[1] * 4),
        node("Clip", ["a", "low", "high"], "c"),
        node("MaxPool", ["c"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p", "roi", "scales"], "u", mode="nearest", coordinate_transformation_mode="asymmetric"),
        node("Add", ["u", "c"], "s"),
        node("Conv", ["s", "v:4,8,1,1"], "y"),
    ]
    numbers = {
        "low": np.float32(0),
        "high": np.float32(6),
        "roi": np.zeros(0, np.float32),
        "scales": np.float32([1, 1, 2, 2]),
    }
    model = small(nodes, opset=opset, constants=[constant(*item) for item in numbers.items()])
    plan = plan_of(model, [image()])
    for make in (tensorrt_graph, cpu_graph):
        new = make(model, plan)
        onnx.checker.check_model(new, full_check=True)
        assert next(o.version for o in new.opset_import) == max(opset, 19)
        assert sqnr(run(model, image())[0], run(new, image())[0]) > 25


def bundles() -> list[Path]:
    return [path / "reference.onnx" for path in bundled().values()]


@pytest.mark.parametrize("path", bundles(), ids=lambda p: p.parent.stem)
def test_bundled_networks(path: Path) -> None:
    check_network(load_onnx(path))


@pytest.mark.parametrize("name", MODELS)
def test_published_networks(name: str) -> None:
    check_network(load_onnx(shared("models", f"{name}.onnx")))


def check_network(model: onnx.ModelProto) -> None:
    found = weighted(model)
    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    assert [n.name for n in found] == [n.output[0] for n in model.graph.node if n.op_type in kinds]
    assert sum(n.macs for n in found) == count(model).macs
    assert 1 <= sum(n.head for n in found) <= 8
    groups = blocks(model)
    assert len(groups) <= 24
    macs = {n.name: n.macs for n in found}
    work = sorted(sum(macs[name] for name in group) for group in groups.values())
    assert work[-1] < 0.3 * sum(work)
    assert sorted(name for group in groups.values() for name in group) == sorted(macs)
    tensors = {value.name for value in model.graph.input} | {o for n in model.graph.node for o in n.output}
    assert set(candidates(model)) <= tensors
