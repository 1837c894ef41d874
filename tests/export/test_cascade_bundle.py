"""A cascade from a name and weights per stage to poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from pose_export import cli, networks
from pose_export.cascade_bundle import export_cascade
from pose_export.drawn import drawn_frames
from pose_export.model_bundle import export_model
from pose_export.random_weights import Random, random_network
from pose_export.request import Request
from pose_runtime.bundle import load_bundle
from pose_runtime.cascade import CascadePipeline
from pose_runtime.check import check_bundle
from pose_runtime.errors import BundleError, ExportError, PoseError
from pose_runtime.manifest import Detector, Stage
from pose_runtime.pipeline import open_pipeline
from pose_runtime.top_down import TopDownPipeline
from small import small

FRAMES = drawn_frames()[:1]
STAGE = Stage(torso=(9, 2), sigma=2.0)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "find", small)


def request(out: Path, **changes: object) -> Request:
    plain = {
        "preset": None, "change": lambda tree: None, "out": out, "size_wh": None, "batch": None, "simplify": True,
        "min_oks": None, "overwrite": False, "quantise": None, "detector": None, "frames": FRAMES,
        "weights_source": None, "licence": None,
    }  # fmt: skip
    return Request(**{**plain, **changes})  # type: ignore[arg-type]


def quiet(_text: str) -> None:
    pass


def test_three_stages(tmp_path: Path) -> None:
    checkpoint = tmp_path / "second.pth"
    torch.manual_seed(4)
    torch.save(networks.build(small("deeppose")).state_dict(), checkpoint)
    stages = [checkpoint, Random(2)]
    bundle = export_cascade("deeppose", Random(0), stages, request(tmp_path / "a.pose"), tell=quiet)
    assert load_bundle(bundle.path).manifest.stages == (STAGE, STAGE)
    sources = [part.manifest.network.weights.source for part in (bundle, *bundle.parts.values())]
    assert sources == ["random, seed 0", "second.pth", "random, seed 2"]
    for part in (bundle, *bundle.parts.values()):
        assert part.manifest.input.batch == 0
        assert all(check.passed for check in check_bundle(part))
    with open_pipeline(bundle, "cpu", threads=1) as pipeline:
        assert isinstance(pipeline, CascadePipeline)
        poses = pipeline(FRAMES[0], boxes=[[0, 0, 100, 150], [50, 20, 200, 180]])
    assert poses.keypoints.shape == (2, 14, 3)
    assert np.isfinite(poses.keypoints).all()
    assert not list(tmp_path.glob("*stage*"))


def test_with_a_detector(tmp_path: Path) -> None:
    how = Detector(every=1, min_score=0.0, max_people=9, rescore="keypoints", min_keypoint=0.0, nms_oks=1.0)
    detector = (tiny.write_detector(tmp_path / "boxes.pose"), how)
    wanted = request(tmp_path / "a.pose", detector=detector)
    bundle = export_cascade("deeppose", Random(0), [Random(1)], wanted, tell=quiet)
    assert list(load_bundle(bundle.path).parts) == ["detector", "stage2"]
    with open_pipeline(bundle, "cpu", threads=1) as pipeline:
        assert isinstance(pipeline, TopDownPipeline)
        assert isinstance(pipeline.crops, CascadePipeline)
        poses = pipeline(tiny.frame((60, 40), (100, 80)))
    assert poses.keypoints.shape == (1, 14, 3)


def test_what_cannot_be(tmp_path: Path) -> None:
    out = tmp_path / "a.pose"
    with pytest.raises(ExportError, match=r"--stage: preset deeppose-mmpose has no \[stage\] with torso and sigma"):
        export_cascade("deeppose_res50", Random(), [Random(1)], request(out), tell=quiet)
    with pytest.raises(ExportError, match="gone"):
        export_cascade("deeppose", Random(), [tmp_path / "gone.pth"], request(out), tell=quiet)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(BundleError, match="exists already"):
        export_cascade("deeppose", Random(), [Random(1)], request(out), tell=quiet)
    with pytest.raises(ExportError, match="published no weights; train some and give --checkpoint FILE"):
        export_model("deeppose", None, request(tmp_path / "b.pose"), tell=quiet)


def test_random_weights_follow_from_the_seed() -> None:
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    one, of_one = random_network(small("grmi"), Random(1))
    again, of_again = random_network(small("grmi"), Random(1))
    other, of_other = random_network(small("grmi"), Random(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert of_one == of_again
    assert of_one.sha256 != of_other.sha256
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("name", ["deeppose_res50", "grmi", "tompson"])
def test_other_families_from_random_weights_to_poses(name: str, tmp_path: Path) -> None:
    bundle = export_model(name, Random(0), request(tmp_path / "a.pose"), tell=quiet)
    assert all(check.passed for check in check_bundle(bundle))
    assert bundle.manifest.network.macs > 0
    with open_pipeline(bundle, "cpu", threads=1) as pipeline:
        poses = pipeline(FRAMES[0], boxes=[[10, 10, 120, 160]])
    assert poses.keypoints.shape in ((0, small(name).keypoints, 3), (1, small(name).keypoints, 3))


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> None:
        cli.app([*arguments], standalone_mode=False)

    checkpoint = tmp_path / "first.pth"
    torch.save(networks.build(small("deeppose")).state_dict(), checkpoint)
    common = ("--model", "deeppose", "--checkpoint", str(checkpoint))
    out = str(tmp_path / "a.pose")
    run(*common, "--stage", "random", "--stage", str(checkpoint), "--out", out)
    assert "a.pose" in capsys.readouterr().out
    assert list(load_bundle(out).parts) == ["stage2", "stage3"]
    for wrong in (("--onnx", "x.onnx", "--stage", "random"), (*common, "--stage", "random", "--int8", "--plan", "x")):
        with pytest.raises(Exception, match="--stage"):
            run(*wrong)
    with pytest.raises(PoseError, match="exists already"):
        run(*common, "--stage", "random", "--out", out)


def test_a_cascade_in_int8(tmp_path: Path) -> None:
    """The mechanics: every network gets its INT8 graph, and the cascade of them runs."""
    out = tmp_path / "a.pose"
    cli.app(
        [
            "--model", "deeppose", "--checkpoint", str(_saved(tmp_path)), "--stage", "random", "--int8",
            "--calib-count", "2", "--max-loss", "100", "--min-int8", "0", "--calib-method", "minmax", "--out", str(out),
        ],
        standalone_mode=False,
    )  # fmt: skip
    bundle = load_bundle(out)
    for part in (bundle, *bundle.parts.values()):
        assert set(part.manifest.graphs) == {"reference", "tensorrt", "cpu_int8"}
    with open_pipeline(bundle, "cpu", graph="cpu_int8", threads=1) as pipeline:
        assert len(pipeline(FRAMES[0])) == 1


def _saved(folder: Path) -> Path:
    path = folder / "first.pth"
    torch.save(networks.build(small("deeppose")).state_dict(), path)
    return path
