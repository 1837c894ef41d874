"""The frame path on a fake GPU, with the real kernels emulated: equal to the CPU's, and correct in its use of CUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

import cascades
import tiny
from fakes.cuda import H200, ORIN, FakeCuda, installed
from fakes.engine import OrtDeviceEngine, device_engine
from pose_runtime import Bundle, Frame, Poses, load_bundle, manifest
from pose_runtime.cascade import MAX_CROPS, CascadePipeline
from pose_runtime.decode import OffsetDecoder, VectorDecoder, WindowDecoder
from pose_runtime.engines import TensorSpec, open_engine
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.errors import BundleError, DecodeError, EngineError, FrameError
from pose_runtime.gpu import inputs as gpu_inputs
from pose_runtime.gpu import outputs as gpu_outputs
from pose_runtime.gpu import pipeline as gpu_pipeline
from pose_runtime.gpu.device import Device, Event, Stream
from pose_runtime.gpu.pipeline import GpuPipeline
from pose_runtime.pipeline import Pipeline

NETWORKS = ("higherhrnet-tiny", "lightweight-tiny")
FORMATS = ("bgr8", "nv12", "yuyv")


def check_image(bundle: Bundle, index: int) -> np.ndarray:
    data = bundle.file_bytes(bundle.manifest.check.frames[index].file)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def padded(rows: np.ndarray, pitch: int) -> np.ndarray:
    """Rows of bytes, each followed by what a camera's buffer has there; the last row ends with its last pixel."""
    out = np.full((len(rows), pitch), 77, np.uint8)
    out[:, : rows.shape[1]] = rows
    return out.reshape(-1)[: (len(rows) - 1) * pitch + rows.shape[1]]


def camera_frame(image: np.ndarray, form: str, extra: int = 32) -> Frame:
    """An image in a camera's format, with a pitch."""
    height, width = image.shape[:2]
    if form == "bgr8":
        pitch = 3 * width + extra
        return Frame((padded(image.reshape(height, -1), pitch),), "bgr8", (width, height), (pitch,))
    yuv = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, rest = yuv[: width * height].reshape(height, width), yuv[width * height :].reshape(2, height // 2, width // 2)
    chroma = np.ascontiguousarray(rest.transpose(1, 2, 0)).reshape(height // 2, width)
    if form == "nv12":
        planes = (padded(luma, width + extra), padded(chroma, width + 2 * extra))
        return Frame(planes, "nv12", (width, height), (width + extra, width + 2 * extra))
    pairs = np.repeat(chroma.reshape(height // 2, width // 2, 2), 2, axis=0)
    packed = np.stack([luma[:, ::2], pairs[..., 0], luma[:, 1::2], pairs[..., 1]], axis=-1).reshape(height, 2 * width)
    return Frame((padded(packed, 2 * width + extra),), "yuyv", (width, height), (2 * width + extra,))


def assert_same(got: Poses | list[Poses], wanted: Poses | list[Poses], most: float = 1e-3) -> None:
    """Most of 0 for bits."""
    if isinstance(got, Poses):
        got, wanted = [got], [wanted]  # type: ignore[list-item]
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert len(a) == len(b)
        np.testing.assert_allclose(a.keypoints, b.keypoints, rtol=0, atol=most)
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=1e-5)


@contextmanager
def both(bundle: Bundle, gpu: Any = H200, max_batch: int = 1, **options: Any) -> Iterator[tuple[Any, Any, FakeCuda]]:
    """The same network in a pipeline on the fake GPU and in one on the CPU."""
    of = bundle.manifest
    if max_batch > 1:
        of = msgspec.structs.replace(of, input=msgspec.structs.replace(of.input, batch=0))
    with (
        Pipeline(bundle.manifest, open_engine("onnxruntime", bundle.graph_bytes("reference"))) as cpu,
        installed(gpu, **options) as cuda,
        GpuPipeline(of, device_engine(cuda, bundle, max_batch=max_batch), Device(0)) as on_gpu,
    ):
        yield on_gpu, cpu, cuda


# ---- equal to the CPU ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_bundled_networks_give_the_poses_of_the_cpu(name: str, form: str) -> None:
    bundle = load_bundle(name)
    with both(bundle) as (on_gpu, cpu, cuda):
        for index in range(3):  # on the stream, then a graph of each slot
            frame = camera_frame(check_image(bundle, index), form)
            wanted = cpu(frame)
            assert len(wanted) > 0
            assert_same(on_gpu(frame), wanted)
        assert cuda.launched_graphs == 2
        assert str(on_gpu.path) == "pre-processing on the GPU, decoding on the GPU, by graph, frames copied"
        assert min(on_gpu.timings.pre_s, on_gpu.timings.network_s, on_gpu.timings.decode_s, on_gpu.upload_s) > 0
        assert on_gpu.upload_s < on_gpu.timings.pre_s


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_three_formats_and_sizes(name: str) -> None:
    bundle = load_bundle(name)
    images = [check_image(bundle, index) for index in range(3)]
    images[1] = cv2.resize(images[1], (400, 240))
    frames = [camera_frame(image, form) for image, form in zip(images, FORMATS, strict=True)]
    with both(bundle, max_batch=3) as (on_gpu, cpu, cuda):
        wanted = [cpu(frame) for frame in frames]
        for _ in range(2):  # on the stream, then a graph
            assert_same(on_gpu(frames), wanted)
        assert (on_gpu.engine.runs, cuda.launched_graphs) == (2, 1)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_lists_are_cut_into_batches(tmp_path: Path, number: int) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose", batch=0)
    frames = [tiny.frame((20 + 5 * i, 30), (60, 20 + 3 * i), None) for i in range(number)]
    with tiny_gpu(bundle, max_batch=3) as (on_gpu, cpu, _):
        for _ in range(3):
            assert_same(on_gpu(frames), cpu(frames), 0)


@contextmanager
def tiny_gpu(
    bundle: Bundle, max_batch: int = 1, gpu: Any = H200, **options: Any
) -> Iterator[tuple[GpuPipeline, Pipeline, FakeCuda]]:
    """`tiny`'s network on both; what it makes of a run's rows goes through the graph together."""
    width, height = bundle.manifest.input.size_wh
    inner = open_engine("onnxruntime", bundle.graph_bytes("reference"))
    with (
        Pipeline(bundle.manifest, open_engine("onnxruntime", bundle.graph_bytes("reference"))) as cpu,
        installed(gpu, **options) as cuda,
        GpuPipeline(
            bundle.manifest,
            OrtDeviceEngine(cuda, inner, {"maps": (3, height // 4, width // 4)}, max_batch),
            Device(0),
        ) as on_gpu,
    ):
        yield on_gpu, cpu, cuda


def test_boxes_go_row_by_row(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose", resize=tiny.CROP, batch=0)
    image = tiny.frame((30, 40), (90, 60), (64, 20))
    with tiny_gpu(bundle, max_batch=4) as (on_gpu, cpu, cuda):
        for boxes in ([(0, 0, 128, 96)], [(10, 10, 60, 60), (50, 20, 70, 70)], [(0, 20, 50, 50), (60, 30, 64, 64)], []):
            assert_same(on_gpu(image, boxes=boxes), cpu(image, boxes=boxes), 0)
            assert_same(on_gpu(image), cpu(image), 0)
        assert cuda.launched_graphs > 0


def test_one_graph_serves_all_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose", resize=tiny.CROP, batch=0)
    image = tiny.frame((30, 40), (90, 60), (64, 20))
    with tiny_gpu(bundle, max_batch=2) as (on_gpu, cpu, cuda):
        for i in range(6):
            boxes = [(2 * i, 10, 60, 60), (50, 20 - 3 * i, 70, 70 + i)]
            assert_same(on_gpu(image, boxes=boxes), cpu(image, boxes=boxes), 0)
            if i == 2:
                monkeypatch.setattr(gpu_inputs, "plan_crops", lambda *_, **__: pytest.fail("planned in the frame loop"))
        assert cuda.launched_graphs == 5


def other_family(roles: dict[str, tuple[int, ...]], decoder: Any) -> manifest.Manifest:
    """`tiny`'s manifest with other heads."""
    outputs = tuple(
        manifest.Output(tensor=role, role=role, channels=(0, shape[0]), stride=4.0 if len(shape) > 1 else 1.0)  # type: ignore[arg-type]
        for role, shape in roles.items()
    )
    return tiny.replaced(tiny.make_manifest(batch=0), outputs=outputs, decoder=decoder)


@pytest.mark.parametrize(
    ("roles", "decoder"),
    [
        (
            {"heatmaps": (3, 12, 16), "offsets": (6, 12, 16)},
            OffsetDecoder(logits=True, radius=2, min_score=0.1, grid="centre"),
        ),
        ({"vector": (6,)}, VectorDecoder(origin="corner", grid="centre")),
        (
            {"heatmaps": (3, 12, 16), "windows": (6,), "fine": (3, 9, 9)},
            WindowDecoder(stride=1.0, min_score=0.1),
        ),
    ],
    ids=["offset", "vector", "window"],
)
def test_other_families(roles: dict[str, tuple[int, ...]], decoder: Any) -> None:
    of = other_family(roles, decoder)

    def network(values: Any) -> dict[str, np.ndarray]:
        rows = values["image"].mean(axis=(1, 2, 3))
        seeds = [int(1e6 * row) for row in rows]
        draw = {seed: np.random.default_rng(seed) for seed in seeds}
        return {
            role: np.stack([draw[seed].normal(0, 1, shape).astype(np.float32) for seed in seeds])
            for role, shape in roles.items()
        }

    def engine() -> FakeEngine:
        image = TensorSpec("image", (None, 3, 48, 64), np.dtype(np.float32))
        outputs = [TensorSpec(role, (None, *shape), np.dtype(np.float32)) for role, shape in roles.items()]
        return FakeEngine([image], outputs, network)

    frames = [tiny.frame((20 + i, 30), None, None) for i in range(3)]
    with (
        Pipeline(of, engine()) as cpu,
        installed() as cuda,
        GpuPipeline(of, OrtDeviceEngine(cuda, engine(), max_batch=2), Device(0)) as on_gpu,
    ):
        for frame in frames:
            assert_same(on_gpu(frame), cpu(frame), 1e-5)
        assert on_gpu.path.decode == "gpu"


@pytest.mark.parametrize(("takes", "rows"), [(64, 28), (5, 5)])
def test_a_cascade(takes: int, rows: int) -> None:
    """Every joint's crop is made on the GPU, all of them in one run where the engine takes so many."""
    networks = [cascades.projection(seed) for seed in (1, 2, 3)]
    of = cascades.make_manifest([cascades.STAGE] * 2)
    boxes = [[20, 10, 60, 90], [80, 30, 100, 40]]
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (120, 200, 3), np.uint8), (0, 0), 3)
    with CascadePipeline(of, [cascades.make_stage(network) for network in networks]) as cpu, installed() as cuda:
        engines = [OrtDeviceEngine(cuda, cascades.engine(network), max_batch=takes) for network in networks]
        alone = cascades.make_manifest()
        stages = [GpuPipeline(alone, engine, Device(0), max_batch=MAX_CROPS) for engine in engines]
        with CascadePipeline(of, stages) as on_gpu:
            assert on_gpu.device_name == "cuda:0"
            for _ in range(3):  # on the stream, then graphs
                assert_same(on_gpu(image, boxes=boxes), cpu(image, boxes=boxes), 2e-3)
            assert [stage.max_batch for stage in stages] == [takes] * 3
            assert engines[1].runs == 3 * -(-28 // rows)
            assert all(stage.path.pre == stage.path.decode == "gpu" for stage in stages)


def test_half_precision(tmp_path: Path) -> None:
    """Half values in and out: the outputs are widened where they are checked."""
    bundle = tiny.write(tmp_path / "tiny.pose", batch=0)
    graph = tiny.make_graph(bundle.manifest, dtype=10)
    image = tiny.frame((20, 30), (60, 40), None)
    with (
        Pipeline(bundle.manifest, open_engine("onnxruntime", graph)) as cpu,
        installed() as cuda,
        GpuPipeline(
            bundle.manifest,
            OrtDeviceEngine(cuda, open_engine("onnxruntime", graph), {"maps": (3, 12, 16)}, 2),
            Device(0),
        ) as on_gpu,
    ):
        for poses, wanted in zip(on_gpu([image, image[:, ::-1]]), cpu([image, image[:, ::-1]]), strict=True):
            assert_same(poses, wanted, 0)
        assert on_gpu.path.decode == "gpu"
        on_gpu.engine.spoil = ("maps", 5, np.nan)
        with pytest.raises(EngineError, match="'maps' has values that are not finite"):
            on_gpu(image)


# ---- how CUDA is used ------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    return tiny.write(tmp_path / "tiny.pose")


def moving(number: int) -> np.ndarray:
    return tiny.frame((20 + 2 * number, 30), (60, 20 + number), (100, 70))


def test_nothing_is_allocated_or_planned_per_frame(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with tiny_gpu(small) as (on_gpu, cpu, cuda):
        for i in range(3):
            on_gpu(moving(i))
        log, live = list(cuda.log), cuda.live()
        for place, name in ((gpu_inputs, "plan_preprocess"), (gpu_outputs, "plan_decoder"), (gpu_pipeline, "capture")):
            monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("planned in the frame loop"))
        for i in range(10):
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
        assert cuda.log == log
        assert cuda.live() == live
        assert cuda.launched_graphs == 12


def test_a_new_size_is_planned_and_old_ones_go(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pipeline, "_MAX_SHAPES", 3)
    with tiny_gpu(small) as (on_gpu, cpu, cuda):
        for width in range(64, 64 + 8 * 6, 8):
            image = tiny.frame((20, 30), (40, 40), None, size_wh=(width, 48))
            assert_same(on_gpu(image), cpu(image), 0)
        kept = sum(allocation.live and allocation.kind == "locked" for allocation in cuda.allocations)
        assert kept == 2 * 3 + 2  # frames of three sizes, and the results


def test_all_is_freed_in_reverse_order(small: Bundle) -> None:
    with tiny_gpu(small) as (on_gpu, _, cuda):
        for i in range(3):
            on_gpu(moving(i))
    made = [line.split()[1:] for line in cuda.log if line.startswith("new")]
    freed = [line.split()[1:] for line in cuda.log if line.startswith("free")]
    assert freed == made[::-1]
    assert cuda.log[0] == "retain"
    assert cuda.log[-1] == "detach"


def test_upload_overlaps_the_run_before(small: Bundle) -> None:
    """Two calls under way, results in order; a frame may be overwritten as soon as it is submitted."""
    with tiny_gpu(small) as (on_gpu, cpu, _):
        on_gpu(moving(0)), on_gpu(moving(1))
        buffer = moving(2)
        on_gpu.submit(buffer)
        for i in range(3, 9):
            buffer[:] = moving(i)
            on_gpu.submit(buffer)
            buffer[:] = 0
            assert_same(on_gpu.result(), cpu(moving(i - 1)), 0)
        with pytest.raises(EngineError, match="under way"):
            on_gpu(moving(0))
        on_gpu.submit([moving(1), moving(2)])
        with pytest.raises(EngineError, match="take a result first"):
            on_gpu.submit(buffer)
        assert_same(on_gpu.result(), cpu(moving(8)), 0)
        assert_same(on_gpu.result(), cpu([moving(1), moving(2)]), 0)
        with pytest.raises(EngineError, match="submit a frame first"):
            on_gpu.result()


@pytest.mark.parametrize("method", ["wait", "synchronize"])
def test_the_fake_shows_a_missing_wait(small: Bundle, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above prove something."""
    with tiny_gpu(small) as (on_gpu, cpu, _):
        on_gpu(moving(0)), on_gpu(moving(1))
        owner: type = Stream if method == "wait" else Event
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, lambda *_: None)
            patch.setattr(Event, "seconds_since", lambda *_: 0.0)
            with pytest.raises(AssertionError):
                assert_same(on_gpu(moving(9)), cpu(moving(9)), 0)


def test_batches_of_changing_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine's state is captured with it: bound to another batch its graphs are captured again, so that is rare."""
    monkeypatch.setattr(gpu_pipeline, "_PATIENCE", 4)
    bundle = tiny.write(tmp_path / "tiny.pose", batch=0)
    with tiny_gpu(bundle, max_batch=3) as (on_gpu, cpu, cuda):
        engine: Any = on_gpu.engine
        bound = []
        for number in (2, 2, 1, 3, 1, 2, 1, 3, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1):
            frames = [moving(i) for i in range(number)]
            assert_same(on_gpu(frames), cpu(frames), 0)
            bound.append(engine._batch)
        assert bound == [2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 1, 1]
        assert engine.binds == 4
        assert cuda.launched_graphs == 10


def test_batches_of_changing_size_under_way(tmp_path: Path) -> None:
    """A call that binds the engine anew does not touch the one before it."""
    bundle = tiny.write(tmp_path / "tiny.pose", batch=0)
    calls = [[moving(10 * k + i) for i in range(number)] for k, number in enumerate((1, 1, 1, 2, 3, 1, 3, 5, 2))]
    with tiny_gpu(bundle, max_batch=4) as (on_gpu, cpu, _):
        on_gpu.submit(calls[0])
        for before, call in pairwise(calls):
            on_gpu.submit(call)
            assert_same(on_gpu.result(), cpu(before), 0)
        assert_same(on_gpu.result(), cpu(calls[-1]), 0)


def test_a_failure_on_the_gpu_frees_all(small: Bundle) -> None:
    with tiny_gpu(small) as (on_gpu, _, cuda):
        engine: Any = on_gpu.engine
        engine._run = lambda *_: (_ for _ in ()).throw(cuda.module().LogicError("an illegal memory access"))
        on_gpu.submit(moving(0))
        with pytest.raises(EngineError, match="illegal memory access"):
            on_gpu.close()
        assert on_gpu.device.is_closed


def test_a_fixed_batch_runs_with_fewer_frames(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose", batch=2)
    with tiny_gpu(bundle, max_batch=2) as (on_gpu, cpu, _):
        for number in (1, 2, 3):
            frames = [moving(i) for i in range(number)]
            assert_same(on_gpu(frames), cpu(frames), 0)


# ---- slower ways, said aloud -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_without_graphs_the_stream(small: Bundle, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with tiny_gpu(small, fails={name}) as (on_gpu, cpu, cuda):
        if name == "cuStreamEndCapture":
            cuda.fails.clear()
            on_gpu.engine._enqueue = spoil(on_gpu)  # type: ignore[method-assign]
        for i in range(4):
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
        assert cuda.launched_graphs == 0
        assert on_gpu.path.replay == "stream"
        assert on_gpu.path.decode == "gpu"
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "no CUDA graph" in warning.getMessage()


def spoil(pipeline: GpuPipeline) -> Callable[[int], None]:
    """An engine that waits for the GPU in its enqueue, which no capture allows."""
    enqueue, stream = pipeline.engine._enqueue, pipeline._compute

    def waiting(handle: int) -> None:
        enqueue(handle)
        stream.synchronize()

    return waiting


def test_without_kernels_the_cpu_works(small: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    def none(sm: tuple[int, int], driver: int) -> bytes:
        raise EngineError(f"this build has no kernels for sm_{sm[0]}{sm[1]}")

    with installed() as cuda, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_pipeline, "find_kernels", none)
        inner = open_engine("onnxruntime", small.graph_bytes("reference"))
        with (
            Pipeline(small.manifest, open_engine("onnxruntime", small.graph_bytes("reference"))) as cpu,
            GpuPipeline(small.manifest, OrtDeviceEngine(cuda, inner), Device(0)) as on_gpu,
        ):
            for i in range(4):
                assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
            assert (on_gpu.path.pre, on_gpu.path.decode, on_gpu.path.replay) == ("cpu", "cpu", "graph")
            assert cuda.launched_graphs == 3
    assert "no kernels for sm_90" in caplog.text


def test_a_decoder_without_kernels(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise DecodeError("too many people")

    monkeypatch.setattr(gpu_outputs, "plan_decoder", none)
    with tiny_gpu(small) as (on_gpu, cpu, _):
        for i in range(4):
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
        assert (on_gpu.path.pre, on_gpu.path.decode, on_gpu.path.replay) == ("gpu", "cpu", "graph")
        assert "too many people" in str(on_gpu.path)


def test_without_timings_there_are_poses(small: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with tiny_gpu(small, fails={"cuEventElapsedTime"}) as (on_gpu, cpu, _):
        for i in range(4):
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
        assert on_gpu.timings.total_s == 0
        assert on_gpu.path.replay == "graph"
    assert caplog.text.count("no timings") == 1


@pytest.mark.parametrize("decode", ["gpu", "cpu"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite(small: Bundle, value: float, decode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if decode == "cpu":
        monkeypatch.setattr(gpu_outputs, "plan_decoder", lambda *_, **__: (_ for _ in ()).throw(DecodeError("none")))
    with tiny_gpu(small) as (on_gpu, cpu, _):
        engine: Any = on_gpu.engine
        for i in range(4):
            engine.spoil = ("maps", 3 * 12 * 16 - 1 - i, value)
            with pytest.raises(EngineError, match="'maps' has values that are not finite"):
                on_gpu(moving(i))
            engine.spoil = None
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)


def test_a_broken_call_does_not_touch_the_other(small: Bundle) -> None:
    with tiny_gpu(small) as (on_gpu, cpu, _):
        engine: Any = on_gpu.engine
        engine.spoil = ("maps", 0, np.nan)
        on_gpu.submit(moving(0))
        with on_gpu.device.current():
            on_gpu._compute.synchronize()
        engine.spoil = None
        on_gpu.submit(moving(1))
        with pytest.raises(EngineError, match="not finite"):
            on_gpu.result()
        assert_same(on_gpu.result(), cpu(moving(1)), 0)


# ---- integrated GPUs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares_managed", [False, True])
def test_integrated_gpus_try_the_kinds_of_memory(small: Bundle, shares_managed: bool) -> None:
    with tiny_gpu(small, gpu=ORIN, shares_managed=shares_managed) as (on_gpu, cpu, cuda):
        for i in range(4):
            assert_same(on_gpu(moving(i)), cpu(moving(i)), 0)
        tried = {allocation.kind for allocation in cuda.allocations}
        assert tried == {"device", "locked", "mapped"} | ({"managed"} if shares_managed else set())
        assert on_gpu.path.memory in ("copied", "mapped", "managed")
        kept = [allocation.kind for allocation in cuda.allocations if allocation.live]
        assert {"copied": "locked"}.get(on_gpu.path.memory, on_gpu.path.memory) in kept


# ---- errors ----------------------------------------------------------------------------------------------------


def test_out_of_memory_frees_what_there_was(small: Bundle) -> None:
    inner = open_engine("onnxruntime", small.graph_bytes("reference"))
    with installed(fails={"mem_alloc"}) as cuda, Device(0) as device:
        with OrtDeviceEngine(cuda, inner) as engine:
            with pytest.raises(EngineError, match=r"out of memory.*close other programs"):
                GpuPipeline(small.manifest, engine, device)
            assert all(not allocation.live for allocation in cuda.allocations)
            engine._cuda.stack.append(device._context)  # closing an engine wants the context
        cuda.stack.pop()


def test_a_frame_of_another_input_size(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose", resize=tiny.SHORT_SIDE, batch=0)
    inner = FakeEngine(
        [TensorSpec("image", (None, 3, 64, 128), np.dtype(np.float32))],
        [TensorSpec("maps", (None, 3, 16, 32), np.dtype(np.float32))],
        lambda values: {"maps": np.ascontiguousarray(values["image"][:, :, ::4, ::4])},
    )
    with installed() as cuda, GpuPipeline(bundle.manifest, OrtDeviceEngine(cuda, inner), Device(0)) as on_gpu:
        assert len(on_gpu(tiny.frame((40, 30), None, None, size_wh=(128, 64)))) == 1
        with pytest.raises(FrameError, match=r"\(64, 64\).*\(128, 64\)"):
            on_gpu(tiny.frame((40, 30), None, None, size_wh=(64, 64)))


def test_an_engine_of_another_network(small: Bundle) -> None:
    inner = FakeEngine([TensorSpec("picture", (1, 3, 48, 64), np.dtype(np.float32))], [], lambda values: {})
    with installed() as cuda, Device(0) as device, pytest.raises(BundleError, match="picture"):
        GpuPipeline(small.manifest, OrtDeviceEngine(cuda, inner), device)


def test_wrong_arguments_leave_the_pipeline_usable(small: Bundle) -> None:
    with tiny_gpu(small) as (on_gpu, cpu, _):
        for bad in (None, np.zeros((4, 4)), [moving(0), "picture"]):
            with pytest.raises(FrameError):
                on_gpu(bad)  # type: ignore[call-overload]
        with pytest.raises(FrameError, match="leave them out"):
            on_gpu(moving(0), boxes=[(0, 0, 9, 9)])
        assert on_gpu([]) == []
        assert_same(on_gpu(moving(0)), cpu(moving(0)), 0)


def test_closing_waits_for_what_is_under_way(small: Bundle) -> None:
    with tiny_gpu(small) as (on_gpu, _, _):
        on_gpu.submit(moving(0))
        on_gpu.close()
        on_gpu.close()
        with pytest.raises(EngineError, match="closed"):
            on_gpu(moving(0))
