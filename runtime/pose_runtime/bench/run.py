"""A whole measurement: one bundle with its graphs, or two that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pose_runtime.bench.compare import compare
from pose_runtime.bench.measure import Runs, graph_times, measure, measure_batches, measure_crowds
from pose_runtime.bench.result import VERSION, BenchResult, CompareResult, GraphTimes, Side
from pose_runtime.bench.target import Target, open_target, size_wh
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import BundleError
from pose_runtime.machine.facts import load_average, peak_rss_bytes, read_machine
from pose_runtime.machine.host import Host
from pose_runtime.machine.sensors import Sensors
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import Image

_ROLES: tuple[GraphRole, ...] = ("reference", "tensorrt", "cpu_int8")


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        device: of `choose_device`.
        threads, cache: as of `open_pipeline`.
        runs: frames that are timed.
        quick: only stages and the bare network, neither batches nor people.
    """

    device: str = "cpu"
    threads: int | None = None
    runs: int = 50
    quick: bool = False
    cache: Path | None = None

    @property
    def few(self) -> int:
        """Runs of each batch size and number of people."""
        return max(3, self.runs // 5)


def bench_bundle(
    bundle: Bundle, graphs: Sequence[GraphRole], frames: Sequence[Image], options: Options, host: Host
) -> BenchResult:
    """Time graphs of a bundle in one run.

    Raises:
        PoseError: whatever opening the graphs or running them raises.
    """
    load = load_average(host)
    with ExitStack() as stack:
        sensors = stack.enter_context(Sensors(host))
        targets = {role: _open(stack, bundle, role, options) for role in graphs}
        times = _measure_all(list(targets.values()), frames, options, sensors)[1]
        return BenchResult(
            version=VERSION,
            date=_now(),
            network=bundle.manifest.network.name,
            bundle=bundle.digest,
            runs=options.runs,
            frames=len(frames),
            frame_wh=size_wh(frames[0]),
            graphs=dict(zip(targets, times, strict=True)),
            machine=read_machine(host),
            load_before=load,
            load_after=load_average(host),
            peak_rss_bytes=peak_rss_bytes(host),
            sensed=sensors.sensed(),
        )


def bench_two(
    a: tuple[Bundle, GraphRole], b: tuple[Bundle, GraphRole], frames: Sequence[Image], options: Options, host: Host
) -> CompareResult:
    """Time two in one run, frame by frame in turn.

    Raises:
        PoseError: whatever opening or running them raises.
    """
    load = load_average(host)
    with ExitStack() as stack:
        sensors = stack.enter_context(Sensors(host))
        targets = [_open(stack, bundle, role, options) for bundle, role in (a, b)]
        (of_a, of_b), times = _measure_all(targets, frames, options, sensors)
        return CompareResult(
            version=VERSION,
            date=_now(),
            runs=options.runs,
            frames=len(frames),
            frame_wh=size_wh(frames[0]),
            a=_side(a, times[0]),
            b=_side(b, times[1]),
            frame=compare(of_a.frame_s, of_b.frame_s),
            bare=compare(of_a.bare_s, of_b.bare_s),
            machine=read_machine(host),
            load_before=load,
            load_after=load_average(host),
            peak_rss_bytes=peak_rss_bytes(host),
            sensed=sensors.sensed(),
        )


def parse_side(text: str) -> tuple[Bundle, GraphRole]:
    """`BUNDLE` or `BUNDLE:GRAPH`; without a graph it is `reference`.

    Raises:
        BundleError: no such bundle or graph.
    """
    name, colon, last = text.rpartition(":")
    role = next((role for role in _ROLES if colon and role == last), None)
    bundle = load_bundle(text if role is None else name)
    if role is not None and role not in bundle.manifest.graphs:
        raise BundleError(f"{bundle.path}: has no graph {role}, only {', '.join(bundle.manifest.graphs)}")
    return bundle, role or "reference"


def _open(stack: ExitStack, bundle: Bundle, role: GraphRole, options: Options) -> Target:
    target, _ = open_target(bundle, options.device, threads=options.threads, graph=role, cache=options.cache)
    stack.callback(target.close)
    return target


def _measure_all(
    targets: Sequence[Target], frames: Sequence[Image], options: Options, sensors: Sensors
) -> tuple[list[Runs], list[GraphTimes]]:
    sensors.sample(now=True)
    runs = measure(targets, frames, options.runs, between=sensors.sample)
    times = []
    for target, of_target in zip(targets, runs, strict=True):
        if options.quick:
            times.append(graph_times(target, of_target))
        else:
            batches = measure_batches(target, frames[0], options.few)
            sensors.sample(now=True)
            times.append(graph_times(target, of_target, batches, measure_crowds(target, frames[0], options.few)))
    sensors.sample(now=True)
    return runs, times


def _side(of: tuple[Bundle, GraphRole], times: GraphTimes) -> Side:
    bundle, role = of
    return Side(network=bundle.manifest.network.name, bundle=bundle.digest, graph=role, times=times)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
