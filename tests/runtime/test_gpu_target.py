"""Measuring on a fake GPU: what is run, and that the decoder sees what it should; no time is judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiny
from fakes.cuda import H200, FakeCuda, installed
from fakes.engine import OrtDeviceEngine, device_engine
from machines import gpu_pc
from pose_runtime import networks
from pose_runtime.bench import target as target_module
from pose_runtime.bench.gpu_target import GpuTarget, trtexec_flags
from pose_runtime.bench.measure import frames_of, graph_times, measure, measure_batches, measure_crowds
from pose_runtime.bench.run import Options, bench_bundle
from pose_runtime.bench.target import choose_device, default_roles, open_target
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.choose import Choice
from pose_runtime.engines.tensorrt import Origin
from pose_runtime.errors import EngineError
from pose_runtime.gpu import open as gpu_open
from pose_runtime.gpu.device import Device
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.plan_cache import BuildReport, PlanCache
from pose_runtime.plan_key import BuildOptions, machine_key, plan_key


@contextmanager
def opened(bundle: Bundle, max_batch: int = 1) -> Iterator[tuple[GpuTarget, OrtDeviceEngine, FakeCuda]]:
    """A target on the fake GPU, its engine, and the fake; all must be freed in the end."""
    with installed(H200) as cuda:
        engine = device_engine(cuda, bundle, max_batch=max_batch)
        of = bundle.manifest
        target = GpuTarget(GpuPipeline(of, engine, Device(0), Choice("reference", "asked for")))
        try:
            yield target, engine, cuda
        finally:
            target.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("gpu") / "tiny.pose", batch=0)


def test_the_bare_network_is_captured_once_and_replayed(bundle: Bundle) -> None:
    with opened(bundle) as (target, engine, cuda):
        with pytest.raises(EngineError, match="no frame has been through it"):
            target.bare()
        target(tiny.frame((20, 20)))
        runs = engine.runs
        assert target.bare() > 0
        assert target.bare() > 0
        assert engine.runs == runs + 2
        graphs = sum(name.startswith("graph") for name in cuda.live())
        assert len(target(tiny.frame((20, 20)))) == 1
        assert target.bare() > 0
        assert sum(name.startswith("graph") for name in cuda.live()) >= graphs


def test_another_batch_is_captured_anew(bundle: Bundle) -> None:
    with opened(bundle, max_batch=4) as (target, engine, _):
        for size, largest in ((1, 1), (4, 4), (4, 4), (1, 4)):
            assert len(target([tiny.frame((20, 20))] * size)) == size
            runs = engine.runs
            target.bare()
            assert engine.runs == runs + 1
            assert engine._batch == largest
        target.restart()
        target(tiny.frame())
        target.bare()
        assert engine._batch == 1
        rows: list[int] = []
        bind = engine._bind

        def noted(addresses: Any, batch: int) -> None:
            rows.append(batch)
            bind(addresses, batch)

        engine._bind = noted  # type: ignore[method-assign]
        assert [one.size for one in measure_batches(target, tiny.frame(), 1, (4, 1))] == [4, 1]
        assert rows == [4, 1]


def test_where_nothing_can_be_captured_the_network_runs_on_the_stream(bundle: Bundle) -> None:
    with opened(bundle) as (target, engine, _):
        target(tiny.frame())
        target._pipeline._fall_back("no graphs here", replay="stream")
        runs = engine.runs
        target.bare()
        assert engine.runs == runs + 1
        assert target._bare is None
        assert "by stream" in target.settings["frames"]


def test_a_network_that_refuses_its_capture_is_timed_on_the_stream(bundle: Bundle) -> None:
    """The first bare run comes before the pipeline has tried a capture of its own."""
    with opened(bundle) as (target, engine, cuda):
        enqueue = engine._enqueue

        def refusing(stream: int) -> None:
            if cuda.capturing():
                raise EngineError("not in a capture")
            enqueue(stream)

        engine._enqueue = refusing  # type: ignore[method-assign]
        (runs,) = measure([target], [tiny.frame()], 3)
        assert len(runs.bare_s) == 3
        assert target._bare is None
        assert "by stream" in target.settings["frames"]


def test_outputs_put_in_the_networks_place(bundle: Bundle) -> None:
    """The network still runs, and its outputs do not get into the decoder's way."""
    with opened(bundle) as (target, engine, cuda):
        empty, full = tiny.frame(), tiny.frame((20, 20), (90, 60), (64, 48))
        assert len(target(empty)) == 0
        maps = {"maps": np.zeros((1, 3, 12, 16), np.float32)}
        maps["maps"][:, :, 5, 7] = 0.9
        before = len(cuda.live())
        for _ in range(2):
            target.replace_outputs(maps)
            runs = engine.runs
            for _ in range(4):  # on the stream, then captured in both slots
                poses = target(full)
                assert np.allclose(poses.keypoints[..., 2], 0.9, atol=1e-3)
            assert engine.runs == runs + 4
            target.bare()
        target.replace_outputs(None)
        assert len(target(empty)) == 0
        assert len(target(full)) == 1
        assert len(cuda.live()) <= before + 2  # graphs, but none of the memory put aside


def test_crowds_of_a_bundled_network() -> None:
    with opened(load_bundle(networks.DEFAULT)) as (target, _, _):
        image = np.zeros((240, 320, 3), np.uint8)
        crowds = measure_crowds(target, image, 1, (1, 5))
        assert [(one.people, one.found) for one in crowds] == [(1, 1), (5, 5)]


def test_figures_of_a_gpu(bundle: Bundle) -> None:
    with opened(bundle) as (target, engine, _):
        (runs,) = measure([target], frames_of(bundle, None), 3)
        times = graph_times(target, runs)
    assert times.device == "cuda, NVIDIA H200"
    assert times.engine == engine.name
    assert times.bare.network.p50_ms > 0
    assert times.device_memory_bytes is not None
    assert times.settings["frames"].startswith("pre-processing on the GPU, decoding on the GPU, by graph")


def test_the_plans_origin_is_told(bundle: Bundle) -> None:
    with installed(H200) as cuda:
        engine = device_engine(cuda, bundle)
        key = SimpleNamespace(machine=machine_key("tensorrt", "10.3.0", H200), options=BuildOptions())
        engine.origin = SimpleNamespace(key=key, report=BuildReport(seconds=12.34, layers=56))  # type: ignore[attr-defined]
        target = GpuTarget(GpuPipeline(bundle.manifest, engine, Device(0), None))
        assert target.engine == "tensorrt 10.3.0"
        assert target.settings["plan"] == "56 layers, built in 12.3 s"
        assert target.settings["trtexec"] == trtexec_flags(BuildOptions())
        target.close()


def test_flags_of_trtexec() -> None:
    flags = trtexec_flags(BuildOptions(level=5, workspace_mib=256, dla_core=1)).split()
    assert "--useCudaGraph" in flags
    assert {"--builderOptimizationLevel=5", "--memPoolSize=workspace:256M", "--useDLACore=1"} <= set(flags)
    assert "--useDLACore" not in trtexec_flags(BuildOptions())


def test_a_whole_measurement_through_open_pipeline(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = plan_key(b"a graph", machine_key("tensorrt", "10.3.0", H200), BuildOptions())
    with installed(H200) as cuda:

        def open_tensorrt(of: Bundle, ordinal: int, **_: Any) -> OrtDeviceEngine:
            engine = device_engine(cuda, of)
            engine.origin = Origin(PlanCache(tmp_path), key, BuildReport(seconds=1.0, layers=1), "", True)  # type: ignore[attr-defined]
            return engine

        monkeypatch.setattr(gpu_open, "open_tensorrt", open_tensorrt)
        monkeypatch.setattr(gpu_open, "require_proof", lambda *_: None)
        frames = frames_of(bundle, None)
        result = bench_bundle(bundle, ["reference"], frames, Options("cuda:0", runs=2), gpu_pc(tmp_path))
    assert result.graphs["reference"].device == "cuda, NVIDIA H200"
    assert [gpu.name for gpu in result.machine.gpus] == ["NVIDIA H200"]


def test_which_device_and_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = tiny.write(tmp_path / "both.pose", ("reference", "tensorrt", "cpu_int8"))
    assert choose_device("cuda", None) == "cuda:0"
    assert choose_device("cuda:3", "reference") == "cuda:3"
    assert choose_device("cpu", None) == "cpu"
    with pytest.raises(EngineError, match="wanted auto, cpu or cuda:N"):
        choose_device("tpu", None)
    monkeypatch.setattr(gpu_open, "missing", lambda: None)
    assert choose_device("auto", None) == "cuda:0"
    assert choose_device("auto", "cpu_int8") == "cpu"
    monkeypatch.setattr(gpu_open, "missing", lambda: "no pycuda")
    assert choose_device("auto", None) == "cpu"

    def no_gpu() -> None:
        raise EngineError("no driver")

    monkeypatch.setattr(gpu_open, "missing", no_gpu)
    assert choose_device("auto", None) == "cpu"
    assert default_roles(both, "cuda:0", None) == ("tensorrt",)
    assert default_roles(both, "cuda:0", "reference") == ("reference",)
    assert default_roles(both, "cpu", None) == ("reference", "cpu_int8")
    assert default_roles(both, "cpu", "tensorrt") == ("reference", "tensorrt")


def test_an_unknown_pipeline_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = SimpleNamespace(choice=None)
    monkeypatch.setattr(target_module, "open_network", lambda *_, **__: strange)
    with pytest.raises(EngineError, match="a SimpleNamespace cannot be timed"):
        open_target(bundle, "cpu")
