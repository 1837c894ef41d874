"""pose-bench BUNDLE: how long each stage takes here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pose_runtime.atomic import check_writable, write_atomically
from pose_runtime.bench.measure import frames_of
from pose_runtime.bench.plot import check_plot, plot
from pose_runtime.bench.result import BenchResult, CompareResult, Comparison, GraphTimes, Stage
from pose_runtime.bench.run import Options, bench_bundle, bench_two, parse_side
from pose_runtime.bench.target import choose_device, default_roles
from pose_runtime.bundle import load_bundle
from pose_runtime.cli._common import CacheOption, Version, new_app, run_app
from pose_runtime.machine.facts import Machine
from pose_runtime.machine.host import Host
from pose_runtime.machine.sensors import Sensed
from pose_runtime.manifest import GraphRole
from pose_runtime.networks import DEFAULT

app = new_app()


@app.command()
def bench(
    bundle: Annotated[
        str | None,
        typer.Argument(
            help=f"Folder NAME.pose/, or a network that comes with jetpose.  [default: {DEFAULT}]", metavar="[BUNDLE]"
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Compare two frame by frame, each BUNDLE or BUNDLE:GRAPH.", metavar="A B"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Image, video or folder to take frames from.  [default: the bundle's own]", metavar="PATH"),
    ] = None,
    graph: Annotated[
        GraphRole | None,
        typer.Option(help="Graph to time, on a CPU beside the reference.  [default: the one made for the device]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.", metavar="NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of frames to time.", metavar="N")] = 50,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out batches and numbers of people.")] = False,
    as_json: Annotated[
        str | None, typer.Option("--json", help="Write JSON to this file, - for standard output.", metavar="FILE")
    ] = None,
    plot_to: Annotated[
        Path | None, typer.Option("--plot", help="Draw the times into this PNG (needs matplotlib).", metavar="FILE")
    ] = None,
    cache: CacheOption = None,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Time pre-processing, network and decoding, frame to pose, the bare network, batches and numbers of people.

    Two graphs take every frame in turn, so that their ratio holds however busy the machine is; --graph reference times
    the reference alone. --compare takes two bundles, or two graphs of one, and gives the ratio with its interval.
    """
    if compare is not None and (bundle is not None or graph is not None):
        raise typer.BadParameter("takes no BUNDLE and no --graph beside A and B", param_hint="--compare")
    if plot_to is not None:
        check_plot()
        check_writable(plot_to)
    if as_json is not None and as_json != "-":
        check_writable(Path(as_json))
    options, host = Options(choose_device(device, graph), threads, runs, quick, cache), Host()
    result: BenchResult | CompareResult
    if compare is not None:
        a, b = (parse_side(text) for text in compare)
        result = bench_two(a, b, frames_of(a[0], source), options, host)
    else:
        loaded = load_bundle(DEFAULT if bundle is None else bundle)
        roles = default_roles(loaded, options.device, graph)
        result = bench_bundle(loaded, roles, frames_of(loaded, source), options, host)
    if plot_to is not None:
        write_atomically(plot_to, plot(result))
    data = msgspec.json.encode(result)
    if as_json == "-":
        print(data.decode())
        return
    if as_json is not None:
        write_atomically(Path(as_json), data + b"\n")
    _print(result)


def _print(result: BenchResult | CompareResult) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if isinstance(result, CompareResult):
        names = {"A": result.a.times, "B": result.b.times}
        for name, side in (("A", result.a), ("B", result.b)):
            console.print(f"{name}: {side.network} {side.graph}, bundle {side.bundle[:12]}")
    else:
        names = {str(role): times for role, times in result.graphs.items()}
    console.print(_table(names))
    for name, times in names.items():
        console.print(f"{name}: " * (len(names) > 1) + _engine_line(times))
    for line in _machine_lines(result.machine, result.sensed):
        console.print(line)
    load = "unknown" if result.load_before is None else f"{result.load_before[0]:.2f}"
    memory = "" if result.peak_rss_bytes is None else f", at most {result.peak_rss_bytes / 2**20:.0f} MiB of memory"
    console.print(f"load average {load} at the start{memory}")
    if isinstance(result, CompareResult):
        console.print(_compared("bare network", result.bare))
        console.print(_compared("frame to pose", result.frame))
    else:
        _print_ratios(console, result)


def _print_ratios(console: Console, result: BenchResult) -> None:
    several = len(result.graphs) > 1
    reference = result.graphs.get("reference")
    for role, one in result.graphs.items():
        if reference is not None and one is not reference:
            network, total = reference.network_ms / one.network_ms, reference.total_ms / one.total_ms
            console.print(f"{role}: network {network:.2f} x, total {total:.2f} x as fast as reference")
    speeds = ", ".join(f"{1e3 / one.total_ms:.1f}" + f" ({role})" * several for role, one in result.graphs.items())
    console.print(f"{speeds} frames/s over {result.runs} runs")


def _table(graphs: dict[str, GraphTimes]) -> Table:
    """Medians of each stage and their share, then all else, graphs side by side."""
    table = Table(box=None, pad_edge=False)
    several = len(graphs) > 1
    table.add_column("stage")
    for name in graphs:
        table.add_column(f"{name} ms" if several else "median ms", justify="right")
        table.add_column("share", justify="right")
    columns = [_rows(one) for one in graphs.values()]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(text for column in columns for text in column.get(name, ("", ""))))
    return table


def _rows(times: GraphTimes) -> dict[str, tuple[str, str]]:
    """Row -> milliseconds, and what stands beside them."""
    rows = {}
    for stage in ("pre", "network", "decode", "total"):
        ms = getattr(times, f"{stage}_ms")
        rows[stage] = (f"{ms:.3f}", f"{100 * ms / times.total_ms:.1f} %")
    for what, spread in (("frame to pose", times.frame), ("bare network", times.bare.network)):
        rows |= {f"{what}, {name}": (f"{ms:.3f}", "") for name, ms in _percentiles(spread)}
    rows["added to the bare network"] = (f"{times.bare.added_ms:.3f}", f"{times.bare.ratio:.3f} x")
    rows |= {f"batch of {one.size}": (f"{one.call_ms:.3f}", f"{one.frames_per_s:.1f} /s") for one in times.batches}
    for one in times.crowds:
        people = f"{one.people} {'person' if one.people == 1 else 'people'}"
        found = "" if one.found == one.people else f"found {one.found}"
        rows[f"{people}, decode"] = (f"{one.decode_ms:.3f}", found)
        rows[f"{people}, frame to pose"] = (f"{one.frame_ms:.3f}", "")
    return rows


def _percentiles(stage: Stage) -> tuple[tuple[str, float], ...]:
    return ("p50", stage.p50_ms), ("p95", stage.p95_ms), ("p99", stage.p99_ms)


def _engine_line(times: GraphTimes) -> str:
    settings = "".join(f", {name} {value}" for name, value in times.settings.items())
    memory = times.device_memory_bytes
    of_gpu = "" if memory is None else f", {memory / 2**20:.0f} MiB of GPU memory"
    return f"{times.engine} on {times.device}{settings}{of_gpu}"


def _compared(what: str, one: Comparison) -> str:
    interval = f"{100 * one.confidence:.1f} % interval {one.low:.3f} to {one.high:.3f}"
    return f"{what}: B takes {one.ratio:.3f} x the time of A, {interval}"


def _machine_lines(machine: Machine, sensed: Sensed) -> list[str]:
    """Where these numbers come from."""
    lines = [f"{machine.cpu}, {machine.cores} cores, {machine.system}"]
    if board := machine.board:
        clocks = {True: ", clocks fixed", False: ", clocks not fixed", None: ""}[board.clocks_fixed]
        jetpack = f"JetPack {board.jetpack or '?'} (L4T {board.l4t or '?'})"
        lines.append(f"{board.model or 'Jetson'}, {jetpack}, power mode {board.power_mode or '?'}{clocks}")
    for gpu in machine.gpus:
        lines.append(f"{gpu}, {gpu.memory_bytes / 2**30:.1f} GiB, driver {machine.driver or '?'}")
    for what, values, unit in (
        ("power", sensed.watts, "W"),
        ("temperature", sensed.celsius, "°C"),
        ("clock", sensed.mhz, "MHz"),
    ):
        if values:
            ranges = ", ".join(f"{name} {one.mean:g} (at most {one.max:g})" for name, one in values.items())
            lines.append(f"{what} in {unit}: {ranges}")
    versions = ", ".join(f"{name} {number}" for name, number in machine.libraries.items())
    lines.append(f"jetpose {machine.jetpose} ({machine.native}), Python {machine.python}, {versions}")
    return lines


def main() -> None:
    """Entry point of `pose-bench`."""
    run_app(app)
