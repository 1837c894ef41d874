"""The acceptance run: what a network does on a board that nobody else has, in one file that may be sent away."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from statistics import median
from time import perf_counter
from typing import TypeVar

import msgspec
from msgspec import Struct

from pose_runtime.bench.measure import frames_of
from pose_runtime.bench.result import BenchResult
from pose_runtime.bench.run import Options, bench_bundle
from pose_runtime.bench.target import default_roles, open_target
from pose_runtime.bundle import Bundle
from pose_runtime.check import check_graph, why_skipped
from pose_runtime.doctor.finding import Finding
from pose_runtime.doctor.privacy import scrub
from pose_runtime.errors import PoseError
from pose_runtime.machine.facts import Machine, read_machine
from pose_runtime.machine.host import Host
from pose_runtime.machine.sensors import Reading, Sensors
from pose_runtime.manifest import GraphRole

VERSION = 1

_NOBODYS = {"", "root", "localhost", "ubuntu", "nvidia", "jetson", "tegra-ubuntu", "orin", "thor", "user"}

_Result = TypeVar("_Result")


class Build(Struct, frozen=True, kw_only=True):
    """How long a graph took to open, on a GPU with the building of its plan unless that was cached."""

    graph: GraphRole
    seconds: float


class Checked(Struct, frozen=True, kw_only=True):
    """Whether a graph gives the poses that the bundle promises; as `pose-check` prints it."""

    graph: GraphRole
    engine: str
    min_oks: float
    worst_oks: float
    passed: bool


class Moment(Struct, frozen=True, kw_only=True):
    """A second of the endurance run: when, how many frames, their median time, and the sensors at its end."""

    at_s: float
    frames: int
    frame_ms: float
    sensors: Reading


class Report(Struct, frozen=True, kw_only=True):
    """All of an acceptance run.

    Attributes:
        version: of this format.
        date: UTC, ISO 8601.
        findings: what is wrong with the machine.
        machine: what it is.
        network, bundle: what ran: name, and SHA-256 of the manifest.
        build, check, bench, thermals: its steps; empty or None where one failed.
        problems: step -> why it failed.
    """

    version: int
    date: str
    findings: tuple[Finding, ...]
    machine: Machine
    network: str
    bundle: str
    build: tuple[Build, ...]
    check: tuple[Checked, ...]
    bench: BenchResult | None
    thermals: tuple[Moment, ...]
    problems: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every step ran and every graph passed its check."""
        return not self.problems and all(one.passed for one in self.check)


def make_report(
    bundle: Bundle,
    findings: tuple[Finding, ...],
    options: Options,
    soak_s: float,
    host: Host,
    on_step: Callable[[str], None] = lambda _: None,
) -> Report:
    """Build, check, time and heat up a network; a step that fails is named in the report, and the others still run.

    Args:
        findings: of `examine`.
        options: of the steps.
        soak_s: length of the endurance run, seconds; 0 leaves it out.
        on_step: called with the name of each step before it starts.
    """
    problems: dict[str, str] = {}

    def step(name: str, function: Callable[[], _Result], otherwise: _Result) -> _Result:
        on_step(name)
        try:
            return function()
        except PoseError as error:
            problems[name] = str(error)
            return otherwise

    roles = tuple(role for role in default_roles(bundle, options.device, None) if why_skipped(role) is None)
    frames = frames_of(bundle, None)
    nothing: BenchResult | None = None
    return Report(
        version=VERSION,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        findings=findings,
        machine=read_machine(host),
        network=bundle.manifest.network.name,
        bundle=bundle.digest,
        build=step("build", lambda: tuple(_build(bundle, role, options) for role in roles), ()),
        check=step("check", lambda: tuple(_check(bundle, role, options) for role in roles), ()),
        bench=step("bench", lambda: bench_bundle(bundle, roles, frames, options, host), nothing),
        thermals=step("thermals", lambda: _soak(bundle, options, soak_s, host), ()),
        problems=problems,
    )


def encode_report(report: Report) -> bytes:
    """The report as JSON, one line, without names of users, hosts and private paths."""
    tree = scrub(msgspec.to_builtins(report), _names())
    return msgspec.json.encode(tree) + b"\n"


def _names() -> tuple[str, ...]:
    """What must not leave this machine; the names that images come with tell nobody, and would spoil words."""
    names = {socket.gethostname(), os.environ.get("USER", ""), os.environ.get("SUDO_USER", "")}
    with contextlib.suppress(KeyError, OSError):  # a user without a name
        names.add(getpass.getuser())
    return tuple(sorted(names - _NOBODYS, key=len, reverse=True))


def _build(bundle: Bundle, role: GraphRole, options: Options) -> Build:
    start = perf_counter()
    target, opened = open_target(bundle, options.device, threads=options.threads, graph=role, cache=options.cache)
    seconds = perf_counter() - start
    target.close()
    return Build(graph=opened, seconds=round(seconds, 3))


def _check(bundle: Bundle, role: GraphRole, options: Options) -> Checked:
    target, _ = open_target(bundle, options.device, threads=options.threads, graph=role, cache=options.cache)
    try:
        one = check_graph(bundle, role, target, target.engine)
    finally:
        target.close()
    return Checked(graph=role, engine=one.engine, min_oks=one.min_oks, worst_oks=one.worst_oks, passed=one.passed)


def _soak(bundle: Bundle, options: Options, soak_s: float, host: Host) -> tuple[Moment, ...]:
    """Frames without a pause, as `pose-run` would choose the graph; a look at the sensors every second."""
    target, _ = open_target(bundle, options.device, threads=options.threads, cache=options.cache)
    frames, moments = frames_of(bundle, None), []
    try:
        with Sensors(host) as sensors:
            start, number = perf_counter(), 0
            while (began := perf_counter()) - start < soak_s:
                times: list[float] = []
                while not times or perf_counter() - began < min(1.0, soak_s):
                    before = perf_counter()
                    target(frames[number % len(frames)])
                    times.append(perf_counter() - before)
                    number += 1
                at_s, frame_ms = perf_counter() - start, 1e3 * median(times)
                moment = Moment(at_s=round(at_s, 3), frames=len(times), frame_ms=frame_ms, sensors=sensors.read())
                moments.append(moment)
    finally:
        target.close()
    return tuple(moments)
