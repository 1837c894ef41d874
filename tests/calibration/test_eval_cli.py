"""pose-eval as a shell sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pose_calibration
import pose_runtime
from annotated import NAMES, bundle, data_set
from shared import shared

pytest.importorskip("pycocotools")
pytest.importorskip("onnxruntime")

PATHS = os.pathsep.join(str(Path(package.__file__ or "").parents[1]) for package in (pose_calibration, pose_runtime))


def pose_eval(*arguments: object, before: str = "pass", **options: Any) -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}; sys.argv[0] = 'pose-eval'; from pose_calibration.cli_eval import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        text=True,
        capture_output=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": PATHS},
        **options,
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    bundle(folder / "own.pose")
    bundle(folder / "wrong.pose", (NAMES[1], NAMES[0], NAMES[2]))
    data_set(folder / "images")
    return folder


def test_alone(work: Path, tmp_path: Path) -> None:
    annotations, images = work / "images" / "annotations.json", work / "images"
    done = pose_eval(work / "own.pose", "--coco", annotations, "--images", images, "--json", tmp_path / "a.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 people in 4 pictures" in done.stdout
    assert "4 people found: 0 of 4 missed, 0 invented" in done.stdout
    assert "95 % interval" in done.stdout
    assert "baseline" not in done.stdout
    tree = json.loads((tmp_path / "a.json").read_text())
    values = {figure["name"]: figure["value"] for figure in tree["figures"]}
    assert values["PCK@0.2 torso"] == 100
    assert (tree["resamples"], tree["seed"], tree["bundle"]["graph"]) == (1000, 0, "default")


def test_beside_a_baseline_with_a_report(work: Path, tmp_path: Path) -> None:
    done = pose_eval(
        work / "wrong.pose", "--coco", work / "images" / "annotations.json", "--images", work / "images",
        "--baseline", work / "own.pose", "--graph", "reference", "--baseline-graph", "reference",
        "--report", tmp_path / "a.html", "--resamples", 100, "--seed", 3, "--within", "lt",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "-66.7" in done.stdout  # of PCK: the nose is right still
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img ") == 12
    assert "graph reference" in page
    assert "seed 3" in page
    assert "wrong (&lt;)" in page


def test_pictures_that_cannot_be_read(work: Path, tmp_path: Path) -> None:
    path = data_set(tmp_path)
    (tmp_path / "2.png").unlink()
    done = pose_eval(work / "own.pose", "--coco", path, "--images", tmp_path, "--baseline", work / "own.pose")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"pose-eval: {tmp_path}/2.png: no such file",
        "1 of 4 pictures could not be read and are left out",
    ]
    assert "3 people in 3 pictures" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--images", "{work}/images"], 2, "give the annotations by one of"),
        (["--coco", "a", "--lsp", "b", "--images", "c"], 2, "give the annotations by one of"),
        (["--coco", "{work}/none.json", "--images", "{work}/images"], 1, "none.json: no such file"),
        (["--coco", "{ann}", "--images", "{work}"], 1, "none of the 4 annotated pictures"),
        (["--coco", "{ann}", "--images", "{work}/images", "--graph", "tensorrt"], 1, "has no graph tensorrt"),
        (["--coco", "{ann}", "--images", "{work}/images", "--baseline", "{work}/no.pose"], 1, "no.pose"),
        (["--coco", "{ann}", "--images", "{work}/images", "--json", "{work}/no/a.json"], 1, "cannot write it"),
        (["--coco", "{ann}", "--images", "{work}/images", "--device", "cuda:99"], 1, "CUDA driver"),
        (["--coco", "{ann}", "--images", "{work}/images", "--split", "test"], 1, "one file per split"),
    ],
)
def test_errors_are_one_line(work: Path, arguments: list[str], status: int, words: str) -> None:
    filled = [a.format(work=work, ann=work / "images" / "annotations.json") for a in arguments]
    done = pose_eval(work / "own.pose", *filled)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.splitlines()) == 1


def test_a_missing_package_is_named_with_its_extra(work: Path) -> None:
    done = pose_eval(
        work / "own.pose", "--coco", work / "images" / "annotations.json", "--images", work / "images",
        before="sys.modules['pycocotools'] = None",
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'jetpose[eval]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_on_real_pictures(tmp_path: Path) -> None:
    images = shared("images", "coco")
    done = pose_eval(
        "lightweight-tiny", "--coco", images / "test_coco.json", "--images", images, "--report", tmp_path / "a.html",
        "--resamples", 50, "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    tree = json.loads((tmp_path / "a.json").read_text())
    values = {figure["name"]: figure["value"] for figure in tree["figures"]}
    assert (tree["pictures"], tree["people"]) == (4, 12)
    assert 0 < values["AP"] < values["AP50"] <= values["AR50"] < 100
    assert len((tmp_path / "a.html").read_bytes()) > 100_000
