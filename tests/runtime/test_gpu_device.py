"""A GPU's owner, graphs, the trial of memory kinds, and which device `open_pipeline` takes: on a fake GPU."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pose_runtime.pipeline
import tiny
from fakes.cuda import H200, ORIN, installed
from fakes.engine import OrtDeviceEngine
from pose_runtime import Bundle, open_pipeline
from pose_runtime.engines import open_engine
from pose_runtime.engines.tensorrt import Origin
from pose_runtime.errors import EngineError
from pose_runtime.gpu import graph as gpu_graph
from pose_runtime.gpu import libcuda
from pose_runtime.gpu import open as gpu_open
from pose_runtime.gpu.device import Device
from pose_runtime.gpu.frame_memory import FrameMemory, choose_kind, possible_kinds
from pose_runtime.gpu.launch import Launch
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.plan_cache import BuildReport, PlanCache, Proof
from pose_runtime.plan_key import BuildOptions, digest, machine_key, plan_key

# ---- device ----------------------------------------------------------------------------------------------------


def test_memory_goes_there_and_back() -> None:
    with installed() as cuda, Device(0) as device, device.current(), device.resources() as mine:
        stream, address = mine.stream(), mine.memory(1000)
        there, back = mine.locked(1000), mine.locked(1000)
        there[:] = np.arange(1000) % 251
        stream.upload(address, there)
        stream.download(back, address)
        assert not np.array_equal(back, there), "nothing runs before somebody waits"
        stream.synchronize()
        np.testing.assert_array_equal(back, there)
        assert address % 256 == 0
        device.write(address, b"abc")
        stream.download(back, address)
        stream.synchronize()
        assert bytes(back[:3]) == b"abc"
        assert len(cuda.live()) == 4


def test_events_order_streams_and_tell_the_time() -> None:
    with installed(), Device(0) as device, device.current(), device.resources() as mine:
        first, second = mine.stream(), mine.stream()
        address, host, back = mine.memory(8), mine.locked(8), mine.locked(8)
        start, copied, done = mine.event(), mine.event(), mine.event()
        host[:] = 5
        first.record(start)
        first.upload(address, host)
        first.record(copied)
        second.wait(copied)
        second.download(back, address)
        second.record(done)
        done.synchronize()
        assert (back == 5).all()
        assert 0 <= copied.seconds_since(start) <= done.seconds_since(start) < 5


def test_a_thread_without_the_context_is_told() -> None:
    errors: list[Exception] = []
    with installed(), Device(0) as device, device.current():

        def work() -> None:
            for use in (device.resources().stream, lambda: libcuda.new_handle("cuEventCreate", 0)):
                try:
                    use()
                except EngineError as error:
                    errors.append(error)
            with device.current(), device.resources() as mine:
                mine.stream().synchronize()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(errors) == 2
    assert "context" in str(errors[0])


def test_another_thread_may_close_it() -> None:
    with installed() as cuda:
        device = Device(0)
        with device.current():
            device.resources().memory(8)
        thread = threading.Thread(target=device.close)
        thread.start()
        thread.join()
        assert cuda.log[-1] == "detach"


def test_a_closed_device_is_told() -> None:
    with installed():
        device = Device(0)
        device.close()
        device.close()
        with pytest.raises(EngineError, match="it is closed"), device.current():
            pass


def test_what_was_left_open_is_closed_with_the_device() -> None:
    with installed() as cuda:
        with Device(0) as device, device.current():
            mine, others = device.resources(), device.resources()
            kept = [mine.memory(8), others.memory(8)]
            assert len(kept) == 2
        freed = [line.split()[2] for line in cuda.log if line.startswith("free")]
        assert freed == [f"{address:x}" for address in reversed(kept)]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("No module named 'pycuda'"), r"pip install 'jetpose\[gpu\]'"),
        (ImportError("libcuda.so.1: cannot open shared object file"), "no NVIDIA driver here"),
    ],
)
def test_no_pycuda(error: ImportError, words: str) -> None:
    def refuse(name: str) -> Any:
        raise error

    with installed(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pose_runtime.gpu.device.importlib.import_module", refuse)
        with pytest.raises(EngineError, match=words):
            Device(0)


def test_cuda_that_does_not_start() -> None:
    with installed(fails={"cuInit"}), pytest.raises(EngineError, match=r"cuInit failed.*nvidia-smi"):
        Device(0)


def test_no_driver_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(libcuda.ctypes, "CDLL", none)
    libcuda._function.cache_clear()
    with pytest.raises(EngineError, match=r"no driver.*libcuda.so.1"):
        libcuda.call("cuGraphLaunch", 1, 2)


def test_a_driver_without_a_function() -> None:
    with installed() as cuda, Device(0) as device, device.current():
        library = cuda.library()
        del library.cuGraphLaunch
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(libcuda, "load_library", lambda: library)
            with pytest.raises(EngineError, match="no cuGraphLaunch"):
                libcuda.call("cuGraphLaunch", 1, 2)


def test_kernels_that_do_not_load() -> None:
    with installed(fails={"cuModuleLoadDataEx"}), Device(0) as device, device.current():
        with pytest.raises(EngineError, match=r"loading the kernels.*sm_90"):
            device.load_kernels(b"for another GPU")
        with device.resources() as mine, pytest.raises(EngineError, match="no kernels are loaded"):
            mine.stream().launch(Launch("jetpose_vector", (1, 1, 1), (32, 1, 1), b""))


def test_a_fault_of_a_kernel_shows_when_waiting() -> None:
    with installed(), Device(0) as device, device.current(), device.resources() as mine:
        device.load_kernels(b"image")
        stream = mine.stream()
        stream.launch(Launch("jetpose_nonsense", (1, 1, 1), (32, 1, 1), b"1234"))
        with pytest.raises(EngineError, match=r"unknown kernel.*started again"):
            stream.synchronize()


# ---- graphs ----------------------------------------------------------------------------------------------------


def test_a_graph_replays_what_was_captured() -> None:
    with installed() as cuda, Device(0) as device, device.current(), device.resources() as mine:
        stream, address = mine.stream(), mine.memory(4)
        host, back, moment = mine.locked(4), mine.locked(4), mine.event()

        def enqueue() -> None:
            stream.upload(address, host)
            stream.record(moment, at_replay=True)
            stream.download(back, address)

        graph = gpu_graph.capture(stream, enqueue)
        stream.synchronize()
        assert not (back == 7).any(), "a capture runs nothing"
        for value in (7, 8):
            host[:] = value
            graph.launch(stream)
            stream.synchronize()
            assert (back == value).all()
        assert len([thing for thing in cuda.live() if "Graph" in thing or "Exec" in thing]) == 1
        graph.close()
        graph.close()
        with pytest.raises(EngineError, match="it is closed"):
            graph.launch(stream)


@pytest.mark.parametrize("missing", ["", "fork", "join"])
def test_branches_of_a_graph(missing: str) -> None:
    """One branch copies what was uploaded before the fork, and what it copied is read after the join."""
    with installed(), Device(0) as device, device.current(), device.resources() as mine:
        stream, branch = mine.stream(), mine.stream()
        fork, join = mine.event(), mine.event()
        first, second = mine.memory(4), mine.memory(4)
        host, between, back = mine.locked(4), mine.locked(4), mine.locked(4)

        def enqueue() -> None:
            steps = [lambda: stream.upload(first, host), lambda: stream.record(fork)]
            for step in reversed(steps) if missing == "fork" else steps:
                step()
            branch.wait(fork)
            branch.download(between, first)
            branch.record(join)
            if missing != "join":
                stream.wait(join)
            stream.upload(second, between)
            stream.download(back, second)
            if missing == "join":
                stream.wait(join)

        host[:] = 7
        enqueue()
        stream.synchronize()
        branch.synchronize()
        graph = gpu_graph.capture(stream, enqueue)
        host[:] = 8
        graph.launch(stream)
        stream.synchronize()
        graph.close()
        assert (back == 8).all() == (missing == "")


@pytest.mark.parametrize("fault", ["wait", "allocate", "raise", "a branch left open", "an event from outside"])
def test_what_cannot_be_captured_leaves_the_stream_usable(fault: str) -> None:
    with installed(), Device(0) as device, device.current(), device.resources() as mine:
        stream, address, host, event = mine.stream(), mine.memory(4), mine.locked(4), mine.event()
        other, outside = mine.stream(), mine.event()
        other.record(outside)

        def branch() -> None:
            stream.record(event)
            other.wait(event)

        faults: dict[str, Callable[[], object]] = {
            "wait": stream.synchronize,
            "allocate": lambda: mine.memory(8),
            "raise": lambda: 1 // 0,
            "a branch left open": branch,
            "an event from outside": lambda: stream.wait(outside),
        }

        def enqueue() -> None:
            stream.upload(address, host)
            faults[fault]()

        with pytest.raises(ZeroDivisionError if fault == "raise" else EngineError):
            gpu_graph.capture(stream, enqueue)
        gpu_graph.capture(stream, lambda: stream.upload(address, host)).close()
        stream.upload(address, host)
        stream.synchronize()


# ---- kinds of memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "shares_managed", "kinds"),
    [
        (H200, True, ("copied",)),
        (ORIN, False, ("copied", "mapped")),
        (ORIN, True, ("copied", "mapped", "managed")),
    ],
)
def test_kinds_worth_a_trial(gpu: Any, shares_managed: bool, kinds: tuple[str, ...]) -> None:
    assert possible_kinds(gpu, shares_managed) == kinds


@pytest.mark.parametrize("best", ["copied", "mapped", "managed"])
def test_the_fastest_kind_is_chosen_in_50_ms(best: str) -> None:
    now_s, runs = 0.0, []

    def clock() -> float:
        return now_s

    def run(kind: str) -> Callable[[], None]:
        def work() -> None:
            nonlocal now_s
            runs.append(kind)
            first = 0.5 if runs.count(kind) == 1 else 0  # page faults, which count for nobody
            now_s += first + (0.002 if kind == best else 0.004)

        return work

    assert choose_kind(("copied", "mapped", "managed"), run, clock) == best
    assert now_s - 3 * 0.5 < 0.05 + 3 * 0.008
    assert min(runs.count(kind) for kind in ("copied", "mapped", "managed")) >= 4


def test_equals_take_the_first_and_one_needs_no_trial() -> None:
    now_s = 0.0

    def work() -> None:
        nonlocal now_s
        now_s += 0.003

    assert choose_kind(("mapped", "copied"), lambda kind: work, lambda: now_s) == "mapped"
    assert choose_kind(("copied",), lambda kind: pytest.fail("tried"), lambda: now_s) == "copied"  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("kind", ["copied", "mapped", "managed"])
def test_every_kind_is_seen_by_the_gpu(kind: Any) -> None:
    with installed(ORIN) as cuda, Device(0) as device, device.current(), device.resources() as mine:
        memory, stream = FrameMemory(mine, kind, 300), mine.stream()
        memory.host[:] = 9
        memory.upload(stream)
        stream.synchronize()
        seen = cuda.memory_at(memory.address, 300, ("device", "mapped", "managed"))
        assert (seen == 9).all()


# ---- which device ----------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    return tiny.write(tmp_path / "tiny.pose")


KEY = plan_key(b"a graph", machine_key("tensorrt", "10.3.0", H200), BuildOptions())
PROOF = Proof(worst_oks=0.99, min_oks=0.9)


def fake_open_tensorrt(cuda: Any, opened: list[Any]) -> Callable[..., Any]:
    def open_tensorrt(bundle: Bundle, device: int, *, graph: Any, **_: Any) -> Any:
        cuda.need_context("open_tensorrt")
        engine = OrtDeviceEngine(cuda, open_engine("onnxruntime", bundle.graph_bytes(graph)))
        engine.origin = Origin(PlanCache("/nowhere"), KEY, BuildReport(seconds=1.0, layers=1), "", True)  # type: ignore[attr-defined]
        opened.append((device, graph, engine))
        return engine

    return open_tensorrt


def test_cuda_opens_the_gpu(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    with installed() as cuda:
        cuda.devices = 2
        monkeypatch.setattr(gpu_open, "open_tensorrt", fake_open_tensorrt(cuda, opened))
        monkeypatch.setattr(gpu_open, "require_proof", lambda *_: PROOF)
        with open_pipeline(small, "cuda:1") as on_gpu, open_pipeline(small, "cpu") as cpu:
            image = tiny.frame((20, 30), None, None)
            np.testing.assert_array_equal(on_gpu(image).keypoints, cpu(image).keypoints)
            assert isinstance(on_gpu, GpuPipeline)
            assert str(on_gpu.choice) == "reference: on NVIDIA H200"
            assert (on_gpu.proof, on_gpu.engine_key) == (PROOF, digest(KEY))
        assert [entry[:2] for entry in opened] == [(1, "reference")]


def test_an_engine_that_fails_its_check_frames_is_closed(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def refuse(bundle: Bundle, role: str, origin: Any, run: Callable[[np.ndarray], Any]) -> None:
        assert len(run(tiny.frame((20, 20), None, None))) == 1
        raise EngineError("the engine is refused")

    with installed() as cuda:
        monkeypatch.setattr(gpu_open, "open_tensorrt", fake_open_tensorrt(cuda, opened))
        monkeypatch.setattr(gpu_open, "require_proof", refuse)
        with pytest.raises(EngineError, match="refused"):
            open_pipeline(small, "cuda")
        assert not opened[0][2]._is_open


@pytest.mark.parametrize("lacks", ["", "pycuda", "tensorrt", "working engine"])
def test_auto_takes_a_gpu_that_is_complete(
    small: Bundle, lacks: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed_ones = {"pycuda", "tensorrt"} - {lacks}
    with installed() as cuda:
        monkeypatch.setattr(gpu_open, "find_gpu", lambda ordinal: H200)
        monkeypatch.setattr(gpu_open, "find_spec", lambda name: name if name in installed_ones else None)
        make = fake_open_tensorrt(cuda, [])
        if lacks == "working engine":

            def make(*_: Any, **__: Any) -> Any:
                raise EngineError("TensorRT is too old")

        monkeypatch.setattr(gpu_open, "open_tensorrt", make)
        monkeypatch.setattr(gpu_open, "require_proof", lambda *_: PROOF)
        with open_pipeline(small) as pipeline:
            assert isinstance(pipeline, GpuPipeline) == (not lacks)
            reason = str(pipeline.choice)
    if lacks:
        wanted = "too old" if lacks == "working engine" else f"not {lacks}"
        assert wanted in reason
        assert wanted in caplog.text
        assert caplog.records[0].levelno == logging.WARNING
    else:
        assert caplog.text == ""


def test_auto_without_a_gpu_says_so_quietly(
    small: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(ordinal: int) -> Any:
        raise EngineError("CUDA driver: cannot load libcuda.so.1")

    monkeypatch.setattr(gpu_open, "find_gpu", none)
    with open_pipeline(small) as pipeline:
        assert isinstance(pipeline, pose_runtime.pipeline.Pipeline)
        assert "no GPU: none that works here" in str(pipeline.choice)
    assert all(record.levelno < logging.WARNING for record in caplog.records)
    assert "pycuda" not in sys.modules
