"""pose-run: people in images and videos."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli._common import Version, new_app, print_error, run_app
from pose_runtime.engines import check_device
from pose_runtime.errors import SinkError
from pose_runtime.pipeline import open_pipeline
from pose_runtime.runner import Summary
from pose_runtime.runner import run as run_pipeline
from pose_runtime.sinks import Sink
from pose_runtime.sources import Source, open_source

app = new_app()


@app.command()
def run(
    bundle: Annotated[Path, typer.Option(help="Folder NAME.pose/.", metavar="DIR")],
    source: Annotated[
        str,
        typer.Option(help="Image, video, folder of images, or a quoted pattern such as 'a/*.jpg'.", metavar="PATH"),
    ],
    json: Annotated[
        str | None, typer.Option(help="Write JSON Lines to this file, - for standard output.", metavar="FILE")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Save frames with people drawn: an image, a video (.mp4) or a folder.", metavar="PATH"),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show them in a window; q or Escape ends.")] = False,
    device: Annotated[str, typer.Option(help="auto or cpu.", metavar="NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    min_score: Annotated[float, typer.Option(help="Leave out people with a lower score.", metavar="S")] = 0.0,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Find the people in images and videos.

    Existing results are overwritten, files of the source never. Images of a folder or pattern that cannot be read are
    reported and skipped; the exit status is 1 then.
    """
    if math.isnan(min_score):  # nobody's score would be below it
        raise typer.BadParameter("got nan, wanted a number", param_hint="--min-score")
    check_device(device)
    loaded = load_bundle(bundle)
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, on_bad=print_error))
        _check_targets(opened, json, save)
        pipeline = stack.enter_context(open_pipeline(loaded, device, threads=threads))
        sinks = [stack.enter_context(sink) for sink in _sinks(loaded, opened, json, save, show)]
        on_frame = stack.enter_context(_progress(opened.count))
        summary = run_pipeline(pipeline, opened, sinks, min_score=min_score, on_frame=on_frame)
    print("\n".join(_lines(summary)), file=sys.stderr)
    if not sinks:
        print("nothing was kept: add --json FILE, --save PATH or --show", file=sys.stderr)
    if summary.skipped:
        raise typer.Exit(1)


def _check_targets(source: Source, json: str | None, save: Path | None) -> None:
    if json is None or json == "-":
        return
    from pose_runtime.sinks.save import refuse_source_file

    refuse_source_file(Path(json), source)
    if save is not None and save.absolute() == Path(json).absolute():
        raise SinkError(f"{json}: is named for both --json and --save")


def _sinks(bundle: Bundle, source: Source, json: str | None, save: Path | None, show: bool) -> Iterator[Sink]:
    """The sinks asked for, one by one, so that each is closed if the next cannot be opened."""
    if show:
        from pose_runtime.sinks.window import Window

        yield Window()
    if save is not None:
        from pose_runtime.sinks.save import open_save

        yield open_save(save, source)
    if json is not None:
        from pose_runtime.sinks.jsonl import JsonLines

        yield JsonLines(None if json == "-" else Path(json), bundle)


@contextmanager
def _progress(count: int | None) -> Iterator[Callable[[Summary], None]]:
    """A bar on stderr, for people who watch; it shows frames, and people and frames per second so far."""
    if count == 1 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=count)
        yield lambda so_far: progress.update(
            task, completed=so_far.frames, description=f"{so_far.people} people, {so_far.fps:.1f} frames/s"
        )


def _lines(summary: Summary) -> Iterator[str]:
    skipped = f", {_count(summary.skipped, 'image')} skipped" if summary.skipped else ""
    speed = f"{summary.fps:.1f} frames/s" if summary.frames else "nothing to do"
    yield f"{_count(summary.frames, 'frame')}, {_count(summary.people, 'person', 'people')}, {speed}{skipped}"
    if summary.frames:
        stages = ("read", "pre", "network", "decode", "write")
        ms = (f"{stage} {1e3 * getattr(summary, stage + '_s') / summary.frames:.1f} ms" for stage in stages)
        yield "per frame: " + ", ".join(ms)


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def main() -> None:
    """Entry point of `pose-run`."""
    run_app(app)
