"""DeepPose's AlexNet: its layers, and local response normalisation as the paper has it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from pose_export import networks
from pose_export.networks.deeppose import DeepPose, LocalResponseNorm
from pose_export.to_onnx import export_onnx
from small import small

SHAPES = [(96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13)]


def test_layers_are_the_papers() -> None:
    with torch.device("meta"):
        network = DeepPose(joints=14).eval()
        found, x = [], torch.zeros(1, 3, 220, 220)
        for layer in network.features:
            x = layer(x)
            if isinstance(layer, torch.nn.Conv2d | torch.nn.MaxPool2d):
                found.append(tuple(x.shape[1:]))
    assert found == [*SHAPES, (256, 6, 6)]


@pytest.mark.parametrize(("groups", "parameters"), [(1, 58_396_060), (2, 56_982_940)])
def test_parameters(groups: int, parameters: int) -> None:
    with torch.device("meta"):
        network = DeepPose(joints=14, groups=groups)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_local_response_normalisation() -> None:
    x = torch.randn(2, 7, 3, 4) * 50
    padded = torch.nn.functional.pad(x.square(), (0, 0, 0, 0, 2, 2))
    around = torch.stack([padded[:, i : i + 7] for i in range(5)]).sum(0)
    torch.testing.assert_close(LocalResponseNorm()(x), x / (2 + 1e-4 * around) ** 0.75)


def test_normalisation_is_one_node(tmp_path: Path) -> None:
    entry, path = small("deeppose"), tmp_path / "a.onnx"
    export_onnx(
        networks.build(entry),
        input_name="image",
        output_names=entry.outputs,
        size_wh=entry.size_wh,
        dynamic_batch=True,
        path=path,
    )
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("LRN") == 2
    assert "Dropout" not in operators


def test_dropout_only_in_training() -> None:
    network = networks.build(small("deeppose"))
    image = torch.randn(1, 3, 220, 220)
    assert torch.equal(network(image), network(image))
    network.train()
    assert not torch.equal(network(image), network(image))
