"""Biases that make up for rounded weights: what they gain is measured, stays with INT8 nodes, and lessens the error."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from placing import bias_of, constant, node, plan_of, run, small, sqnr, with_outputs
from pose_calibration.bias import shifts
from pose_calibration.placement import tensorrt_graph
from pose_calibration.placement.graph import Graph
from pose_calibration.placement.prepared import prepared
from pose_calibration.placement.scales import half_scale, quantised_weights, weight_scales
from pose_calibration.placement.shifted import shifted
from pose_calibration.plan import Plan, decode_plan, encode_plan
from pose_runtime.errors import CalibrationError

IMAGES = [np.random.default_rng(i).normal(3, 1, (1, 3, 16, 16)).astype(np.float32) for i in range(3)]


def chain() -> onnx.ModelProto:
    """Two convolutions share a bias, one has none; a depthwise one; y is the head."""
    return small(
        [
            node("Conv", ["x", "wa:16,3,3,3", "shared"], "a", pads=[1] * 4),
            node("Relu", ["a"], "ra"),
            node("Conv", ["ra", "wb:16,1,3,3", "shared"], "b", pads=[1] * 4, group=16),
            node("Relu", ["b"], "rb"),
            node("Conv", ["rb", "wc:16,16,1,1"], "c"),
            node("Relu", ["c"], "rc"),
            node("Conv", ["rc", "wy:4,16,1,1"], "y"),
        ],
        constants=[constant("shared", np.linspace(0, 1, 16, dtype=np.float32))],
    )


def of(model: onnx.ModelProto) -> dict[str, tuple[float, ...]]:
    return shifts(model, IMAGES)


def rounded(model: onnx.ModelProto, weights: str) -> onnx.ModelProto:
    new = onnx.ModelProto()
    new.CopyFrom(model)
    tensor = next(t for t in new.graph.initializer if t.name == weights)
    values = numpy_helper.to_array(tensor)
    scales = half_scale(weight_scales(values, 0))
    whole = quantised_weights(values, scales, 0) * scales.reshape(-1, 1, 1, 1)
    tensor.CopyFrom(numpy_helper.from_array(whole.astype(np.float32), weights))
    return new


def test_a_shift_is_the_median_of_the_error_that_rounding_the_weights_makes() -> None:
    model = chain()
    found = of(model)
    assert found.keys() == {"a", "b", "c", "y"}
    for name, weights in (("a", "wa"), ("b", "wb"), ("c", "wc")):
        right, wrong = with_outputs(model, name), with_outputs(rounded(model, weights), name)
        errors = [np.median(run(right, x)[0] - run(wrong, x)[0], axis=(0, 2, 3)) for x in IMAGES]
        assert np.abs(errors).max() > 1e-4
        np.testing.assert_allclose(found[name], np.mean(errors, axis=0), atol=2e-5)


def test_only_int8_nodes_are_shifted_and_a_shared_bias_is_not() -> None:
    model = chain()
    found = of(model)
    plan = plan_of(model, IMAGES, int8=("b", "c"), shifts=found)
    new = tensorrt_graph(model, plan)
    shared = np.linspace(0, 1, 16, dtype=np.float32)
    np.testing.assert_allclose(bias_of(new, "a"), shared, atol=1e-3)  # FP16
    np.testing.assert_allclose(bias_of(new, "b"), shared + np.float32(found["b"]), atol=1e-3)
    np.testing.assert_allclose(bias_of(new, "c"), np.float32(found["c"]), atol=1e-3)
    assert bias_of(new, "y") is None


def test_the_error_of_rounded_weights_is_less() -> None:
    """Beside the error of rounded activations this one is small here: so the weights alone are rounded."""
    model = chain()
    plan = plan_of(model, IMAGES, shifts=of(model))
    plain = rounded(rounded(rounded(model, "wa"), "wb"), "wc")
    better = shifted(Graph(prepared(plain)), plan).model
    other = np.random.default_rng(9).normal(3, 1, (1, 3, 16, 16)).astype(np.float32)
    wanted = run(model, other)[0]
    assert sqnr(wanted, run(better, other)[0]) > sqnr(wanted, run(plain, other)[0]) + 2


@pytest.mark.parametrize("shift", [(0.0,), (0.0,) * 17, ()])
def test_shifts_of_another_network_are_refused(shift: tuple[float, ...]) -> None:
    model = chain()
    with pytest.raises(CalibrationError, match=r"shifts of 'b', wanted a Conv's 16"):
        tensorrt_graph(model, plan_of(model, IMAGES, shifts={"b": shift}))


def test_a_plan_keeps_its_shifts_and_has_finite_ones() -> None:
    model = chain()
    plan = plan_of(model, IMAGES, shifts=of(model))
    assert decode_plan(encode_plan(plan), "plan.json") == plan
    text = encode_plan(plan_of(model, IMAGES, shifts={"b": (1.0,)})).replace(b"1.0\n", b"1e999\n")
    with pytest.raises(CalibrationError, match=r"plan\.json"):
        decode_plan(text, "plan.json")


def test_nothing_to_shift_changes_nothing() -> None:
    model = chain()
    plan: Plan = plan_of(model, IMAGES)
    same = msgspec.structs.replace(plan, shifts={"y": (1.0,) * 4})  # the head is not INT8
    assert tensorrt_graph(model, plan) == tensorrt_graph(model, same)
