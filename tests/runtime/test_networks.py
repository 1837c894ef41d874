"""Networks that come with jetpose: found by name everywhere, and each of them good."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import pose_runtime
import tiny
import toy
from pose_runtime import networks
from pose_runtime.check import check_bundle
from pose_runtime.cli import bench, check, info
from pose_runtime.errors import BundleError

MAX_BYTES = 10 << 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with two networks and other things; the current folder is empty."""
    (tmp_path / "networks").mkdir()
    (tmp_path / "here").mkdir()
    toy.toy_bundle(tmp_path / "networks" / "toy-b.pose")
    tiny.write(tmp_path / "networks" / f"{networks.DEFAULT}.pose")
    (tmp_path / "networks" / "__init__.py").write_text("")
    monkeypatch.setattr(networks, "_folder", lambda: tmp_path / "networks")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "networks"


def test_names_lead_to_folders(folder: Path) -> None:
    default, other = f"{networks.DEFAULT}.pose", "toy-b.pose"
    assert pose_runtime.bundled() == {networks.DEFAULT: folder / default, "toy-b": folder / other}
    assert list(pose_runtime.bundled()) == sorted(pose_runtime.bundled())
    assert pose_runtime.load_bundle("toy-b").path == folder / other
    assert pose_runtime.load_bundle("toy-b") == pose_runtime.load_bundle(folder / other)
    assert pose_runtime.load_bundle().path == folder / default


def test_a_pipeline_needs_no_name(folder: Path) -> None:
    for options in ({}, {"bundle": networks.DEFAULT}):
        with pose_runtime.open_pipeline(threads=1, **options) as pipeline:
            assert len(pipeline(tiny.frame((20, 30), (90, 60), None))) == 1


def test_a_name_is_a_name_and_a_path_a_path(folder: Path) -> None:
    mine = toy.toy_bundle(Path(networks.DEFAULT))  # in the current folder
    assert pose_runtime.load_bundle(networks.DEFAULT).path.parent == folder
    assert pose_runtime.load_bundle(f"./{networks.DEFAULT}").digest == mine.digest
    assert pose_runtime.load_bundle(Path(networks.DEFAULT)).digest == mine.digest
    (folder / "toy-b.pose").rename("toy-b")
    assert pose_runtime.load_bundle("toy-b").path == Path("toy-b")  # no longer a name, so a path


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ("toyb", f"toyb: no such folder, and no network of this name comes with jetpose; did you mean 'toy-b'? known: "
                 f"{networks.DEFAULT}, toy-b"),
        ("else", f"comes with jetpose; known: {networks.DEFAULT}, toy-b"),
        ("toyb.pose", "toyb.pose: no such folder; a bundle is NAME.pose/"),
        ("a/toy-b", "a/toy-b: no such folder; a bundle is NAME.pose/"),
        ("", "manifest.json"),
    ],
)  # fmt: skip
def test_neither(folder: Path, bundle: str, words: str) -> None:
    with pytest.raises(BundleError) as caught:
        pose_runtime.load_bundle(bundle)
    assert words in str(caught.value)


def test_a_damaged_network_is_refused_by_its_path(folder: Path) -> None:
    (folder / "toy-b.pose" / "reference.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"toy-b.pose/reference.onnx: changed or damaged"):
        pose_runtime.load_bundle("toy-b")


def test_an_installation_without_networks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_folder", lambda: tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    assert pose_runtime.bundled() == {}
    with pytest.raises(BundleError, match=f"{networks.DEFAULT}: no such folder, .* known: none"):
        pose_runtime.load_bundle()


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [(info, [], "licence none"), (check, [], "onnxruntime: "), (bench, ["--runs", "1", "--threads", "1"], "frames/s")],
)
def test_commands_take_names(
    folder: Path,
    module: object,
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["pose", networks.DEFAULT, *options])
    with pytest.raises(SystemExit):
        module.main()  # type: ignore[attr-defined]
    out, err = capsys.readouterr()
    assert words in out
    assert err == ""
    monkeypatch.setattr(sys, "argv", ["pose", "else", *options])
    with pytest.raises(SystemExit) as ended:
        module.main()  # type: ignore[attr-defined]
    assert ended.value.code == 1
    assert "no network of this name comes with jetpose" in capsys.readouterr().err


@pytest.mark.parametrize("name", pose_runtime.bundled())
def test_what_is_shipped(name: str) -> None:
    """Small, licensed, named as its folder, good on its own frames, and nobody in an empty picture."""
    bundle = pose_runtime.load_bundle(name)
    assert bundle.manifest.network.name.partition(".")[0].replace("_", "-") == name
    assert "unknown" not in bundle.manifest.network.weights.licence.lower()
    assert sum(file.stat().st_size for file in bundle.path.rglob("*")) <= MAX_BYTES
    assert sum(len(frame.scores) for frame in bundle.manifest.check.frames) > 0
    assert all(check.passed for check in check_bundle(bundle, threads=2))
    with pose_runtime.open_pipeline(name) as pipeline:
        assert len(pipeline(np.full((240, 320, 3), 90, np.uint8))) == 0
