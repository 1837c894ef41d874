from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest

import toy
from pose_runtime import cpu_features
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.check import check_bundle, head_statistics, read_frame, record_frame, recorded_poses
from pose_runtime.cli import check
from pose_runtime.engines import open_engine
from pose_runtime.errors import BundleError, EngineError
from pose_runtime.manifest import Check, Manifest
from pose_runtime.pipeline import Pipeline
from tiny_onnx import heatmap_net


@pytest.fixture(autouse=True)
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CPU with VNNI, whatever this one is."""
    path = tmp_path / "cpuinfo"
    path.write_text("flags : fpu avx512_vnni\n")
    monkeypatch.setattr(cpu_features, "CPUINFO", path)
    return path


IMAGES = [np.random.default_rng(i).integers(0, 255, (40, 60, 3), np.uint8) for i in range(3)]


def proven_bundle(path: Path, *, others: dict[str, onnx.ModelProto] | None = None, min_oks: float = 0.99) -> Bundle:
    """A bundle whose check frames were recorded with its own reference graph."""
    tree: dict[str, Any] = toy.manifest_dict()
    tree["input"] |= {"size_wh": [48, 32]}
    tree["outputs"] = [{"tensor": "maps0", "role": "heatmaps", "channels": [0, 3], "stride": 4.0}]
    tree["check"] = {"min_oks": min_oks, "frames": []}
    graphs = {"reference": heatmap_net(), **(others or {})}
    for role in graphs:
        tree["graphs"][role] = {**tree["graphs"]["reference"], "file": f"{role}.onnx"}
    tree["check"]["frames"] = toy.manifest_dict()["check"]["frames"]  # a place holder: one frame at least
    manifest = msgspec.convert(tree, Manifest)
    files = {f"{role}.onnx": model.SerializeToString() for role, model in graphs.items()}
    with Pipeline(manifest, open_engine("onnxruntime", files["reference.onnx"])) as pipeline:
        frames = tuple(record_frame(pipeline, image, f"check/{i}.png") for i, image in enumerate(IMAGES))
    files |= {f"check/{i}.png": cv2.imencode(".png", image)[1].tobytes() for i, image in enumerate(IMAGES)}
    manifest = msgspec.structs.replace(manifest, check=Check(min_oks=min_oks, frames=frames))
    return write_bundle(path, manifest, files)


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pose-check", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        check.main()
    return int(ended.value.code or 0)


def test_a_bundle_passes_its_own_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = proven_bundle(tmp_path / "a.pose", others={"cpu_int8": heatmap_net(), "tensorrt": heatmap_net()})
    checks = check_bundle(bundle)
    assert [graph.role for graph in checks] == ["reference", "cpu_int8"]
    for graph in checks:
        assert graph.passed
        assert graph.worst_oks > 0.999
        assert [frame.people for frame in graph.frames] == [(1, 1)] * 3
        assert all(frame.heads["maps0"] < 1e-4 for frame in graph.frames)
    assert run(monkeypatch, bundle.path) == 0
    out = capsys.readouterr().out
    assert "reference check/2.png  OKS 1.0000" in out
    assert "cpu_int8 on onnxruntime: passed, worst OKS 1.0000, bound 0.99" in out


def test_a_graph_that_computes_something_else_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = heatmap_net()
    weight = onnx.numpy_helper.to_array(other.graph.initializer[0])[::-1].copy()
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w0"))
    bundle = proven_bundle(tmp_path / "a.pose", others={"cpu_int8": other})
    assert run(monkeypatch, bundle.path, "--engine", "onnxruntime") == 1
    out = capsys.readouterr().out
    assert "reference on onnxruntime: passed" in out
    assert "cpu_int8 on onnxruntime: FAILED" in out
    assert "BELOW" in out


def test_int8_is_skipped_where_its_results_would_be_others(
    tmp_path: Path, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpuinfo.write_text("flags : fpu avx2\n")
    bundle = proven_bundle(tmp_path / "a.pose", others={"cpu_int8": heatmap_net(), "tensorrt": heatmap_net()})
    assert [graph.role for graph in check_bundle(bundle)] == ["reference"]
    assert run(monkeypatch, bundle.path) == 0
    *_, passed, skipped = capsys.readouterr().out.splitlines()
    assert passed.startswith("reference on onnxruntime: passed")
    assert skipped == "cpu_int8: skipped, this CPU has neither VNNI nor Arm dot product, its results would be others"
    assert run(monkeypatch, proven_bundle(tmp_path / "b.pose").path) == 0
    assert "skipped" not in capsys.readouterr().out


def test_recorded_poses_come_back(tmp_path: Path) -> None:
    manifest = proven_bundle(tmp_path / "a.pose").manifest
    frame = msgspec.structs.replace(
        manifest.check.frames[0], keypoints=(((1.5, 2.0, 0.5), None, (3.0, 4.0, 0.25)),), scores=(0.375,)
    )
    poses = recorded_poses(manifest, frame)
    assert np.array_equal(
        poses.keypoints[0], np.array([[1.5, 2, 0.5], [np.nan, np.nan, 0], [3, 4, 0.25]]), equal_nan=True
    )
    nobody = recorded_poses(manifest, msgspec.structs.replace(frame, keypoints=(), scores=()))
    assert len(nobody) == 0


def test_head_statistics_are_of_the_first_image(tmp_path: Path) -> None:
    manifest = proven_bundle(tmp_path / "a.pose").manifest
    outputs = {"maps0": np.stack([np.arange(6, dtype=np.float16).reshape(1, 2, 3), np.full((1, 2, 3), 99, np.float16)])}
    (head,) = head_statistics(manifest, outputs)
    assert (head.tensor, head.mean, head.min, head.max) == ("maps0", 2.5, 0, 5)
    assert head.std == pytest.approx(np.arange(6).std(), rel=1e-5)


def png(width: int, height: int) -> bytes:
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "wanted a PNG"),
        (b"\xff\xd8\xff no PNG", "wanted a PNG"),
        (png(1 << 30, 1 << 30), "wanted a PNG of 1 to 2048"),
        (png(0, 4), "wanted a PNG of 1 to 2048"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x04\x00\x00\x00\x04", "cannot be decoded"),
    ],
)
def test_frames_that_are_no_pictures(tmp_path: Path, data: bytes, message: str) -> None:
    files = {**toy.FILES, "check/0.png": data}
    bundle = write_bundle(tmp_path / "a.pose", msgspec.convert(toy.manifest_dict(), Manifest), files)
    with pytest.raises(BundleError, match=f"0.png: {message}"):
        read_frame(bundle, "check/0.png")


def test_unknown_engines_and_broken_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = toy.toy_bundle(tmp_path / "a.pose")
    with pytest.raises(EngineError, match="engine: got 'abacus', wanted one of onnxruntime"):
        check_bundle(bundle, engine="abacus")
    assert run(monkeypatch, bundle.path) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("pose-check: ")


def test_a_picture_that_opencv_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = toy.toy_bundle(tmp_path / "toy.pose")

    def refuse(*_: object) -> None:
        raise cv2.error("no memory")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(BundleError, match="cannot be decoded"):
        read_frame(bundle, "check/0.png")
