"""Both graphs of the bundled and the published networks: what the executors make of them, and what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from placing import optimised, plan_of, run, sqnr
from pose_calibration.graph_stats import load_onnx
from pose_calibration.placement import blocks, cpu_graph, fp16_graph, int8_share, tensorrt_graph, weighted
from pose_calibration.plan import Plan
from pose_runtime.networks import bundled
from shared import shared
from trt_layers import borders, conversions, int8_macs, layers

SIZES_HW = {
    "mv2_cpm_192": (192, 192),
    "mv2_hourglass_192": (192, 192),
    "tfpose_mobilenet_v2_small_368x432": (368, 432),
    "tfpose_mobilenet_v2_small_368x656": (368, 656),
}
NETWORKS = [*bundled(), *SIZES_HW]
OURS = list(bundled())


@dataclass(frozen=True)
class Network:
    model: onnx.ModelProto
    plan: Plan
    naive: Plan
    images: list[np.ndarray]


def network(name: str) -> Network:
    if name not in bundled():
        shared("models", f"{name}.onnx")
        shared("images", "photos")
    return read(name)


@cache
def read(name: str) -> Network:
    """A network, its min-max plan from four pictures, and these pictures; bundled ones bring their own."""
    if name in bundled():
        folder = bundled()[name]
        model, files = load_onnx(folder / "reference.onnx"), sorted((folder / "check").glob("*.png"))
        images = [normalised(picture(file, (320, 320))) for file in files[:4]]
    else:
        model = load_onnx(shared("models", f"{name}.onnx"))
        images = [picture(file, SIZES_HW[name]) for file in sorted(shared("images", "photos").glob("*.jpg"))[:4]]
    plan = plan_of(model, images)
    naive = Plan(
        **{**{f: getattr(plan, f) for f in plan.__struct_fields__}, "int8": tuple(n.name for n in weighted(model))}
    )
    return Network(model, plan, naive, images)


def picture(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
    pixels = cv2.resize(cv2.imread(str(file)), size_hw[::-1]).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels, np.float32)


def normalised(x: np.ndarray) -> np.ndarray:
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    return np.ascontiguousarray((x[:, ::-1] - mean) / std)


def worst_sqnr(net: Network, new: onnx.ModelProto) -> float:
    """Of the outputs, in dB, over two pictures."""
    pairs = [(a, b) for x in net.images[:2] for a, b in zip(run(net.model, x), run(new, x), strict=True)]
    return min(sqnr(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", [*OURS, *(pytest.param(name, marks=pytest.mark.slow) for name in SIZES_HW)])
def test_tensorrt_runs_the_planned_macs_on_int8(name: str) -> None:
    net = network(name)
    new = tensorrt_graph(net.model, net.plan)
    found = layers(new)
    assert int8_share(net.model, net.plan) > 0.9
    assert int8_macs(new, found) >= 0.9
    assert len(conversions(found)) <= borders(new), [layer.name for layer in conversions(found)]


@pytest.mark.parametrize("name", OURS)
def test_tensorrt_builds_the_other_graphs_too(name: str) -> None:
    net = network(name)
    naive = tensorrt_graph(net.model, net.naive)
    assert int8_share(net.model, net.naive) == 1
    assert int8_macs(naive, layers(naive)) >= 0.9
    half = fp16_graph(net.model)
    found = layers(half)
    assert {kind for layer in found if layer.kind == "correlation" for _, kind in layer.inputs} == {"Half"}
    assert not [kind for layer in found for _, kind in layer.inputs if kind == "Int8"]


@pytest.mark.parametrize("name", NETWORKS)
def test_cpu_runs_the_planned_convolutions_as_integers(name: str, tmp_path: Path) -> None:
    net = network(name)
    if name.startswith("mv2_") and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):
        pytest.skip("ONNX Runtime 1.23 gives two nodes one name where it fuses a Clip and a Relu behind it")
    new = cpu_graph(net.model, net.plan)
    kinds = [node.op_type for node in optimised(new, tmp_path).graph.node]
    heads = sum(node.head for node in weighted(net.model))
    assert kinds.count("QLinearConv") == len(net.plan.int8)
    assert sum(kind in ("Conv", "FusedConv", "ConvTranspose") for kind in kinds) == heads
    norms = kinds.count("InstanceNormalization")  # float, between a DQ and a Q each
    assert kinds.count("QuantizeLinear") <= 4 + norms
    assert kinds.count("DequantizeLinear") <= 8 + norms


@pytest.mark.parametrize("name", OURS)
def test_bundled_files_are_small(name: str) -> None:
    net = network(name)
    size = net.model.ByteSize()
    assert cpu_graph(net.model, net.plan).ByteSize() <= 0.3 * size
    assert tensorrt_graph(net.model, net.plan).ByteSize() <= 0.3 * size
    assert fp16_graph(net.model).ByteSize() <= 0.51 * size


@pytest.mark.parametrize("name", NETWORKS)
def test_fp16_changes_next_to_nothing(name: str) -> None:
    net = network(name)
    assert worst_sqnr(net, fp16_graph(net.model)) > 30


@pytest.mark.parametrize("name", OURS)
def test_one_block_costs_little_and_both_graphs_about_the_same(name: str) -> None:
    net = network(name)
    first = next(iter(blocks(net.model, 8).values()))
    plan = Plan(**{**{f: getattr(net.plan, f) for f in net.plan.__struct_fields__}, "int8": first})
    gpu, cpu = (worst_sqnr(net, make(net.model, plan)) for make in (tensorrt_graph, cpu_graph))
    everything = worst_sqnr(net, tensorrt_graph(net.model, net.naive))
    assert gpu > 15
    assert cpu > 15
    assert gpu > everything + 3
