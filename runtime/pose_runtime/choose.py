"""Which of a bundle's graphs runs on this CPU: the INT8 one where it is right and faster, else the FP32 one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from pose_runtime import geometry
from pose_runtime.bundle import Bundle
from pose_runtime.cpu_features import has_int8_dot
from pose_runtime.engines import Engine, open_engine
from pose_runtime.errors import EngineError
from pose_runtime.fit import check_fit
from pose_runtime.input_buffer import InputBuffer
from pose_runtime.manifest import GraphRole, Manifest

ENGINE = "onnxruntime"
CPU_ROLES: tuple[GraphRole, ...] = ("reference", "cpu_int8")
"""The graphs that are made for a CPU. It runs `tensorrt` too, slowly, where that is asked for."""

NO_INT8_DOT = "this CPU has neither VNNI nor Arm dot product"

_MIN_GAIN = 1.05  # below that the difference is noise, and FP32 loses nothing
_ROUNDS = 6
_BUDGET_S = 0.2  # of the trial: nobody notices it, and small networks get all their rounds
_FRAME_WH = (640, 480)  # what a network of any input size is tried on

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Choice:
    """The graph that a pipeline runs, and why, in words."""

    role: GraphRole
    reason: str

    def __str__(self) -> str:
        return f"{self.role}: {self.reason}"


def as_written(role: GraphRole) -> bool:
    """Whether this CPU must compute a graph in floating point, as it is written, to get what it stands for."""
    return role == "tensorrt" or (role == "cpu_int8" and not has_int8_dot())


def open_chosen(
    bundle: Bundle,
    graph: GraphRole | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    clock: Clock = perf_counter,
) -> tuple[Engine, Choice]:
    """Open one graph of a bundle.

    Args:
        bundle: loaded.
        graph: the one to run; None for the faster of those that give the right results on this CPU.
        device, threads: as `open_engine`'s.
        clock: seconds.

    Returns:
        The engine, which the caller closes, and the choice. Where both were tried the other one is closed again, and
        an input of zeros has been through the engine.

    Raises:
        BundleError: the bundle has no such graph, it is damaged, or it does not fit the manifest.
        EngineError: the graph cannot be loaded. If that, or the trial, fails only for `cpu_int8`, `reference` runs.
        FrameError: the network's input is absurdly large.
    """

    def opened(role: GraphRole) -> Engine:
        data, plain = bundle.graph_bytes(role), role == "tensorrt"
        return open_engine(ENGINE, data, device=device, threads=threads, as_written=plain)

    if graph is not None:
        other_results = graph == "cpu_int8" and not has_int8_dot()
        return opened(graph), Choice(graph, "asked for" + f"; {NO_INT8_DOT}: poses may differ" * other_results)
    if "cpu_int8" not in bundle.manifest.graphs:
        return opened("reference"), Choice("reference", "the only graph for a CPU")
    if not has_int8_dot():
        return opened("reference"), Choice("reference", NO_INT8_DOT)
    engines: dict[GraphRole, Engine] = {}
    with ExitStack() as stack:
        engines["reference"] = stack.enter_context(opened("reference"))
        try:
            engines["cpu_int8"] = stack.enter_context(opened("cpu_int8"))
            choice = _faster(bundle.manifest, engines, clock)
        except EngineError as error:
            choice = Choice("reference", f"cpu_int8 does not run here: {error}")
        stack.pop_all()
    kept = engines.pop(choice.role)
    for engine in engines.values():
        engine.close()
    return kept, choice


def _faster(manifest: Manifest, engines: Mapping[GraphRole, Engine], clock: Clock) -> Choice:
    """Time both graphs. The values do not matter to a convolution's time, so zeros do."""
    wanted = manifest.input
    size_wh = geometry.plan(wanted.resize, _FRAME_WH, wanted.size_wh).size_wh
    runs: dict[GraphRole, Callable[[], object]] = {}
    for role, engine in engines.items():
        check_fit(manifest, engine)
        zeros = InputBuffer(engine, wanted).view(wanted.batch or 1, size_wh)
        runs[role] = partial(engine.infer, {wanted.tensor: zeros})
    reference_s, int8_s = _fastest_s([runs[role] for role in CPU_ROLES], clock)
    ratio = reference_s / max(int8_s, 1e-9)
    if ratio < _MIN_GAIN:
        return Choice("reference", f"cpu_int8 is not faster here ({ratio:.1f} x)")
    return Choice("cpu_int8", f"{ratio:.1f} x as fast as reference here")


def _fastest_s(runs: Sequence[Callable[[], object]], clock: Clock) -> list[float]:
    """Seconds of the fastest run of each: whatever else the CPU does only adds to a run.

    They run in turn, so that a clock that rises hits all alike; a second round must fit into the budget.
    """
    rounds: list[list[float]] = []
    while not rounds or (len(rounds) < _ROUNDS and sum(map(sum, rounds)) + sum(rounds[-1]) <= _BUDGET_S):
        rounds.append([_seconds(run, clock) for run in runs])
    return [min(times) for times in zip(*rounds, strict=True)]


def _seconds(run: Callable[[], object], clock: Clock) -> float:
    start = clock()
    run()
    return clock() - start
