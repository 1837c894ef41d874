from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from placing import node, plan_of, run, small, sqnr
from pose_calibration.placement import tensorrt_graph
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
