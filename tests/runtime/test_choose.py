"""Which graph runs: asked for, or tried where the CPU has integer dot products; nothing stays open that is not used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tiny
from pose_runtime import choose, cpu_features
from pose_runtime.bundle import Bundle
from pose_runtime.choose import NO_INT8_DOT, Choice, open_chosen
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.errors import BundleError, EngineError, FrameError
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import Pipeline, open_pipeline

SLOW, FAST = 0.010, 0.004


class Machine:
    """Engines of given speeds, a clock that only they move, and a list of what is open."""

    def __init__(self, of: Any, seconds: dict[str, Any]) -> None:
        self.now_s = 0.0
        self.of = dict.fromkeys(seconds, of)
        self.seconds = seconds
        self.opened: dict[str, FakeEngine] = {}
        self.open: set[str] = set()
        self.runs: list[str] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.inputs: list[np.ndarray] = []

    def open_engine(self, name: str, graph: bytes, **_: object) -> FakeEngine:
        role = graph.decode()
        if self.seconds.get(role) is None:
            raise EngineError("cannot load the graph")
        engine = tiny.fake_engine(self.of[role], self.function(role))
        engine._close = lambda: self.open.remove(role)  # type: ignore[method-assign]
        self.opened[role] = engine
        self.open.add(role)
        return engine

    def function(self, role: str) -> Callable[..., dict[str, np.ndarray]]:
        def infer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            cost = self.seconds[role]
            if isinstance(cost, BaseException):
                raise cost
            self.now_s += cost
            self.runs.append(role)
            self.shapes.add(inputs["image"].shape)
            self.inputs.append(inputs["image"])
            n, _, h, w = inputs["image"].shape
            return {"maps": np.zeros((n, 3, h // 4, w // 4), np.float32)}

        return infer


@pytest.fixture(autouse=True)
def vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CPU with VNNI, whatever this one is."""
    path = tmp_path / "cpuinfo"
    path.write_text("flags : fpu avx512_vnni\n")
    monkeypatch.setattr(cpu_features, "CPUINFO", path)
    return path


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Bundle, Machine]]:
    """A bundle with a graph of each role named, and the machine that runs it: seconds, an exception, None: no load."""

    def make(seconds: dict[str, Any], **options: Any) -> tuple[Bundle, Machine]:
        of = tiny.make_manifest(**options)
        graph = of.graphs["reference"]
        graphs = {role: msgspec.structs.replace(graph, file=f"{role}.onnx") for role in seconds}
        bundle = Bundle(tmp_path, tiny.replaced(of, graphs=graphs), "0" * 64)
        machine = Machine(bundle.manifest, seconds)
        monkeypatch.setattr(choose, "open_engine", machine.open_engine)
        monkeypatch.setattr(Bundle, "graph_bytes", lambda self, role: self._graph_file(role)[:-5].encode())
        return bundle, machine

    return make


Build = Callable[..., tuple[Bundle, Machine]]


def chosen(bundle: Bundle, machine: Machine, graph: GraphRole | None = None) -> Choice:
    """The choice, after which just that engine is open and works."""
    engine, choice = open_chosen(bundle, graph, clock=lambda: machine.now_s)
    with Pipeline(bundle.manifest, engine, choice) as pipeline:
        assert engine is machine.opened[choice.role]
        assert machine.open == {choice.role}
        assert pipeline.choice is choice
        assert len(pipeline(tiny.frame())) == 0
    assert machine.open == set()
    return choice


@pytest.mark.parametrize(
    ("reference_s", "int8_s", "expected"),
    [
        (0.0105, 0.005, "cpu_int8: 2.1 x as fast as reference here"),
        (0.00106, 0.001, "cpu_int8: 1.1 x as fast as reference here"),
        (0.00104, 0.001, "reference: cpu_int8 is not faster here (1.0 x)"),
        (0.009, 0.010, "reference: cpu_int8 is not faster here (0.9 x)"),
        (5.0, 2.0, "cpu_int8: 2.5 x as fast as reference here"),
        (2.0, 5.0, "reference: cpu_int8 is not faster here (0.4 x)"),
        (0.0, 0.0, "reference: cpu_int8 is not faster here (0.0 x)"),
    ],
)
def test_the_faster_graph_runs(build: Build, reference_s: float, int8_s: float, expected: str) -> None:
    for order in (("reference", "cpu_int8"), ("cpu_int8", "reference")):
        seconds = {"reference": reference_s, "cpu_int8": int8_s}
        assert str(chosen(*build({role: seconds[role] for role in order}))) == expected


def test_other_graphs_are_not_touched(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "tensorrt": FAST / 2, "cpu_int8": FAST})
    assert chosen(bundle, machine).role == "cpu_int8"
    assert set(machine.opened) == {"reference", "cpu_int8"}


@pytest.mark.parametrize(
    ("reference_s", "int8_s", "rounds"),
    [
        (0.001, 0.001, 6),
        (0.020, 0.010, 6),
        (0.040, 0.020, 3),
        (0.060, 0.041, 1),  # a second would be too much
        (9.0, 4.0, 1),
    ],
)
def test_the_trial_is_short(build: Build, reference_s: float, int8_s: float, rounds: int) -> None:
    bundle, machine = build({"reference": reference_s, "cpu_int8": int8_s})
    open_chosen(bundle, clock=lambda: machine.now_s)
    assert machine.runs == ["reference", "cpu_int8"] * rounds
    assert machine.now_s <= max(0.2, reference_s + int8_s) + 1e-9


def test_a_busy_second_does_not_decide(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST})
    inside = machine.function

    def often_slow(role: str) -> Callable[..., Any]:
        run = inside(role)

        def infer(inputs: dict[str, np.ndarray]) -> Any:
            machine.now_s += 0.02 if len(machine.runs) not in (4, 7) else 0.0  # one good run each
            return run(inputs)

        return infer

    machine.function = often_slow  # type: ignore[method-assign]
    assert chosen(bundle, machine) == Choice("cpu_int8", "2.5 x as fast as reference here")


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 3, 48, 64)),
        ({"batch": 0}, (1, 3, 48, 64)),
        ({"batch": 4}, (4, 3, 48, 64)),
        ({"resize": tiny.CROP}, (1, 3, 48, 64)),
    ],
)
def test_it_is_tried_on_the_networks_size(build: Build, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST}, **options)
    open_chosen(bundle, clock=lambda: machine.now_s)
    assert machine.shapes == {shape}
    assert not any(array.any() for array in machine.inputs)


def test_any_size_is_tried_on_that_of_a_common_frame(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST}, resize=tiny.SHORT_SIDE, batch=0)
    engine, _ = open_chosen(bundle, clock=lambda: machine.now_s)
    (shape,) = machine.shapes
    with Pipeline(bundle.manifest, engine) as pipeline:
        pipeline(np.zeros((480, 640, 3), np.uint8))
    assert machine.shapes == {shape}


def test_without_a_choice(build: Build, vnni: Path) -> None:
    assert str(chosen(*build({"reference": SLOW}))) == "reference: the only graph for a CPU"
    assert str(chosen(*build({"reference": SLOW, "tensorrt": FAST}))) == "reference: the only graph for a CPU"
    vnni.write_text("flags : fpu avx2\n")
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST})
    assert str(chosen(bundle, machine)) == "reference: this CPU has neither VNNI nor Arm dot product"
    assert set(machine.opened) == {"reference"}


@pytest.mark.parametrize("role", ["reference", "cpu_int8", "tensorrt"])
def test_a_graph_that_is_asked_for_runs(build: Build, role: GraphRole, vnni: Path) -> None:
    seconds = {"reference": SLOW, "cpu_int8": SLOW, "tensorrt": SLOW}
    bundle, machine = build(seconds)
    assert chosen(bundle, machine, role) == Choice(role, "asked for")
    assert set(machine.opened) == {role}
    vnni.write_text("")
    warning = f"; {NO_INT8_DOT}: poses may differ" if role == "cpu_int8" else ""
    assert chosen(*build(seconds), role) == Choice(role, "asked for" + warning)


def test_a_graph_that_is_not_there(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "tensorrt": FAST})
    with pytest.raises(BundleError, match=r"has no graph cpu_int8, only reference, tensorrt$"):
        open_chosen(bundle, "cpu_int8")
    assert machine.opened == {}


@pytest.mark.parametrize(
    ("int8", "words"), [(None, "cannot load the graph"), (EngineError("the network failed"), "the network failed")]
)
def test_where_int8_fails_the_reference_runs_and_says_so(build: Build, int8: EngineError | None, words: str) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": int8})
    assert str(chosen(bundle, machine)) == f"reference: cpu_int8 does not run here: {words}"
    with pytest.raises(EngineError, match=words), open_chosen(bundle, "cpu_int8")[0] as engine:
        engine.infer({"image": np.zeros((1, 3, 48, 64), np.float32)})
    assert machine.open == set()


@pytest.mark.parametrize("seconds", [{"reference": None}, {"reference": None, "cpu_int8": FAST}])
def test_a_reference_that_cannot_be_loaded_is_an_error(build: Build, seconds: dict[str, Any]) -> None:
    bundle, machine = build(seconds)
    with pytest.raises(EngineError, match="cannot load the graph"):
        open_chosen(bundle)
    assert machine.open == set()


@pytest.mark.parametrize("error", [BundleError("damaged"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("role", ["reference", "cpu_int8"])
def test_other_errors_leave_nothing_open(build: Build, role: str, error: BaseException) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST, role: error})
    with pytest.raises(type(error)):
        open_chosen(bundle)
    assert set(machine.opened) == {"reference", "cpu_int8"}
    assert machine.open == set()


def test_an_input_beyond_all_memory(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST}, size_wh=(8192, 8192), batch=1024)
    with pytest.raises(FrameError, match="1024, 3, 8192, 8192"):
        open_chosen(bundle)
    assert machine.open == set()


def test_an_int8_graph_that_does_not_fit_is_refused(build: Build) -> None:
    bundle, machine = build({"reference": SLOW, "cpu_int8": FAST})
    other = msgspec.structs.replace(bundle.manifest.input, size_wh=(32, 32))
    machine.of["cpu_int8"] = tiny.replaced(bundle.manifest, input=other)
    with pytest.raises(BundleError, match="the manifest wants floats"):
        open_chosen(bundle)
    assert machine.open == set()


def test_the_trial_changes_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ONNX Runtime and two graphs of one function, whichever wins."""
    bundle = tiny.write(tmp_path / "two.pose", ("reference", "cpu_int8"))
    images = [tiny.frame((20 + i, 30), (90, 60), None) for i in range(3)]
    with open_pipeline(bundle, threads=1, graph="reference") as pipeline:
        wanted = [poses.keypoints for poses in pipeline(images)]
    for gain in (0.0, 1e9):  # INT8 wins always, never
        monkeypatch.setattr(choose, "_MIN_GAIN", gain)
        with open_pipeline(bundle, threads=1) as pipeline:
            assert pipeline.choice is not None
            assert pipeline.choice.role == ("reference" if gain else "cpu_int8")
            assert pipeline.timings.total_s == 0
            assert pipeline.outputs == {}
            for poses, keypoints in zip(pipeline(images), wanted, strict=True):
                np.testing.assert_array_equal(poses.keypoints, keypoints)
