"""pose-build on a machine whose GPU and TensorRT are strict fakes; all between them is real."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

import tiny
import toy
from fakes import cuda as fake_cuda
from fakes import tensorrt as fake_tensorrt
from pose_runtime.bundle import Bundle, load_bundle, write_bundle
from pose_runtime.check import record_frame
from pose_runtime.cli import build
from pose_runtime.engines._tensorrt_library import find_library
from pose_runtime.errors import EngineError
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.manifest import Check, Detector
from pose_runtime.pipeline import open_pipeline
from pose_runtime.top_down import TopDownPipeline


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A board with JetPack: the fake TensorRT, whose runs wait on the fake GPU's streams."""
    trt = fake_tensorrt.install(monkeypatch, "10.3.0")
    with fake_cuda.installed(fake_cuda.ORIN) as cuda:
        trt.push = lambda stream, run: cuda._live_stream(stream).push("network", run)
        trt.memory_at = lambda address, size: cuda.memory_at(address, size, ("device",))
        monkeypatch.setattr("pose_runtime.engines.tensorrt.find_gpu", lambda ordinal: fake_cuda.ORIN)
        yield trt
    find_library.cache_clear()
    assert trt.violations == []


def bundle_of(folder: Path, frame: np.ndarray | None = None) -> Bundle:
    """A bundle whose check frame and poses are real."""
    plain = tiny.write(folder / "plain.pose")
    image = tiny.frame((40, 40), (80, 60), (100, 20)) if frame is None else frame
    with open_pipeline(plain, "cpu") as pipeline:
        recorded = record_frame(pipeline, tiny.frame((40, 40), (80, 60), (100, 20)), "check/0.png")
    files = {name: plain.file_bytes(name) for name in plain.manifest.files}
    files["check/0.png"] = cv2.imencode(".png", image)[1].tobytes()
    check = Check(min_oks=0.9, frames=(recorded,))
    return write_bundle(folder / "tiny.pose", tiny.replaced(plain.manifest, check=check, files={}), files)


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pose-build", *map(str, args)])
    with pytest.raises(SystemExit) as end:
        build.main()
    return int(end.value.code or 0)


def test_builds_and_proves(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, cache = bundle_of(tmp_path), tmp_path / "cache"
    assert run(monkeypatch, bundle.path, "--cache", cache, "--level", 4) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "TensorRT 10.3.0 on Orin (SM 8.7, 16 multiprocessors, CUDA 12.6)"
    assert lines[1].startswith("reference: built in ")
    assert str(cache / "plans") in lines[1]
    assert lines[2] == "reference check/0.png  OKS 1.0000  people 1 of 1"
    assert lines[3] == "reference on tensorrt: passed, worst OKS 1.0000, bound 0.9"
    assert run(monkeypatch, bundle.path, "--cache", cache, "--level", 4) == 0
    assert "reference: found, built earlier in " in capsys.readouterr().out
    with open_pipeline(bundle, "cuda:0", cache=cache) as pipeline:  # takes the plan, its options and its proof
        assert len(pipeline(tiny.frame((40, 40), (80, 60), (100, 20)))) == 1
    assert board.stats["builds"] == 1
    assert board.built[0]["level"] == 4


def test_a_detector_and_the_network_behind_it(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both engines are built, the second for everybody that the first may find; together they do what a CPU does."""
    how = msgspec.convert(toy.DETECTOR | {"max_people": 13}, Detector)
    bundle, cache = tiny.write_top_down(tmp_path / "two.pose", how), tmp_path / "cache"
    assert run(monkeypatch, bundle.path, "--cache", cache) == 0
    assert capsys.readouterr().out.count("reference on tensorrt: passed") == 2
    assert [max((shapes[-1][0] for shapes in one["profile"].values()), default=None) for one in board.built] == [
        13,
        None,
    ]
    image = tiny.frame((40, 20), (80, 70), (60, 50))
    with open_pipeline(bundle, "cuda:0", cache=cache) as gpu, open_pipeline(bundle, "cpu") as cpu:
        assert isinstance(gpu, TopDownPipeline)
        assert (type(gpu.crops), gpu.crops.max_batch, gpu.device_name) == (GpuPipeline, 13, "cuda:0")
        found, wanted = gpu(image), cpu(image)
    assert len(found) == 1
    np.testing.assert_allclose(found.keypoints, wanted.keypoints, atol=1e-3)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5)
    assert board.stats["builds"] == 2
    assert run(monkeypatch, bundle.path, "--cache", cache, "--max-batch", 5) == 0
    assert next(iter(board.built[2]["profile"].values()))[-1][0] == 5


def test_an_engine_that_fails_is_refused_until_it_is_rebuilt(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, cache = bundle_of(tmp_path, tiny.frame((90, 80), (20, 20), (40, 70))), tmp_path / "cache"
    assert run(monkeypatch, bundle.path, "--cache", cache) == 1
    captured = capsys.readouterr()
    assert "BELOW" in captured.out
    assert captured.out.splitlines()[-1].startswith("reference on tensorrt: FAILED, worst OKS 0.0")
    with pytest.raises(EngineError, match=r"the engine of reference is refused: OKS 0\.0.*pose-build --rebuild"):
        open_pipeline(bundle, "cuda:0", cache=cache)
    assert board.stats["builds"] == 1


def test_json(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    board.dla_cores, board.dla_kinds = 1, ()
    assert run(monkeypatch, bundle_of(tmp_path).path, "--cache", tmp_path / "cache", "--dla", 0, "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["passed"]
    assert tree["key"]["options"]["dla_core"] == 0
    assert tree["key"]["machine"]["gpu"] == "Orin"
    assert tree["report"]["fallbacks"] == ["AveragePool_0"]
    assert Path(tree["plan"]).is_file()


def test_dla_names_what_falls_back(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board.dla_cores = 1
    assert run(monkeypatch, bundle_of(tmp_path).path, "--cache", tmp_path / "cache", "--dla", 0) == 0
    assert "DLA core 0: 1 of 1 layers fall back to the GPU: AveragePool_0" in capsys.readouterr().out


def test_a_plan_that_cannot_be_kept(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, bundle_of(tmp_path).path, "--cache", tmp_path / "file") == 1
    captured = capsys.readouterr()
    assert "passed" in captured.out  # it works all the same
    assert captured.err.splitlines()[-1].startswith(f"pose-build: {tmp_path}/file/plans: the plan could not be kept")


def test_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "lightweight-tiny", "--device", "cpu") == 2
    assert run(monkeypatch, "lightweight-tiny", "--level", 6) == 2
    assert run(monkeypatch, "lightweight-tiny", "--device", "gpu") == 1
    assert "wanted auto, cpu or cuda:N" in capsys.readouterr().err


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from pose_runtime.gpu import driver

    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "none.so"))
    assert run(monkeypatch, "lightweight-tiny", "--cache", tmp_path) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("pose-build: ")


@pytest.mark.parametrize("network", [pytest.param("higherhrnet-tiny", marks=pytest.mark.slow), "lightweight-tiny"])
def test_a_bundled_network(
    board: Any, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its INT8 graph, as written, through pre-processing and decoding kernels on the emulated GPU."""
    assert run(monkeypatch, network, "--cache", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(load_bundle(network).manifest.check.frames) + 1
    assert "tensorrt on tensorrt: passed" in lines[-1]


def test_settings_name_what_is_built(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, settings = bundle_of(tmp_path), tmp_path / "camera.toml"
    settings.write_text(f'bundle = "{bundle.path}"\ndevice = "cuda:0"\ncache = "{tmp_path / "cache"}"\n')
    assert run(monkeypatch, "--config", settings) == 0
    assert f"MiB, {tmp_path / 'cache'}" in capsys.readouterr().out
    assert board.stats["builds"] == 1
    assert run(monkeypatch, "--config", settings, bundle.path) == 2
    assert run(monkeypatch) == 2


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_settings_without_a_gpu_prove_the_processor(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pose_runtime.gpu import driver

    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "none.so"))
    settings = tmp_path / "camera.toml"
    settings.write_text(f'bundle = "{bundle_of(tmp_path).path}"\ndevice = "{device}"\n')
    assert run(monkeypatch, "--config", settings) == 0
    assert "reference on onnxruntime: passed" in capsys.readouterr().out
    settings.write_text(settings.read_text() + 'graph = "cpu_int8"\n')
    assert run(monkeypatch, "--config", settings) == 1
    assert "no graph cpu_int8 that this processor runs" in capsys.readouterr().err
    bad = bundle_of(tmp_path / "bad", tiny.frame((90, 80), (20, 20), (40, 70)))
    settings.write_text(f'bundle = "{bad.path}"\ndevice = "{device}"\n')
    assert run(monkeypatch, "--config", settings) == 1
    assert "FAILED" in capsys.readouterr().out
