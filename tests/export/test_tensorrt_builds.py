"""TensorRT for RTX builds every network that is exported by name, in every precision, with jetpose's own builder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

from placing import plan_of
from pose_calibration.graph_stats import load_onnx
from pose_calibration.placement import fp16_graph, tensorrt_graph
from pose_export import networks
from pose_export.networks import Entry
from pose_export.to_onnx import export_onnx
from pose_runtime.engines._tensorrt_builder import build_plan
from pose_runtime.engines._tensorrt_library import Library, find_library
from pose_runtime.plan_key import BuildOptions
from small import SMALL, small

PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = BuildOptions(max_batch=2)


def architectures() -> Iterator[Any]:
    """One name of each network and width; entries of one differ only in weights, joints and size."""
    seen = set()
    for entry in networks.entries():
        if (entry.builder, str(entry.arguments)) not in seen:
            seen.add((entry.builder, str(entry.arguments)))
            is_ours = entry.builder.startswith("tiny:")
            yield pytest.param(sized(entry), marks=[] if is_ours else pytest.mark.slow, id=entry.name)
    for name in SMALL:
        yield pytest.param(small(name), id=f"{name} small")


def sized(entry: Entry) -> Entry:
    """With a small input, where it takes one."""
    size_wh = (4 * entry.step, 2 * entry.step)
    return entry if entry.step not in (16, 32) else msgspec.structs.replace(entry, size_wh=size_wh)


@pytest.fixture(scope="module")
def rtx() -> Library:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    library = find_library()
    if library.name != "tensorrt_rtx":
        pytest.skip("TensorRT is installed; only that for RTX builds without a GPU")
    return library


def of_precision(model: onnx.ModelProto, precision: str, size_wh: tuple[int, int]) -> onnx.ModelProto:
    if precision == "fp32":
        return model
    if precision == "fp16":
        return fp16_graph(model)
    image = np.random.default_rng(2).normal(0, 1, (1, 3, *size_wh[::-1])).astype(np.float32)
    return tensorrt_graph(model, plan_of(model, [image]))


@pytest.mark.parametrize("entry", list(architectures()))
def test_every_network_in_every_precision(rtx: Library, entry: Entry, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, size = tmp_path / "net.onnx", entry.size_wh
    export_onnx(
        networks.build(entry),
        input_name="image",
        output_names=entry.outputs,
        size_wh=size,
        dynamic_batch=True,
        path=path,
    )
    model = load_onnx(path)
    layers = {}
    for precision in PRECISIONS:
        graph = of_precision(model, precision, size).SerializeToString()
        built = build_plan(rtx, graph, OPTIONS, sm=(8, 6))
        assert len(built.plan) > 100_000
        layers[precision] = built.report.layers
    assert layers["int8"] > layers["fp16"] >= layers["fp32"]
