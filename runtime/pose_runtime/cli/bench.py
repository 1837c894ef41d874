"""pose-bench BUNDLE: how long each stage takes here."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pose_runtime.bench import Medians, frames_of, measure
from pose_runtime.bundle import load_bundle
from pose_runtime.cli._common import BundleArgument, Version, new_app, run_app
from pose_runtime.pipeline import open_pipeline

app = new_app()


@app.command()
def bench(
    bundle: BundleArgument,
    source: Annotated[
        str | None,
        typer.Option(help="Image, video or folder to take frames from.  [default: the bundle's own]", metavar="PATH"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.", metavar="NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of frames to time.", metavar="N")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Time pre-processing, network and decoding: medians in milliseconds per frame."""
    loaded = load_bundle(bundle)
    frames = frames_of(loaded, source)
    with open_pipeline(loaded, device, threads=threads) as pipeline:
        medians = measure(pipeline, frames, runs)
    if as_json:
        print(msgspec.json.encode({"network": loaded.manifest.network.name, "bundle": loaded.digest}
                                  | msgspec.to_builtins(medians)).decode())  # fmt: skip
    else:
        _print_table(medians)


def _print_table(medians: Medians) -> None:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in ("stage", "median ms", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in ("pre", "network", "decode", "total"):
        ms = getattr(medians, f"{stage}_ms")
        table.add_row(stage, f"{ms:.3f}", f"{100 * ms / medians.total_ms:.1f} %")
    console = Console()
    console.print(table)
    console.print(f"{1e3 / medians.total_ms:.1f} frames/s over {medians.runs} runs", highlight=False)


def main() -> None:
    """Entry point of `pose-bench`."""
    run_app(app)
