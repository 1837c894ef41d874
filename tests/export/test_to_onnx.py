from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pose_calibration.graph_stats import count, load_onnx
from pose_export import networks
from pose_export.networks.higherhrnet import HigherHRNet
from pose_export.to_onnx import compare, export_onnx
from pose_runtime.errors import ExportError

OUTPUTS = ("heatmaps_tags", "heatmaps")


@pytest.fixture(scope="module")
def network() -> HigherHRNet:
    """A thin HigherHRNet whose batch norms are not the identity."""
    torch.manual_seed(0)
    network = HigherHRNet(width=4, joints=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


class Stacks(nn.Module):
    """Two stacked heads, as networks with intermediate supervision have."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.early, self.late = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = torch.relu(self.body(x))
        return [self.early(features), self.late(self.dropout(features))]


@pytest.mark.filterwarnings("error")
def test_export(network: HigherHRNet, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    size = (96, 64)
    export_onnx(network, input_name="image", output_names=OUTPUTS, size_wh=size, dynamic_batch=True, path=path)
    assert set(compare(network, path, output_names=OUTPUTS, size_wh=size)) == set(OUTPUTS)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [path]
    model = load_onnx(path)
    assert model.opset_import[0].version == 19
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "Identity", "Shape", "If"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", ["batch", 3, 64, 96])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("heatmaps_tags", ["batch", 6, 16, 24]),
        ("heatmaps", ["batch", 3, 32, 48]),
    ]
    text = path.read_bytes()
    assert b"site-packages" not in text
    assert str(Path(__file__).parent).encode() not in text


def test_export_twice_gives_the_same_bytes(network: HigherHRNet, tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        export_onnx(network, input_name="x", output_names=OUTPUTS, size_wh=(32, 32), dynamic_batch=False, path=path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_export_of_any_size(network: HigherHRNet, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(network, input_name="x", output_names=OUTPUTS, size_wh=(0, 0), dynamic_batch=False, path=path)
    compare(network, path, output_names=OUTPUTS, size_wh=(0, 0))
    compare(network, path, output_names=OUTPUTS, size_wh=(96, 160), runs=1)
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == [1, 3, "height", "width"]
    with pytest.raises(ExportError, match="give an input size"):
        count(load_onnx(path))
    assert count(load_onnx(path), size_wh=(64, 64)).macs > 0


def test_training_heads_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network = Stacks().train()
    network.early.eval()
    export_onnx(network, input_name="x", output_names=(None, "maps"), size_wh=(8, 8), dynamic_batch=True, path=path)
    assert network.dropout.training
    assert not network.early.training
    model = load_onnx(path)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "Conv"]
    assert count(model).parameters == 4 * 27 + 4 + 8 + 2
    compare(network, path, output_names=(None, "maps"), size_wh=(8, 8))
    assert network.dropout.training


def test_wrong_graph_is_refused(network: HigherHRNet, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    size = (32, 32)
    export_onnx(network, input_name="x", output_names=OUTPUTS, size_wh=size, dynamic_batch=False, path=path)
    good = onnx.load(path)
    last = next(t for t in good.graph.initializer if list(t.dims) == [3, 4, 1, 1])
    weights = onnx.numpy_helper.to_array(last).copy()
    weights[0, 0] *= 1.01
    for value in (weights, np.full_like(weights, np.nan)):
        last.CopyFrom(onnx.numpy_helper.from_array(value, last.name))
        onnx.save(good, path)
        with pytest.raises(ExportError, match="'heatmaps' differs from PyTorch by"):
            compare(network, path, output_names=OUTPUTS, size_wh=size)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network = Stacks().eval()
    nn.init.constant_(network.late.weight, torch.nan)
    export_onnx(network, input_name="x", output_names=(None, "maps"), size_wh=(8, 8), dynamic_batch=False, path=path)
    with pytest.raises(ExportError, match="NaN or Inf"):
        compare(network, path, output_names=(None, "maps"), size_wh=(8, 8))


def test_compare_refuses_what_is_no_model(network: HigherHRNet, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="ONNX Runtime refuses") as error:
        compare(network, path, output_names=OUTPUTS, size_wh=(32, 32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "names", "message"),
    [
        ((48, 64), OUTPUTS, r"cannot be exported at 48x64: .* multiple"),
        ((0, 64), OUTPUTS, "give width and height"),
        ((-32, 64), OUTPUTS, "give width and height"),
        ((32, 32), ("one",), "2 outputs, 1 names"),
    ],
)
def test_export_errors(
    network: HigherHRNet, size: tuple[int, int], names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message) as error:
        export_onnx(
            network, input_name="x", output_names=names, size_wh=size, dynamic_batch=False, path=tmp_path / "net.onnx"
        )
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_nowhere_to_write(tmp_path: Path) -> None:
    path = tmp_path / "no" / "net.onnx"
    with pytest.raises(ExportError, match="cannot write"):
        export_onnx(Stacks(), input_name="x", output_names=(None, "y"), size_wh=(8, 8), dynamic_batch=False, path=path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "macs"), [("hrnet", 7.645e9), ("higherhrnet", 45.650e9 + 0.554e9)])
def test_full_size(name: str, macs: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    entry, path = networks.find(name), tmp_path / "net.onnx"
    network, size = networks.build(entry), entry.size_wh
    export_onnx(network, input_name="x", output_names=entry.outputs, size_wh=size, dynamic_batch=True, path=path)
    assert count(load_onnx(path)).macs == pytest.approx(macs, abs=1e6)
    compare(network, path, output_names=entry.outputs, size_wh=size, runs=1)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("hrnet_w32.coco_256x192", 7.645e9),
        ("hrnet_w32.coco_384x288", 17.201e9),
        ("hrnet_w32.mpii_256x256", 10.193e9),
        ("hrnet_w48.coco_256x192", 15.692e9),
        ("hrnet_w48.coco_384x288", 35.307e9),
        ("higherhrnet_w32.coco_512", 45.650e9 + 0.554e9),
        ("higherhrnet_w32.coco_640", 71.328e9 + 0.865e9),
        ("higherhrnet_w48.coco_640", 147.857e9 + 1.612e9),
    ],
)
def test_macs_of_the_modules(name: str, macs: float) -> None:
    """Counted by hooks, without memory for weights or maps."""
    entry = networks.find(name)
    found: list[int] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        place = output if isinstance(module, nn.Conv2d) else inputs[0]
        found.append(place.numel() * module.weight[0].numel())

    with torch.device("meta"):
        network = networks.build(entry)
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.register_forward_hook(hook)
        network(torch.zeros(1, 3, *entry.size_wh[::-1]))
    assert sum(found) == pytest.approx(macs, abs=1.1e6)
    assert len(found) == (303 if entry.preset == "higherhrnet" else 293)
