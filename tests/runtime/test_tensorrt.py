"""The TensorRT engine against a strict fake of each supported version, and real builds by TensorRT for RTX."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tiny
import tiny_onnx
from fakes import driver as fake_driver
from fakes import tensorrt as fake_tensorrt
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.engines import open_engine
from pose_runtime.engines._tensorrt_builder import build_plan
from pose_runtime.engines._tensorrt_library import LOGGER, Library, find_library
from pose_runtime.engines.tensorrt import TensorRtEngine, default_graph, open_tensorrt
from pose_runtime.errors import EngineError
from pose_runtime.gpu.driver import find_gpu
from pose_runtime.plan_cache import PlanCache
from pose_runtime.plan_key import BuildOptions

VERSIONS = tuple(fake_tensorrt.NAMES)
STREAM = 0x7F00


@pytest.fixture(autouse=True)
def _fresh_library() -> Any:
    find_library.cache_clear()
    yield
    find_library.cache_clear()


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A machine with a GPU and a fake TensorRT of one version."""
    (tmp_path / "driver").mkdir()
    fake_driver.install(tmp_path / "driver", monkeypatch)
    module = fake_tensorrt.install(monkeypatch, request.param)
    yield module
    assert module.violations == []


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "cache")


def bundle_of(tmp_path: Path, **options: Any) -> Bundle:
    return tiny.write(tmp_path / "a.pose", **options)


class Memory:
    """Device memory of an engine's tensors, at addresses aligned as a GPU's."""

    def __init__(self, engine: TensorRtEngine, batch: int = 1) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._raw = []
        for spec in (*engine.inputs, *engine.outputs):
            shape = (batch, *(size or 0 for size in spec.shape[1:]))
            size = int(np.prod(shape)) * spec.dtype.itemsize
            raw = np.zeros(size + 256, np.uint8)
            start = -raw.ctypes.data % 256
            self._raw.append(raw)
            self.arrays[spec.name] = raw[start : start + size].view(spec.dtype).reshape(shape)

    @property
    def addresses(self) -> dict[str, int]:
        return {name: array.ctypes.data for name, array in self.arrays.items()}


def test_a_run_gives_what_onnxruntime_gives(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    bundle = bundle_of(tmp_path)
    image = np.random.default_rng(1).random((1, 3, 48, 64), np.float32)
    with open_engine("onnxruntime", bundle.graph_bytes("reference")) as other:
        wanted = other.infer({"image": image})["maps"].copy()
    with open_tensorrt(bundle, cache=cache) as engine:
        assert [str(spec) for spec in (*engine.inputs, *engine.outputs)] == [
            "float32 (1, 3, 48, 64)",
            "float32 (1, 3, 12, 16)",
        ]
        memory = Memory(engine)
        memory.arrays["image"][...] = image
        engine.bind(memory.addresses)
        engine.enqueue(STREAM)
        engine.enqueue(STREAM)
        np.testing.assert_array_equal(memory.arrays["maps"], wanted)
        assert engine.memory_bytes == 12 << 20
    with pytest.raises(EngineError, match=r"closed"):
        engine.enqueue(STREAM)
    assert trt.stats == {"builds": 1, "loads": 1, "runs": 2}


def test_a_free_batch_has_a_profile(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    bundle = bundle_of(tmp_path, batch=0)
    options = BuildOptions(max_batch=4, opt_batch=2)
    with open_tensorrt(bundle, cache=cache, options=options) as engine:
        assert engine.max_batch == 4
        assert engine.inputs[0].shape == (None, 3, 48, 64)
        assert engine.outputs[0].shape == (None, 3, 12, 16)
        for batch in (3, 1, 4):
            memory = Memory(engine, batch)
            memory.arrays["image"][...] = np.arange(batch).reshape(batch, 1, 1, 1)
            engine.bind(memory.addresses, batch)
            engine.enqueue(STREAM)
            assert (memory.arrays["maps"] == np.arange(batch).reshape(batch, 1, 1, 1)).all()
        with pytest.raises(EngineError, match=r"got batch 5, wanted 1 to 4"):
            engine.bind(memory.addresses, 5)
    (built,) = trt.built
    assert built["profile"] == {"image": [(1, 3, 48, 64), (2, 3, 48, 64), (4, 3, 48, 64)]}


def test_a_batch_to_be_fast_at_beyond_the_largest(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    with pytest.raises(EngineError, match=r"batch to be fast at: got 4, wanted 1 to 2"):
        open_tensorrt(bundle_of(tmp_path, batch=0), cache=cache, options=BuildOptions(max_batch=2, opt_batch=4))


def test_a_fixed_batch_has_none(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    with open_tensorrt(bundle_of(tmp_path, batch=2), cache=cache) as engine:
        assert engine.inputs[0].shape == (2, 3, 48, 64)
        engine.bind(Memory(engine, 2).addresses, 2)
        with pytest.raises(EngineError, match=r"got batch 1, wanted 2"):
            engine.bind(Memory(engine, 2).addresses, 1)
    assert trt.built[0]["profile"] == {}


def test_options_reach_the_builder(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    options = BuildOptions(workspace_mib=256, tactic_mib=700, level=4)
    open_tensorrt(bundle_of(tmp_path), cache=cache, options=options).close()
    open_tensorrt(bundle_of(tmp_path / "b"), cache=cache).close()
    first, second = trt.built
    assert first["limits"] == {"WORKSPACE": 256 << 20, "TACTIC_DRAM": 700 << 20}
    assert first["level"] == 4
    assert second["limits"] == {"WORKSPACE": 1024 << 20}


def test_the_second_start_builds_nothing(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    bundle = bundle_of(tmp_path)
    news = []
    for _ in range(2):
        with open_tensorrt(bundle, cache=cache) as engine:
            news.append(engine.origin.is_new)
    assert news == [True, False]
    open_tensorrt(bundle, cache=cache, rebuild=True).close()
    open_tensorrt(bundle, cache=cache, options=BuildOptions(level=0)).close()
    assert trt.stats == {"builds": 3, "loads": 4}


def test_options_once_chosen_are_taken(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    bundle = bundle_of(tmp_path)
    with open_tensorrt(bundle, cache=cache, options=BuildOptions(level=5)) as engine:
        cache.choose_options(engine.origin.key)
    with open_tensorrt(bundle, cache=cache) as engine:
        assert engine.origin.key.options == BuildOptions(level=5)
    assert trt.stats["builds"] == 1


@pytest.mark.parametrize("change", ["gpu", "driver", "processors", "graph", "version"])
def test_another_board_driver_graph_or_version_builds_anew(
    change: str, tmp_path: Path, cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = fake_tensorrt.install(monkeypatch, "10.3.0")
    (tmp_path / "driver").mkdir()
    fake_driver.install(tmp_path / "driver", monkeypatch)
    bundle = bundle_of(tmp_path)
    open_tensorrt(bundle, cache=cache).close()
    if change == "gpu":
        fake_driver.install(tmp_path / "driver", monkeypatch, name="Thor", sm=(11, 0))
    elif change == "driver":
        fake_driver.install(tmp_path / "driver", monkeypatch, version=13000)
    elif change == "processors":  # an Orin Nano's folder, copied to an AGX Orin: both are called Orin
        fake_driver.install(tmp_path / "driver", monkeypatch, processors=16)
    elif change == "version":
        trt = fake_tensorrt.install(monkeypatch, "10.16.1.11")
    else:
        bundle = tiny.write(tmp_path / "b.pose", size_wh=(32, 32))
    trt.stats.clear()
    open_tensorrt(bundle, cache=cache).close()
    assert trt.stats["builds"] == 1


def test_a_plan_that_does_not_load_is_built_again(
    trt: Any, tmp_path: Path, cache: PlanCache, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = bundle_of(tmp_path)
    open_tensorrt(bundle, cache=cache).close()
    trt.gpu = "another board with the same key"
    with open_tensorrt(bundle, cache=cache) as engine:
        assert engine.origin.is_new
    assert trt.stats["builds"] == 2
    assert "does not load and is built again" in caplog.text
    open_tensorrt(bundle, cache=cache).close()
    assert trt.stats["builds"] == 2


def test_a_plan_of_another_board_is_refused(trt: Any, tmp_path: Path) -> None:
    library = find_library()
    graph = bundle_of(tmp_path).graph_bytes("reference")
    plan = build_plan(library, graph, BuildOptions()).plan
    trt.gpu = "another"
    with pytest.raises(EngineError, match=r"incompatible device: Orin; the plan is broken or of another.*rebuild"):
        TensorRtEngine(library, plan)
    with pytest.raises(EngineError, match=r"cannot load the plan.*magicTag.*--rebuild"):
        TensorRtEngine(library, b"no plan")


@pytest.mark.parametrize("free", [50, 5])
def test_full_memory_is_named_and_costs_no_plan(trt: Any, tmp_path: Path, cache: PlanCache, free: int) -> None:
    bundle = bundle_of(tmp_path)
    open_tensorrt(bundle, cache=cache).close()
    trt.free_mib = free
    with pytest.raises(EngineError, match=r"memory is full: close other programs"):
        open_tensorrt(bundle, cache=cache)
    assert trt.stats["builds"] == 1
    trt.free_mib = 4096
    open_tensorrt(bundle, cache=cache).close()
    assert trt.stats["builds"] == 1


def test_full_memory_for_the_context_only(trt: Any, tmp_path: Path) -> None:
    library = find_library()
    plan = build_plan(library, bundle_of(tmp_path).graph_bytes("reference"), BuildOptions()).plan
    original = trt.Runtime.deserialize_cuda_engine

    def then_full(self: Any, data: bytes) -> Any:
        engine = original(self, data)
        trt.free_mib = 5
        return engine

    trt.Runtime.deserialize_cuda_engine = then_full
    with pytest.raises(
        EngineError, match=r"cannot make an execution context: .*OutOfMemory.*; memory is full"
    ) as error:
        TensorRtEngine(library, plan)
    assert len(trt.live) == 0, f"kept by {error}"


def test_what_the_builder_refuses(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    bundle = bundle_of(tmp_path)
    trt.refuse = "IBuilder: Error Code 10: Internal Error (Could not find any implementation for node {x})"
    with pytest.raises(EngineError, match=r"TensorRT: the build failed: IBuilder: Error Code 10.*node \{x\}\)$"):
        open_tensorrt(bundle, cache=cache)
    trt.refuse = "Error Code 2: OutOfMemory (Requested size was 42 bytes)"
    with pytest.raises(EngineError, match=r"memory is full.*--workspace"):
        open_tensorrt(bundle, cache=cache)
    trt.refuse = None
    open_tensorrt(bundle, cache=cache).close()


def test_a_run_that_fails(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    with open_tensorrt(bundle_of(tmp_path), cache=cache) as engine:
        engine.bind(Memory(engine).addresses)
        trt.refuse = "IExecutionContext::enqueueV3: Error Code 1: Cask (Cask convolution execution)"
        with pytest.raises(EngineError, match=r"a run could not be queued: IExecutionContext::enqueueV3.*Cask"):
            engine.enqueue(STREAM)
        trt.refuse = None


def test_a_graph_that_is_none(trt: Any) -> None:
    with pytest.raises(EngineError, match=r"does not take this graph: graph: Failed to parse the ONNX model") as error:
        build_plan(find_library(), b"rubbish", BuildOptions())
    assert "\n" not in str(error.value)


def test_weights_in_other_files_are_refused(trt: Any) -> None:
    model = tiny_onnx.heatmap_net()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    with pytest.raises(EngineError, match=r"has weights in other files"):
        build_plan(find_library(), model.SerializeToString(), BuildOptions())


def test_a_free_height_is_refused(trt: Any) -> None:
    graph = tiny_onnx.heatmap_net(dims=[1, 3, "h", "w"]).SerializeToString()
    with pytest.raises(EngineError, match=r"'image' has shape \(1, 3, -1, -1\).*--size WxH"):
        build_plan(find_library(), graph, BuildOptions())


def test_the_graph_lives_while_it_is_built(trt: Any, tmp_path: Path) -> None:
    class Graph(bytearray):
        """Bytes whose end can be seen."""

    data = bundle_of(tmp_path).graph_bytes("reference")
    assert build_plan(find_library(), Graph(data), BuildOptions()).plan  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [onnx.TensorProto.FLOAT16, onnx.TensorProto.INT32])
def test_types_of_tensors(trt: Any, dtype: int) -> None:
    values = [onnx.helper.make_tensor_value_info(name, dtype, [1, 3, 8, 8]) for name in ("image", "maps")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["image"], ["maps"])], "g", values[:1], values[1:]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    plan = build_plan(find_library(), model.SerializeToString(), BuildOptions()).plan
    if dtype == onnx.TensorProto.INT32:
        with pytest.raises(EngineError, match=r"tensor 'image' is .*wanted floats of 32 or 16 bits"):
            TensorRtEngine(find_library(), plan)
    else:
        with TensorRtEngine(find_library(), plan) as engine:
            assert str(engine.outputs[0]) == "float16 (1, 3, 8, 8)"


def test_dla_lists_what_falls_back(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    graph = tiny_onnx.heatmap_net(dims=["n", 3, 32, 48]).SerializeToString()
    options = BuildOptions(dla_core=1, max_batch=2)
    with pytest.raises(EngineError, match=r"DLA core 1: this board and TensorRT have 0"):
        build_plan(find_library(), graph, options)
    trt.dla_cores, trt.dla_kinds = 2, ("Conv",)
    built = build_plan(find_library(), graph, options)
    assert built.report.fallbacks == ("Relu_1",)
    assert built.report.layers == 2
    assert trt.built[-1]["flags"] == {"GPU_FALLBACK"}
    assert trt.built[-1]["profile"] == {"image": [(2, 3, 32, 48)] * 3}  # a DLA takes one size
    with TensorRtEngine(find_library(), built.plan, dla_core=1) as engine:
        assert engine.inputs[0].shape == (2, 3, 32, 48)
        memory = Memory(engine, 2)
        engine.bind(memory.addresses, 2)
        engine.enqueue(STREAM)


def test_the_timing_cache_is_kept(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    for name in ("a", "b"):
        open_tensorrt(
            tiny.write(tmp_path / f"{name}.pose", size_wh=(64, 32 if name == "a" else 64)), cache=cache
        ).close()
    files = list(cache.folder.glob("*.timing"))
    if trt.machine_version == fake_tensorrt.RTX:
        assert files == []  # it has none, and warns of being asked
    else:
        assert len(files) == 1
        assert files[0].read_bytes().endswith(b"by %s: timed timed" % trt.__version__.encode())


def test_progress(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    told: list[tuple[str, int, int]] = []
    open_tensorrt(bundle_of(tmp_path), cache=cache, on_progress=lambda *step: told.append(step)).close()
    assert told == [
        ("Building engine", 0, 2),
        ("Tactic selection", 0, 1),
        ("Tactic selection", 1, 1),
        ("Tactic selection", 1, 1),
        ("Building engine", 1, 2),
        ("Building engine", 2, 2),
    ]


def test_ctrl_c_in_progress_cancels_the_build(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_tensorrt(bundle_of(tmp_path), cache=cache, on_progress=stop)
    assert trt.built == []
    assert list(cache.folder.glob("*.plan")) == []


def test_ctrl_c_in_the_log_cancels_the_build(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    handler = Handler()
    LOGGER.addHandler(handler)
    try:
        trt.refuse = "something"
        with pytest.raises(KeyboardInterrupt):
            open_tensorrt(bundle_of(tmp_path), cache=cache)
    finally:
        LOGGER.removeHandler(handler)


def test_ctrl_c_in_the_log_of_a_run_is_not_lost(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    def logged(stream: int, run: Any) -> None:
        trt.last_logger().log(2, "the default stream is slow")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    handler = Handler()
    with open_tensorrt(bundle_of(tmp_path), cache=cache) as engine:
        engine.bind(Memory(engine).addresses)
        trt.push = logged
        LOGGER.addHandler(handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                engine.enqueue(STREAM)
        finally:
            LOGGER.removeHandler(handler)
        engine.enqueue(STREAM)  # once is enough


def test_the_log_goes_to_logging(trt: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = find_library().log
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        for severity in range(5):
            log.log(severity, f"of severity {severity}")
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]


def test_an_engine_that_nobody_closes_is_freed_in_order(trt: Any, tmp_path: Path, cache: PlanCache) -> None:
    engine = open_tensorrt(bundle_of(tmp_path), cache=cache)
    engine.bind(Memory(engine).addresses)
    del engine
    assert trt.violations == []


# What the machine lacks.


def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    no_library(monkeypatch)
    with pytest.raises(EngineError, match=r"TensorRT is not installed.*JetPack.*--system-site-packages"):
        find_library()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("8.5.2.2", "got version 8.5.2.2, wanted 10.3 or newer, before 12; JetPack 6.1 and newer have it"),
        ("10.0.1", "got version 10.0.1, wanted 10.3"),
        ("12.0.0", "got version 12.0.0, wanted 10.3 or newer, before 12"),
        ("unknown", "got version unknown"),
    ],
)
def test_other_versions(monkeypatch: pytest.MonkeyPatch, version: str, message: str) -> None:
    trt = fake_tensorrt.install(monkeypatch, "10.3.0")
    trt.__version__ = version
    with pytest.raises(EngineError, match=message):
        find_library()


def test_tensorrt_comes_before_that_for_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt.install(monkeypatch, fake_tensorrt.RTX)
    assert str(find_library()) == "TensorRT for RTX 1.7.1"
    module = fake_tensorrt.make("11.4.0.106")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    find_library.cache_clear()
    assert str(find_library()) == "TensorRT 11.4.0.106"
    assert find_library() is find_library()


def test_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pose_runtime.gpu import driver

    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    with pytest.raises(EngineError, match=r"cannot load .*libcuda.so.1.*JetPack.*--device cpu"):
        find_gpu()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (100, r"cuInit gave error 100 \(no CUDA-capable device is detected\); no GPU is visible"),
        (803, r"error 803 \(unknown error\); the driver's library and its kernel module differ; reboot"),
        (999, "error 999 .*look at dmesg"),
    ],
)
def test_no_gpu_is_found_before_tensorrt_is_touched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, init: int, message: str
) -> None:
    (tmp_path / "driver").mkdir()
    fake_driver.install(tmp_path / "driver", monkeypatch, init=init)
    bundle = bundle_of(tmp_path)
    no_library(monkeypatch)  # looking for it first would give another message
    with pytest.raises(EngineError, match=message):
        open_tensorrt(bundle)


def test_no_such_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_driver.install(tmp_path, monkeypatch, count=2)
    assert find_gpu(1).name == "Orin"
    with pytest.raises(EngineError, match=r"device 2 gave error 101.*nvidia-smi -L"):
        find_gpu(2)


def test_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_driver.install(tmp_path, monkeypatch, processors=16)
    gpu = find_gpu()
    assert str(gpu) == "Orin (SM 8.7, 16 multiprocessors, CUDA 12.6)"
    assert gpu.integrated
    assert gpu.memory_bytes == 7 << 30


def test_a_builder_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trt = fake_tensorrt.install(monkeypatch, "10.3.0")
    trt.has_gpu = False
    graph = bundle_of(tmp_path).graph_bytes("reference")
    with pytest.raises(EngineError, match=r"cannot make a Builder .*: CUDA initialization failure.*; the driver may"):
        build_plan(find_library(), graph, BuildOptions())


def test_default_graphs(tmp_path: Path) -> None:
    assert default_graph(tiny.write(tmp_path / "a.pose")) == "reference"
    assert default_graph(tiny.write(tmp_path / "b.pose", roles=("reference", "tensorrt"))) == "tensorrt"


# Real builds.


@pytest.fixture(scope="module")
def rtx() -> Library:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt-rtx is not installed")
    find_library.cache_clear()
    library = find_library()
    if library.name != "tensorrt_rtx":
        pytest.skip("TensorRT is installed; only that for RTX builds without a GPU")
    return library


@pytest.mark.parametrize("network", ["higherhrnet-tiny", "lightweight-tiny"])
@pytest.mark.parametrize("role", ["reference", "tensorrt"])
def test_bundled_networks_build_for_real(rtx: Library, network: str, role: Any) -> None:
    phases: set[str] = set()
    graph = load_bundle(network).graph_bytes(role)
    built = build_plan(rtx, graph, BuildOptions(), sm=(8, 6), on_progress=lambda phase, *_: phases.add(phase))
    assert built.plan[:4] == b"vtrt"
    assert len(built.plan) > 1 << 20
    assert "Building engine" in phases
    assert built.timing == b""


def test_a_free_batch_builds_for_real(rtx: Library) -> None:
    graph = tiny_onnx.heatmap_net(dims=["n", 3, 32, 48]).SerializeToString()
    assert build_plan(rtx, graph, BuildOptions(max_batch=4, opt_batch=2), sm=(8, 6)).plan


def test_ctrl_c_cancels_a_real_build(rtx: Library) -> None:
    graph = load_bundle("lightweight-tiny").graph_bytes("reference")
    steps = []

    def stop(phase: str, done: int, total: int) -> None:
        steps.append(phase)
        if len(steps) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(rtx, graph, BuildOptions(), sm=(8, 6), on_progress=stop)
    assert len(steps) == 9


def test_real_refusals(rtx: Library) -> None:
    with pytest.raises(EngineError, match=r"does not take this graph: graph: .*Failed to parse"):
        build_plan(rtx, b"rubbish", BuildOptions(), sm=(8, 6))
    graph = load_bundle("lightweight-tiny").graph_bytes("reference")
    with pytest.raises(EngineError, match=r"cannot build for SM72 without such a GPU"):
        build_plan(rtx, graph, BuildOptions(), sm=(7, 2))
    with pytest.raises(EngineError, match=r"DLA core 0: this board and TensorRT have 0"):
        build_plan(rtx, graph, BuildOptions(dla_core=0), sm=(8, 6))
    model = tiny_onnx.heatmap_net()
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(EngineError, match=r"does not take this graph: .*Unheard"):
        build_plan(rtx, model.SerializeToString(), BuildOptions(), sm=(8, 6))
