"""pose-run: people in images and videos."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli._common import CacheOption, Version, new_app, print_error, run_app
from pose_runtime.cli._progress import StatusLines, bar, lines
from pose_runtime.engines import cuda_ordinal
from pose_runtime.errors import SinkError
from pose_runtime.manifest import GraphRole
from pose_runtime.networks import DEFAULT
from pose_runtime.pipeline import open_pipeline
from pose_runtime.runner import run as run_pipeline
from pose_runtime.sinks import Sink
from pose_runtime.sinks.jsonl import JsonLines
from pose_runtime.sinks.save import open_save, refuse_source_file
from pose_runtime.sinks.sheet import ContactSheet
from pose_runtime.sinks.window import Window
from pose_runtime.sources import Source, open_source

app = new_app()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the user wants to have of the results."""

    json: str | None
    save: Path | None
    sheet: Path | None
    show: bool

    @property
    def nothing(self) -> bool:
        """Not even a window."""
        return not self.show and self.json is None and not self.files()

    def files(self) -> dict[str, Path]:
        """Option -> what it writes."""
        json = Path(self.json) if self.json and self.json != "-" else None
        named = {"--json": json, "--save": self.save, "--sheet": self.sheet}
        return {option: path for option, path in named.items() if path is not None}


@app.command()
def run(
    source: Annotated[
        str,
        typer.Option(help="Image, video, folder of images, or a quoted pattern such as 'a/*.jpg'.", metavar="PATH"),
    ],
    bundle: Annotated[
        str, typer.Option(help="Folder NAME.pose/, or a network that comes with jetpose.", metavar="BUNDLE")
    ] = DEFAULT,
    json: Annotated[
        str | None, typer.Option(help="Write JSON Lines to this file, - for standard output.", metavar="FILE")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Save frames with people drawn: an image, a video (.mp4) or a folder.", metavar="PATH"),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Save one picture with frames from the whole run.", metavar="FILE")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show them in a window; q or Escape ends.")] = False,
    device: Annotated[str, typer.Option(help="auto or cpu.", metavar="NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    graph: Annotated[
        GraphRole | None,
        typer.Option(help="Graph to run.  [default: cpu_int8 where it is faster, else reference]"),
    ] = None,
    cache: CacheOption = None,
    min_score: Annotated[float, typer.Option(help="Leave out people with a lower score.", metavar="S")] = 0.0,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Find the people in images and videos.

    Without --json, --save, --sheet and --show, a window shows them; where there is no display, a line a second says how
    it goes.

    Existing results are overwritten, files of the source never. Images of a folder or pattern that cannot be read are
    reported and skipped; the exit status is 1 then.
    """
    if math.isnan(min_score):  # nobody's score would be below it
        raise typer.BadParameter("got nan, wanted a number", param_hint="--min-score")
    cuda_ordinal(device)
    loaded = load_bundle(bundle)
    wanted = _Wanted(json, save, sheet, show)
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, on_bad=print_error))
        _check_files(wanted, opened)
        pipeline = stack.enter_context(open_pipeline(loaded, device, threads=threads, graph=graph, cache=cache))
        if len(loaded.manifest.graphs) > 1:
            print(f"graph {pipeline.choice}", file=sys.stderr)
        role = pipeline.choice.role if pipeline.choice else None
        sinks = [stack.enter_context(sink) for sink in _sinks(wanted, loaded, role, opened)]
        on_frame = stack.enter_context(bar(opened.count)) if sinks else StatusLines()
        summary = run_pipeline(pipeline, opened, sinks, min_score=min_score, on_frame=on_frame)
    print("\n".join(lines(summary)), file=sys.stderr)
    if not sinks:
        print("nothing was kept: add --json FILE, --save PATH, --sheet FILE or --show", file=sys.stderr)
    if summary.skipped:
        raise typer.Exit(1)


def _check_files(wanted: _Wanted, source: Source) -> None:
    """No two results into one file, and none over a file of the source."""
    taken: dict[Path, str] = {}
    for option, path in wanted.files().items():
        other = taken.setdefault(path.absolute(), option)
        if other != option:
            raise SinkError(f"{path}: is named for both {other} and {option}")
        if option != "--save":  # which may be a folder; `open_save` looks into it
            refuse_source_file(path, source)


def _sinks(wanted: _Wanted, bundle: Bundle, graph: GraphRole | None, source: Source) -> Iterator[Sink]:
    """The sinks asked for, one by one, so that each is closed if the next cannot be opened."""
    if wanted.show:
        yield Window(hold=not source.is_video)
    elif wanted.nothing and (window := _window_if_any(source)):
        yield window
    if wanted.save is not None:
        yield open_save(wanted.save, source)
    if wanted.sheet is not None:
        yield ContactSheet(wanted.sheet)
    if wanted.json is not None:
        yield JsonLines(None if wanted.json == "-" else Path(wanted.json), bundle, graph)


def _window_if_any(source: Source) -> Window | None:
    """A window where a display answers."""
    try:
        return Window(hold=not source.is_video)
    except SinkError:
        return None


def main() -> None:
    """Entry point of `pose-run`."""
    run_app(app)
