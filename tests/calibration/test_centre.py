"""Means in front of a normalisation: taken off where nobody sees it, and INT8 gains by it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from placing import bias_of, constant, node, plan_of, run, small, sqnr, with_outputs
from pose_calibration.centre import centred
from pose_calibration.placement import cpu_graph

IMAGES = [np.random.default_rng(i).normal(0, 1, (1, 3, 16, 16)).astype(np.float32) for i in range(3)]
FAR = np.linspace(-40, 40, 16, dtype=np.float32)


def network(middle: list[onnx.NodeProto], *, bias: bool = True, last: str = "n") -> onnx.ModelProto:
    first = ["x", "wa:16,3,3,3", *(["far"] if bias else [])]
    return small(
        [
            node("Conv", first, "a", pads=[1] * 4),
            node("InstanceNormalization", ["a", "gain", "offset"], "n", epsilon=1e-3),
            *middle,
            node("Conv", [last, "wy:4,16,1,1"], "y"),
        ],
        constants=[constant("far", FAR)] * bias
        + [constant("gain", np.ones(16, np.float32)), constant("offset", np.zeros(16, np.float32))],
    )


@pytest.mark.parametrize("bias", [True, False])
def test_the_means_go_and_the_outputs_stay(bias: bool) -> None:
    model = network([], bias=bias)
    new = centred(model, IMAGES)
    means = np.mean([run(with_outputs(new, "a"), x)[0].mean(axis=(0, 2, 3)) for x in IMAGES], axis=0)
    assert np.abs(means).max() < 1e-4
    for x in IMAGES:
        np.testing.assert_allclose(run(new, x)[0], run(model, x)[0], atol=2e-4)


def test_int8_gains() -> None:
    model = network([])
    new = centred(model, IMAGES)
    wanted = run(model, IMAGES[0])[0]
    before, after = (sqnr(wanted, run(cpu_graph(m, plan_of(m, IMAGES)), IMAGES[0])[0]) for m in (model, new))
    assert after > before + 10


def test_what_others_read_stays_as_it_is() -> None:
    model = network([node("Add", ["n", "a"], "s")], last="s")
    assert np.array_equal(bias_of(centred(model, IMAGES), "a"), FAR)
