"""pose-export --int8, --precision fp16 and --explain, on a bundled network and a few of the bundled scenes."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_calibration.pictures import bundled_scenes
from pose_calibration.plan import decode_plan
from pose_export import cli
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.check import check_bundle
from pose_runtime.networks import bundle_path
from pose_runtime.pipeline import open_pipeline

NETWORK = bundle_path("lightweight-tiny") / "reference.onnx"


def export(out: Path, *args: object) -> int:
    old = sys.argv
    common = (f"--onnx={NETWORK}", "--preset=lightweight-tiny", f"--check-images={scene()}", f"--out={out}")
    sys.argv = ["pose-export", *common, *map(str, args)]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = old
    return int(ended.value.code or 0)


def scene() -> Path:
    folder = bundled_scenes()[1]
    return next(path for path in sorted(folder.iterdir()) if path.suffix == ".jpg")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("int8")
    options = ("--int8", "--calib-count=4", "--calib-method=typical", "--max-loss=40", f"--plan={folder / 'plan.json'}")
    assert export(folder / "out.pose", *options) == 0
    return load_bundle(folder / "out.pose")


def test_both_graphs_are_there_with_what_they_cost(int8: Bundle) -> None:
    graphs = int8.manifest.graphs
    assert graphs.keys() == {"reference", "tensorrt", "cpu_int8"}
    for role in ("tensorrt", "cpu_int8"):
        graph = graphs[role]  # type: ignore[index]
        assert graph.precision == "int8"
        assert graph.int8_mac_share >= 0.7
        assert graph.calibration is not None
        assert "typical" in graph.calibration
        assert {record.metric for record in graph.accuracy} == {"AP", "AP against FP32's poses"}
        assert all(record.reference > 0 for record in graph.accuracy)


def test_the_files_are_small(int8: Bundle) -> None:
    size = {role: (int8.path / graph.file).stat().st_size for role, graph in int8.manifest.graphs.items()}
    assert size["cpu_int8"] <= 0.31 * size["reference"]
    assert size["tensorrt"] <= 0.31 * size["reference"]


def test_the_bundle_proves_itself(int8: Bundle) -> None:
    assert all(graph.passed for graph in check_bundle(int8))


def test_every_graph_runs(int8: Bundle) -> None:
    image = cv2.imread(str(scene()))
    assert image is not None
    for role in ("reference", "tensorrt", "cpu_int8"):
        with open_pipeline(int8, graph=role) as pipeline:
            pipeline(image)
            assert all(np.isfinite(array).all() for array in pipeline.outputs.values())


def test_the_plan_is_written(int8: Bundle) -> None:
    file = int8.path.parent / "plan.json"
    plan = decode_plan(file.read_bytes(), file.name)
    assert plan.int8
    assert plan.exponents
    assert set(plan.int8).isdisjoint(plan.fp32)


def test_a_budget_that_cannot_be_kept_gives_the_curve_and_no_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--int8", "--calib-count=4", "--calib-method=typical", "--min-int8=99.9")
    assert export(tmp_path / "out.pose", *wanted) == 1
    *steps, last = capsys.readouterr().err.splitlines()
    assert last.startswith("pose-export: INT8 loses ")
    assert any("% INT8, " in step for step in steps)
    assert not (tmp_path / "out.pose").exists()


def test_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "out.pose", "--precision=fp16", "--calib-count=4", "--max-loss=5") == 0
    bundle = load_bundle(tmp_path / "out.pose")
    assert bundle.manifest.graphs.keys() == {"reference", "tensorrt"}
    assert bundle.manifest.graphs["tensorrt"].precision == "fp16"
    assert "tensorrt: fp16" in capsys.readouterr().out
    size = {role: (bundle.path / graph.file).stat().st_size for role, graph in bundle.manifest.graphs.items()}
    assert size["tensorrt"] < 0.55 * size["reference"]


def test_explain_only_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "out.pose", "--explain") == 0
    out = capsys.readouterr().out
    assert "int8" in out
    assert "an output of the network" in out
    assert "would be INT8" in out
    assert not (tmp_path / "out.pose").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--int8", "--calib-images=/nowhere"), "/nowhere"),
        (("--int8", f"--calib-images={Path(__file__).parent}"), "no images"),
        (("--int8", "--report=/nowhere/report.html"), "no folder /nowhere"),
        (("--int8", f"--plan={Path(__file__).parent}"), "is a folder"),
        (("--int8", "--calib-count=4", f"--calib-state={Path(__file__)}"), "is no state of a calibration"),
    ],
)
def test_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str) -> None:
    assert export(tmp_path / "out.pose", *options) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("pose-export: ")
    assert said in last
    assert not (tmp_path / "out.pose").exists()


def test_nobody_in_the_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for i in range(4):
        smooth = cv2.resize(random.integers(0, 255, (4, 4, 3), dtype=np.uint8), (320, 320))
        cv2.imwrite(str(tmp_path / f"{i}.png"), smooth)
    assert export(tmp_path / "out.pose", "--int8", f"--calib-images={tmp_path}") == 1
    assert "FP32 finds nobody" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("--int8", "--precision=fp16"),
        ("--calib-images=.",),
        ("--precision=fp16", "--plan=p.json"),
        ("--calib-seed=-1",),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert export(tmp_path / "out.pose", *options) == 2


def test_a_bundle_that_stands_there_is_noticed_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.pose").mkdir()
    assert export(tmp_path / "out.pose", "--int8") == 1
    assert "measuring" not in capsys.readouterr().err
