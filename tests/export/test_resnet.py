"""ResNet, and what stands on it: DeepPose as MMPose has it, G-RMI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pose_calibration.graph_stats import count, load_onnx
from pose_export import networks
from pose_export.checkpoints import fit
from pose_export.networks.grmi import GRMI
from pose_export.networks.resnet import Bottleneck, ResNet
from pose_export.to_onnx import compare, export_onnx
from small import SMALL, small

RESNETS = ("deeppose_res50", "grmi")


@pytest.mark.parametrize(("stride", "size"), [(32, 2), (16, 4), (8, 8)])
def test_output_stride(stride: int, size: int) -> None:
    network = ResNet(blocks=(1, 2, 2, 2), width=4, output_stride=stride)
    assert network.features(torch.zeros(1, 3, 64, 64)).shape == (1, 128, size, size)
    assert network.channels == 128


def test_atrous_layers_keep_the_context_of_strided_ones() -> None:
    """A strided network's maps are every second or fourth pixel of the atrous one's: same weights, same context."""
    torch.manual_seed(1)
    strided = ResNet(blocks=(1, 2, 2, 2), width=4).eval()
    atrous = ResNet(blocks=(1, 2, 2, 2), width=4, output_stride=8).eval()
    atrous.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 128, 160)
    torch.testing.assert_close(atrous.features(image)[:, :, ::4, ::4], strided.features(image), rtol=0, atol=1e-5)


def test_dilations() -> None:
    network = ResNet(blocks=(3, 4, 6, 3), width=4, output_stride=8)
    found = [[block.conv2.dilation[0] for block in layer] for layer in _layers(network)]
    assert found == [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]


def _layers(network: ResNet) -> list[list[Bottleneck]]:
    layers = [network.get_submodule(f"layer{i}") for i in (1, 2, 3, 4)]
    return [[block for block in layer.children() if isinstance(block, Bottleneck)] for layer in layers]


def test_names_are_torchvisions_and_mmposes() -> None:
    network = networks.build(small("deeppose_res50"))
    own = network.state_dict()
    names = set(own)
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.0.conv3.weight"} <= names
    assert not any(name.startswith("layer1.0.downsample.2") for name in names)
    for head in ("keypoint_head.", "head."):  # MMPose 0.x and 1.x
        theirs = {(head if name.startswith("fc.") else "backbone.") + name: tensor for name, tensor in own.items()}
        if head == "head.":
            theirs |= {f"data_preprocessor.{name}": torch.zeros(3, 1, 1) for name in ("mean", "std")}
        assert all(torch.equal(own[name], tensor) for name, tensor in fit(theirs, own).items())


def test_coordinates_follow_from_the_mean_of_the_maps() -> None:
    network = networks.build(small("deeppose_res50"))
    assert isinstance(network, ResNet)
    image = torch.randn(2, 3, 96, 64)
    head = network.get_submodule("fc")
    torch.testing.assert_close(network(image), head(network.features(image).mean((2, 3))))


def test_grmis_maps_meet_the_pixels_of_the_coarse_ones() -> None:
    torch.manual_seed(2)
    network = networks.build(small("grmi"))
    assert isinstance(network, GRMI)
    image = torch.randn(1, 3, 97, 65)
    logits, offsets = network(image)
    assert logits.shape == (1, 17, 97, 65)
    coarse = network.head(network.features(image))
    assert coarse.shape == (1, 51, 13, 9)
    torch.testing.assert_close(torch.cat((logits, offsets), 1)[:, :, ::8, ::8], coarse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_onnx_computes_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    entry, path = small(name), tmp_path / "network.onnx"
    network = networks.build(entry)
    for dynamic in (False, True):
        export_onnx(
            network,
            input_name="image",
            output_names=entry.outputs,
            size_wh=entry.size_wh,
            dynamic_batch=dynamic,
            path=path,
        )
        differences = compare(network, path, output_names=entry.outputs, size_wh=entry.size_wh)
        assert set(differences) == set(entry.outputs)
    stats = count(load_onnx(path), size_wh=entry.size_wh)
    assert stats.macs == macs(network, entry.size_wh)


def macs(network: nn.Module, size_wh: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolutions, counted where they happen."""
    found: list[int] = []
    convolve, linear = torch.nn.functional.conv2d, torch.nn.functional.linear

    class Counting(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if func in (convolve, linear):
                found.append(out.numel() * args[1][0].numel())
            return out

    with Counting(), torch.inference_mode():
        network(torch.zeros(1, 3, size_wh[1], size_wh[0]))
    return sum(found)


@pytest.mark.parametrize(
    "name", [entry.name for entry in networks.entries() if entry.builder.startswith(("deeppose:", "grmi:", "tompson:"))]
)
def test_multiply_accumulates_of_the_registry(name: str) -> None:
    entry = networks.find(name)
    with torch.device("meta"):
        assert macs(networks.build(entry), entry.size_wh) == entry.macs


def test_published_gflops_of_grmi() -> None:
    """57.0 fit units of 2^30 at 256 x 352."""
    with torch.device("meta"):
        assert macs(networks.build(networks.find("grmi")), (256, 352)) / 2**30 == pytest.approx(57.0, abs=0.2)


def test_grmi_learns_in_all_its_layers() -> None:
    network = networks.build(small("grmi")).train()
    logits, offsets = network(torch.randn(2, 3, 65, 65))
    (logits.square().mean() + offsets.square().mean()).backward()
    assert all(
        np.isfinite(parameter.grad.numpy()).all() for parameter in network.parameters() if parameter.grad is not None
    )
    assert all(parameter.grad is not None for parameter in network.parameters())
