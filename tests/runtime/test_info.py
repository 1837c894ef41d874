from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import toy
from pose_runtime.cli import info


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
