"""pose-bench BUNDLE: how long each stage takes here."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pose_runtime.bench import Medians, frames_of, measure
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.choose import CPU_ROLES
from pose_runtime.cli._common import BundleArgument, Version, new_app, run_app
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import open_pipeline

app = new_app()


@app.command()
def bench(
    bundle: BundleArgument,
    source: Annotated[
        str | None,
        typer.Option(help="Image, video or folder to take frames from.  [default: the bundle's own]", metavar="PATH"),
    ] = None,
    graph: Annotated[
        GraphRole | None,
        typer.Option(help="Graph to time beside the reference.  [default: cpu_int8 if the bundle has it]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.", metavar="NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of frames to time.", metavar="N")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Time pre-processing, network and decoding: medians in milliseconds per frame.

    Two graphs take every frame in turn, so that their ratio holds however busy the machine is; --graph reference times
    the reference alone.
    """
    loaded = load_bundle(bundle)
    frames = frames_of(loaded, source)
    beside = [role for role in CPU_ROLES if role in loaded.manifest.graphs] if graph is None else [graph]
    roles = dict.fromkeys(["reference", *beside])
    with ExitStack() as stack:
        pipelines = [stack.enter_context(open_pipeline(loaded, device, threads=threads, graph=role)) for role in roles]
        medians = dict(zip(roles, measure(pipelines, frames, runs), strict=True))
    if as_json:
        print(msgspec.json.encode(_tree(loaded, runs, len(frames), medians)).decode())
    else:
        _print_table(medians, runs)


def _tree(bundle: Bundle, runs: int, frames: int, medians: dict[GraphRole, Medians]) -> dict[str, object]:
    return {
        "network": bundle.manifest.network.name,
        "bundle": bundle.digest,
        "runs": runs,
        "frames": frames,
        "graphs": medians,
    }


def _print_table(medians: dict[GraphRole, Medians], runs: int) -> None:
    table = Table(box=None, pad_edge=False)
    several = len(medians) > 1
    table.add_column("stage")
    for role in medians:
        table.add_column(f"{role} ms" if several else "median ms", justify="right")
        table.add_column("share", justify="right")
    for stage in ("pre", "network", "decode", "total"):
        row = [(getattr(one, f"{stage}_ms"), one.total_ms) for one in medians.values()]
        table.add_row(stage, *(text for ms, total in row for text in (f"{ms:.3f}", f"{100 * ms / total:.1f} %")))
    console = Console(highlight=False)
    console.print(table)
    reference = medians["reference"]
    for role, one in medians.items():
        if one is not reference:
            network, total = reference.network_ms / one.network_ms, reference.total_ms / one.total_ms
            console.print(f"{role}: network {network:.2f} x, total {total:.2f} x as fast as reference")
    speeds = ", ".join(f"{1e3 / one.total_ms:.1f}" + f" ({role})" * several for role, one in medians.items())
    console.print(f"{speeds} frames/s over {runs} runs")


def main() -> None:
    """Entry point of `pose-bench`."""
    run_app(app)
