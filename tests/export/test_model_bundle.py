from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from pose_export import networks
from pose_export.drawn import drawn_frames
from pose_export.request import Request
from pose_runtime.errors import ExportError
from pose_runtime.pipeline import open_pipeline

torch = pytest.importorskip("torch")
model_bundle = pytest.importorskip("pose_export.model_bundle")

FRAMES = drawn_frames()[:2]


class Tiny(torch.nn.Module):  # type: ignore[misc]
    """HigherHRNet's two outputs from three convolutions."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, 2, padding=1)
        self.coarse = torch.nn.Conv2d(8, 2 * joints, 3, 2, padding=1)
        self.fine = torch.nn.Conv2d(8, joints, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = torch.relu(self.stem(x))
        return self.coarse(half), self.fine(half)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(3)
    monkeypatch.setattr(networks, "build", lambda entry: Tiny(entry.keypoints).eval())
    path = tmp_path / "weights.pth"
    torch.save(Tiny(17).state_dict(), path)
    return path


def request(out: Path, **changes: object) -> Request:
    plain = {
        "preset": None, "change": lambda tree: None, "out": out, "size_wh": (64, 96), "batch": None, "simplify": True,
        "min_oks": 0.9, "overwrite": False, "quantise": None, "detector": None, "frames": FRAMES,
        "weights_source": None, "licence": None,
    }  # fmt: skip
    return Request(**{**plain, **changes})  # type: ignore[arg-type]


def test_a_network_by_name(tmp_path: Path, checkpoint: Path) -> None:
    bundle = model_bundle.export_model("higherhrnet", checkpoint, request(tmp_path / "a"), tell=lambda text: None)
    manifest = bundle.manifest
    assert manifest.network.name == networks.find("higherhrnet").name
    assert manifest.network.weights.source == "weights.pth"
    assert manifest.network.weights.licence == "unknown"
    assert manifest.network.weights.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (manifest.input.size_wh, manifest.input.batch) == ((64, 96), 1)
    assert manifest.input.resize.__struct_config__.tag == "letterbox"
    assert [(o.role, o.channels, o.stride) for o in manifest.outputs] == [
        ("heatmaps", (0, 17), 4), ("tags", (17, 34), 4), ("heatmaps", (0, 17), 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("size_wh", "batch"), [((0, 0), 0), ((0, 0), 1), ((64, 64), 3), ((64, 64), 0)])
def test_open_sizes_and_batches(tmp_path: Path, checkpoint: Path, size_wh: tuple[int, int], batch: int) -> None:
    wanted = request(tmp_path / "a", size_wh=size_wh, batch=batch)
    bundle = model_bundle.export_model("higherhrnet", checkpoint, wanted, tell=lambda text: None)
    assert (bundle.manifest.input.size_wh, bundle.manifest.input.batch) == (size_wh, batch)
    assert bundle.manifest.input.resize.__struct_config__.tag == ("letterbox" if any(size_wh) else "short_side")
    with open_pipeline(bundle, "cpu") as pipeline:
        assert len(pipeline(FRAMES)) == 2


def test_a_smaller_skeleton_cuts_the_order_of_joints(tmp_path: Path, checkpoint: Path) -> None:
    torch.save(Tiny(14).state_dict(), checkpoint)
    name = next(entry.name for entry in networks.entries() if "crowdpose" in entry.name and "higher" in entry.name)
    bundle = model_bundle.export_model(name, checkpoint, request(tmp_path / "a"), tell=lambda text: None)
    assert bundle.manifest.skeleton.name == "crowdpose14"
    order = msgspec.to_builtins(bundle.manifest.decoder)["joint_order"]
    assert list(order) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13]


def test_what_cannot_be(tmp_path: Path, checkpoint: Path) -> None:
    def export(name: str, path: Path, **changes: object) -> None:
        model_bundle.export_model(name, path, request(tmp_path / "a", **changes), tell=lambda text: None)

    with pytest.raises(ExportError, match="no network is called"):
        export("lowerhrnet", checkpoint)
    with pytest.raises(ExportError, match=r"--size: got 65x64, .* wants multiples of 32"):
        export("higherhrnet", checkpoint, size_wh=(65, 64))
    with pytest.raises(ExportError, match=r"weights\.pth"):
        export("hrnet_w32.mpii_256x256", checkpoint)  # other joints
    with pytest.raises(ExportError, match="gone"):
        export("higherhrnet", tmp_path / "gone.pth")
    assert not (tmp_path / "a").exists()
