from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny
from machines import orin_nano
from pose_runtime import networks
from pose_runtime.arrays import AnyArray
from pose_runtime.atomic import write_atomically
from pose_runtime.bench.compare import compare
from pose_runtime.bench.crowd import cells, crowd_boxes, crowd_outputs, figure
from pose_runtime.bench.measure import Runs, frames_of, graph_times, measure, measure_batches, measure_crowds, stage
from pose_runtime.bench.result import BenchResult, CompareResult
from pose_runtime.bench.run import Options, bench_bundle, bench_two, parse_side
from pose_runtime.bench.target import CpuTarget, open_target, size_wh
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli import bench as cli
from pose_runtime.decode import (
    BODY25_LIMBS,
    COCO18_LIMBS,
    COCO_ORDER,
    TRT_POSE_LIMBS,
    EmbeddingDecoder,
    PafDecoder,
)
from pose_runtime.errors import BundleError, EngineError, SinkError
from pose_runtime.frame import Frame
from pose_runtime.manifest import Manifest, Output
from pose_runtime.pipeline import Pipeline, Timings
from pose_runtime.skeletons import SKELETONS

# ---- people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_has_a_figure(name: str) -> None:
    points = figure(SKELETONS[name].names)
    assert points.shape == (len(SKELETONS[name].names), 2)
    assert np.abs(points[:, 0]).max() <= 0.25
    assert 0 <= points[:, 1].min() < points[:, 1].max() <= 1
    assert len(np.unique(points, axis=0)) == len(points)
    left = [i for i, part in enumerate(SKELETONS[name].names) if part.startswith("left_")]
    assert (points[left, 0] > 0).all()


def test_keypoints_without_a_known_name_get_places_of_their_own() -> None:
    points = figure(["tail", "fin", "left_wing", "gill"])
    assert len(np.unique(points, axis=0)) == 4


@pytest.mark.parametrize("size", [(640, 480), (100, 900), (41, 23)])
def test_places_lie_inside_apart_and_stay(size: tuple[int, int]) -> None:
    places = cells(size, 30, 30)
    assert len(places) == 30
    assert (places[:, 1] >= -1e-9).all()
    assert (places[:, 1] + places[:, 2] <= size[1] + 1e-9).all()
    assert (places[:, 0] - 0.25 * places[:, 2] >= -1e-9).all()
    assert (places[:, 0] + 0.25 * places[:, 2] <= size[0] + 1e-9).all()
    for i, (x, y, tall) in enumerate(places):
        apart = (np.abs(places[:, 0] - x) >= 0.5 * tall) | (np.abs(places[:, 1] - y) >= tall)
        assert apart.sum() == 29, i
    assert np.array_equal(cells(size, 5, 30), places[:5])  # more people change nobody's place or size


def paf(profile: str, limbs: Any, parts: int, **parameters: Any) -> PafDecoder:
    """A decoder with the published parameters of a profile, as far as they matter here."""
    given: dict[str, Any] = {
        "upsample": 4, "peak_threshold": 0.1, "limb_threshold": 0.05, "samples": 10, "min_hits": 8,
        "min_distance": 6.0, "window": 3, "min_parts": 4, "min_score": 0.2, "max_peaks": 100, "max_people": 100,
    }  # fmt: skip
    return PafDecoder(
        profile=profile, limbs=limbs, matching_only=(), parts=parts, grid="corner", **(given | parameters)
    )  # type: ignore[arg-type]


def embedding(**parameters: Any) -> EmbeddingDecoder:
    given: dict[str, Any] = {
        "nms": 5, "max_people": 30, "threshold": 0.1, "tag_threshold": 1.0, "use_detection_val": True,
        "ignore_too_much": False, "distance": "l2", "adjust": True, "refine": True, "refined_score": "map",
        "at_input_size": True, "grid": "corner",
    }  # fmt: skip
    return EmbeddingDecoder(joint_order=COCO_ORDER, **(given | parameters))


def outputs_of(skeleton: str, decoder: Any) -> tuple[Manifest, dict[str, tuple[int, ...]]]:
    """A manifest of that decoder, and shapes of its network's outputs for an input of 512 x 384."""
    names = SKELETONS[skeleton].names
    k = len(names)
    if isinstance(decoder, EmbeddingDecoder):
        outputs = (
            Output(tensor="coarse", role="heatmaps", channels=(0, k), stride=4.0),
            Output(tensor="coarse", role="tags", channels=(k, 2 * k), stride=4.0),
            Output(tensor="fine", role="heatmaps", channels=(0, k), stride=2.0),
        )
        shapes: dict[str, tuple[int, ...]] = {"coarse": (1, 2 * k, 96, 128), "fine": (1, k, 192, 256)}
    else:
        fields = 1 + max(max(limb[2:]) for limb in decoder.limbs)
        outputs = (
            Output(tensor="maps", role="heatmaps", channels=(0, k + 1), stride=8.0),
            Output(tensor="fields", role="pafs", channels=(0, fields), stride=8.0),
        )
        shapes = {"maps": (1, k + 1, 48, 64), "fields": (1, fields, 48, 64)}
    of = tiny.replaced(tiny.make_manifest(), skeleton=SKELETONS[skeleton], decoder=decoder, outputs=outputs)
    return of, shapes


@pytest.mark.parametrize(
    ("skeleton", "decoder"),
    [
        ("openpose18", paf("openpose", COCO18_LIMBS, 18, upsample=8)),
        ("openpose18", paf("lightweight", COCO18_LIMBS, 18)),
        ("openpose18", paf("tf_pose", COCO18_LIMBS, 18, min_hits=5)),
        ("trt_pose18", paf("trt_pose", TRT_POSE_LIMBS, 18, upsample=1, window=5)),
        ("body25", paf("openpose", BODY25_LIMBS, 25, upsample=8)),
        ("coco17", embedding()),
        ("coco17", embedding(at_input_size=False)),
    ],
)
@pytest.mark.parametrize("people", [1, 5, 30])
def test_decoders_find_whom_the_outputs_hold(skeleton: str, decoder: Any, people: int) -> None:
    of, shapes = outputs_of(skeleton, decoder)
    outputs = crowd_outputs(of, shapes, people, 30)
    assert outputs is not None
    assert {name: array.shape for name, array in outputs.items()} == shapes
    again = crowd_outputs(of, shapes, people, 30)
    assert again is not None
    assert all(np.array_equal(again[name], array) for name, array in outputs.items())
    roles: dict[str, list[AnyArray]] = {}
    for output in of.outputs:
        roles.setdefault(output.role, []).append(outputs[output.tensor][0, slice(*output.channels)])
    found = decoder({role: [np.ascontiguousarray(a) for a in arrays] for role, arrays in roles.items()}, (512, 384))
    assert len(found.keypoints) == people
    whole = (found.keypoints[..., 2] > 0).sum(axis=1)
    assert np.median(whole) >= 0.8 * found.keypoints.shape[1]


def test_single_person_decoders_have_no_crowd(tmp_path: Path) -> None:
    assert crowd_outputs(tiny.make_manifest(), {"maps": (1, 3, 12, 16)}, 5, 30) is None
    target = CpuTarget(pipeline(tiny.make_manifest(), lambda inputs: {"maps": np.zeros((1, 3, 12, 16), np.float32)}), 1)
    assert measure_crowds(target, tiny.frame(), 1) == ()


def test_boxes_lie_in_the_frame() -> None:
    boxes = crowd_boxes((1920, 1080), 5, 30)
    assert boxes.shape == (5, 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (1920, 1080)).all()


# ---- targets ------------------------------------------------------------------------------------------------------


def pipeline(of: Manifest, function: Callable[[Mapping[str, AnyArray]], Mapping[str, AnyArray]]) -> Pipeline:
    return Pipeline(of, tiny.fake_engine(of, function))


def test_a_crop_network_gets_boxes() -> None:
    of = tiny.make_manifest(resize=tiny.CROP, batch=0)
    rows: list[int] = []

    def network(inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        rows.append(len(inputs["image"]))
        return {"maps": np.ones((rows[-1], 3, 12, 16), np.float32)}

    target = CpuTarget(pipeline(of, network), 1)
    crowds = measure_crowds(target, tiny.frame(), 1, (1, 5))
    assert [(one.people, one.found) for one in crowds] == [(1, 1), (5, 5)]
    assert rows == [1] * 4 + [5] * 4


@pytest.mark.parametrize(("batch", "sizes"), [(0, [1, 4, 8]), (1, [1]), (4, [1, 4])])
def test_batches_that_the_network_takes(batch: int, sizes: list[int]) -> None:
    of = tiny.make_manifest(batch=batch)
    rows: list[int] = []

    def network(inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        rows.append(len(inputs["image"]))
        return {"maps": np.zeros((rows[-1], 3, 12, 16), np.float32)}

    results = measure_batches(CpuTarget(pipeline(of, network), 1), tiny.frame(), 2)
    assert [one.size for one in results] == sizes
    assert set(rows) == {batch} if batch else {1, 4, 8}
    for one in results:
        assert one.frames_per_s == pytest.approx(1e3 * one.size / one.call_ms)


def test_the_bare_network_takes_the_last_input_again() -> None:
    seen: list[AnyArray] = []

    def network(inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        seen.append(inputs["image"].copy())
        return {"maps": np.zeros((1, 3, 12, 16), np.float32)}

    target = CpuTarget(pipeline(tiny.make_manifest(), network), None)
    with pytest.raises(EngineError, match="no frame has been through it"):
        target.bare()
    target(tiny.frame((20, 20)))
    assert target.bare() > 0
    assert len(seen) == 2
    assert seen[0].any()
    assert np.array_equal(*seen)
    assert target.settings == {"threads": "one per core"}


def test_replaced_outputs_are_decoded_while_the_network_still_runs() -> None:
    calls = []

    def network(inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        calls.append(1)
        return {"maps": np.zeros((1, 3, 12, 16), np.float32)}

    target = CpuTarget(pipeline(tiny.make_manifest(), network), 1)
    assert len(target(tiny.frame())) == 0
    target.replace_outputs({"maps": np.ones((1, 3, 12, 16), np.float32)})
    assert len(target(tiny.frame())) == 1
    target.replace_outputs(None)
    assert len(target(tiny.frame())) == 0
    assert len(calls) == 3


class Recorded:
    """A target that only writes down when it is called, and takes made-up times."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.timings = Timings(0.001, 0.002, 0.003)

    def __call__(self, frame: Any) -> None:
        self.log.append(f"{self.name}{frame}")

    def bare(self) -> float:
        self.log.append(self.name)
        return 0.002


def test_targets_take_turns_frame_by_frame() -> None:
    log: list[str] = []
    between: list[int] = []
    targets: list[Any] = [Recorded("a", log), Recorded("b", log)]
    runs = measure(targets, [0, 1], 4, lambda: between.append(len(log)))  # type: ignore[list-item]
    assert log[12:] == ["a0", "a", "b0", "b", "b1", "b", "a1", "a", "a0", "a", "b0", "b", "b1", "b", "a1", "a"]
    assert len(between) == 7  # three to warm up
    assert [len(one.frame_s) for one in runs] == [4, 4]
    assert runs[0].bare_s == [0.002] * 4


def test_percentiles() -> None:
    one = stage([0.001 * n for n in range(1, 101)])
    assert (one.p50_ms, one.p95_ms, one.p99_ms) == pytest.approx((50.5, 95.05, 99.01))


def test_sizes_of_frames() -> None:
    assert size_wh(np.zeros((4, 6, 3), np.uint8)) == (6, 4)
    assert size_wh(Frame.from_image(np.zeros((4, 6), np.uint8), "gray8")) == (6, 4)


# ---- comparison ----------------------------------------------------------------------------------------------------


def test_the_interval_of_the_sign_test() -> None:
    """For ten pairs it runs from the second smallest to the second largest, with 97.85 % (binomial tables)."""
    ratios = np.array([0.9, 1.3, 0.7, 1.1, 0.8, 1.0, 1.2, 0.6, 1.4, 0.5])
    one = compare([2.0] * 10, list(2 * ratios))
    assert (one.low, one.high, one.ratio) == pytest.approx((0.6, 1.3, 0.95))
    assert one.confidence == pytest.approx(0.978515625)


@pytest.mark.parametrize(("pairs", "confidence"), [(1, 0.0), (2, 0.5), (3, 0.75), (5, 0.9375), (6, 0.96875)])
def test_few_pairs_prove_little(pairs: int, confidence: float) -> None:
    one = compare([1.0] * pairs, [1.0 + i for i in range(pairs)])
    assert (one.low, one.high) == (1.0, float(pairs))
    assert one.confidence == pytest.approx(confidence)


@pytest.mark.parametrize("pairs", [40, 3000])
def test_the_interval_holds_the_median_as_often_as_it_says(pairs: int) -> None:
    random, hits, trials = np.random.default_rng(pairs), 0, 400
    for _ in range(trials):
        b = 1.5 * np.exp(np.clip(0.1 * random.standard_cauchy(pairs), -50, 50))  # a median of 1.5 and wild tails
        one = compare(np.ones(pairs).tolist(), b.tolist())
        hits += one.low <= 1.5 <= one.high
        assert one.low <= one.ratio <= one.high
        assert one.confidence >= 0.95
    assert 0.92 <= hits / trials <= 0.99


# ---- whole measurements --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bench")
    return tiny.write(folder / "tiny.pose", ("reference", "cpu_int8"), batch=0)


def test_a_bundle_on_a_board(bundle: Bundle, tmp_path: Path) -> None:
    host = orin_nano(tmp_path, files={"/proc/loadavg": "1 2 3 1/2 4", "/proc/self/status": "VmHWM: 1024 kB"})
    options = Options(threads=1, runs=3)
    result = bench_bundle(bundle, ["reference", "cpu_int8"], frames_of(bundle, None), options, host)
    assert list(result.graphs) == ["reference", "cpu_int8"]
    assert result.machine.board is not None
    assert result.machine.board.power_mode == "25W"
    assert (result.load_before, result.peak_rss_bytes) == ((1.0, 2.0, 3.0), 1 << 20)
    assert result.sensed.watts["VDD_IN"].max == 7.464
    assert result.frame_wh == (128, 96)
    one = result.graphs["reference"]
    assert (one.device, one.settings) == ("cpu", {"threads": "1"})
    assert one.engine.startswith("onnxruntime ")
    assert one.frame.p50_ms <= one.frame.p95_ms <= one.frame.p99_ms
    assert one.frame.p50_ms >= one.stages["network"].p50_ms > 0
    assert [batch.size for batch in one.batches] == [1, 4, 8]
    assert json.loads(json.dumps(result.version)) == 1


def test_crowds_of_the_bundled_networks() -> None:
    for name in networks.bundled():
        target, role = open_target(load_bundle(name), "cpu", threads=1, graph="reference")
        image = np.zeros((360, 640, 3), np.uint8)
        crowds = measure_crowds(target, image, 1)
        target.close()
        assert role == "reference"
        expected = [] if name == "person-tiny" else [(1, 1), (5, 5), (30, 30)]
        assert [(one.people, one.found) for one in crowds] == expected
        assert all(one.frame_ms > one.decode_ms > 0 for one in crowds)


def test_two_sides(bundle: Bundle, tmp_path: Path) -> None:
    a, b = parse_side(str(bundle.path)), parse_side(f"{bundle.path}:cpu_int8")
    assert (a[1], b[1]) == ("reference", "cpu_int8")
    result = bench_two(a, b, frames_of(bundle, None), Options(threads=1, runs=8, quick=True), orin_nano(tmp_path))
    assert (result.a.graph, result.b.graph) == ("reference", "cpu_int8")
    assert 0 < result.frame.low <= result.frame.ratio <= result.frame.high
    assert result.frame.confidence >= 0.95
    assert result.a.times.batches == ()
    with pytest.raises(BundleError, match="has no graph tensorrt, only reference, cpu_int8"):
        parse_side(f"{bundle.path}:tensorrt")
    with pytest.raises(BundleError, match="no such folder"):
        parse_side(f"{bundle.path}:fp64")


def test_added_time_is_of_pairs() -> None:
    """A slow half of the run must not show as time that the pipeline adds."""
    target: Any = CpuTarget(pipeline(tiny.make_manifest(), lambda inputs: {}), 1)
    runs = [Runs()]
    runs[0].frame_s, runs[0].bare_s = [0.011, 0.021, 0.041], [0.010, 0.020, 0.040]
    runs[0].timings = [Timings(0.001, 0.01, 0)] * 3
    times = graph_times(target, runs[0])
    assert times.bare.added_ms == pytest.approx(1.0)
    assert times.bare.ratio == pytest.approx(1.05)


# ---- the command ---------------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pose-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_json_file_plot_and_table(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    monkeypatch.setattr(cli, "Host", lambda: orin_nano(tmp_path / "root"))
    assert run(monkeypatch, bundle.path, "--runs", 2, "--threads", 1, "--json", file, "--plot", picture) == 0
    out = capsys.readouterr().out
    for words in ("frame to pose, p99", "added to the bare network", "batch of 8", "threads 1", "power mode 25W"):
        assert words in out
    assert "power in W: VDD_IN 7.464 (at most 7.464)" in out
    assert cv2.imread(str(picture)).shape[2] == 3
    result = cli.msgspec.json.decode(file.read_bytes(), type=BenchResult)
    assert cli.msgspec.json.encode(result) == file.read_bytes().strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png", "root"]


def test_compare_on_the_command_line(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    options = ("--compare", bundle.path, f"{bundle.path}:cpu_int8", "--runs", 6, "--threads", 1, "--quick")
    assert run(monkeypatch, *options, "--plot", tmp_path / "c.png") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("A: tiny reference, bundle ")
    assert out[-1].startswith("frame to pose: B takes ")
    assert "96.9 % interval" in out[-1]
    assert run(monkeypatch, *options, "--json", "-") == 0
    result = cli.msgspec.json.decode(capsys.readouterr().out, type=CompareResult)
    assert result.runs == 6


def test_nothing_is_asked_for_in_vain(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for also in ((bundle.path,), ("--graph", "reference")):
        assert run(monkeypatch, "--compare", bundle.path, bundle.path, *also) == 2
        assert "takes no BUNDLE and no --graph" in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_at_once(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(monkeypatch, bundle.path, "--plot", tmp_path / "a.png") == 1
    err = capsys.readouterr().err
    assert "pip install 'jetpose[plot]'" in err
    assert err.count("\n") == 1


def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    for option in ("--json", "--plot"):
        for place, said in ((tmp_path / "no" / "a", "no folder"), (tmp_path, "it is a folder")):
            assert run(monkeypatch, "no-such-bundle", option, place) == 1  # it comes before the bundle
            err = capsys.readouterr().err
            assert said in err
            assert err.count("\n") == 1


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, b"old")
    assert file.stat().st_mode & 0o777 == 0o644

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SinkError, match="cannot write it: No space left"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
