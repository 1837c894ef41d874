from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

import toy
from pose_runtime.bundle import write_bundle
from pose_runtime.cli import info
from pose_runtime.manifest import Manifest


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pose-info", *args])
    with pytest.raises(SystemExit) as ended:
        info.main()
    return int(ended.value.code or 0)


def test_says_what_is_in_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = toy.toy_bundle(tmp_path / "toy.pose")
    assert run(monkeypatch, str(bundle.path)) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "\x1b" not in out
    for words in (
        "toy", "24 x 16", "rgb", "stretch interpolation=bilinear", "heatmaps: maps channels 0-2", "toy3: 3 keypoints",
        "nose left_eye right_eye", "heatmap refine=none", "reference.onnx: fp32", "1 frames with 1 people", "0.99",
        bundle.digest, bundle.manifest.files["reference.onnx"],
    ):  # fmt: skip
        assert words in out


def test_says_what_each_graph_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = toy.manifest_dict()
    tree["graphs"]["cpu_int8"] = {
        "file": "cpu_int8.onnx",
        "precision": "int8",
        "int8_mac_share": 0.825,
        "calibration": "mse, 64 photos",
        "accuracy": [
            {"executor": "onnxruntime", "data": "100 photos", "metric": "AP", "reference": 61.5, "value": 61.25},
            {"executor": "onnxruntime", "data": "scenes", "metric": "AR", "reference": 50.0, "value": 51},
        ],
    }
    bundle = write_bundle(
        tmp_path / "toy.pose", msgspec.convert(tree, Manifest), {**toy.FILES, "cpu_int8.onnx": b"no real graph"}
    )
    assert run(monkeypatch, str(bundle.path)) == 0
    rows = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [(name, value.strip()) for name, value in rows if "cpu_int8" in name and "SHA" not in value] == [
        ("graph cpu_int8", "cpu_int8.onnx: int8, INT8 share of the MACs 82.5 %"),
        ("calibration cpu_int8", "mse, 64 photos"),
        ("accuracy cpu_int8", "AP: FP32 61.50, cpu_int8 61.25, loss 0.25 (onnxruntime, on 100 photos)"),
        ("accuracy cpu_int8", "AR: FP32 50.00, cpu_int8 51.00, loss -1.00 (onnxruntime, on scenes)"),
    ]


def test_json_is_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = toy.toy_bundle(tmp_path / "toy.pose")
    assert run(monkeypatch, str(bundle.path), "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["sha256"] == bundle.digest
    assert tree["manifest"] == json.loads((bundle.path / "manifest.json").read_bytes())


def test_markup_in_a_bundle_is_plain_text_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    info._print_table([("[bold]x", "[red]y[/red] :smile:")])
    assert "[bold]x" in (out := capsys.readouterr().out)
    assert "[red]y[/red] :smile:" in out


def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(tmp_path / "gone\n.pose")) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("pose-info: ")
    assert "no such folder" in err
    assert run(monkeypatch) == 2
    assert run(monkeypatch, "a", "b") == 2
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("jetpose ")
