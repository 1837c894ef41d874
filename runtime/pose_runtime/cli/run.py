"""pose-run: people in images, videos, cameras and streams."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli import _run_options as options
from pose_runtime.cli._common import CacheOption, Version, new_app, print_error, run_app
from pose_runtime.cli._progress import StatusLines, bar, lines, live_lines, live_summary
from pose_runtime.config import RunConfig, as_toml, load_config
from pose_runtime.engines import cuda_ordinal
from pose_runtime.errors import ConfigError, SinkError
from pose_runtime.live.follow import Follower
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import open_pipeline
from pose_runtime.runner import run as run_pipeline
from pose_runtime.sinks import Sink
from pose_runtime.sinks.jsonl import STANDARD_OUTPUT, JsonLines
from pose_runtime.sinks.save import open_save, refuse_source_file
from pose_runtime.sinks.sheet import ContactSheet
from pose_runtime.sinks.window import Window
from pose_runtime.sources import Source, open_source

app = new_app()


@app.command()
def run(
    source: options.Sources = None,
    camera: options.Cameras = None,
    size: options.Size = None,
    fps: options.Fps = None,
    pixel_format: options.PixelFormat = None,
    list_cameras: options.ListCameras = False,
    config: options.Config = None,
    print_config: options.PrintConfig = False,
    bundle: options.BundleName = None,
    json: options.Json = None,
    save: options.Save = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Save one picture with frames from the whole run.", metavar="FILE")
    ] = None,
    show: options.Show = None,
    serve: options.Serve = None,
    mqtt: options.Mqtt = None,
    track: options.Track = None,
    smooth: options.Smooth = None,
    device: options.Device = None,
    threads: options.Threads = None,
    graph: options.Graph = None,
    cache: CacheOption = None,
    min_score: options.MinScore = None,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Find the people in images, videos, cameras and streams.

    Without --json, --save, --sheet, --show, --serve and --mqtt, a window shows them; where there is no display, a line
    a second says how it goes.

    Options go over the file of --config, and that goes over defaults. --track and --smooth follow people in videos and
    live sources.

    Existing results are overwritten, files of the source never; JSON Lines of live sources are continued. Images of a
    folder or pattern that cannot be read are reported and skipped; the exit status is 1 then. Cameras and streams run
    until Ctrl-C, and are opened again for ever when they are lost.
    """
    if list_cameras:
        from pose_runtime.cli._cameras import print_cameras

        print_cameras()
        return
    if min_score is not None and math.isnan(min_score):  # nobody's score would be below it
        raise typer.BadParameter("got nan, wanted a number", param_hint="--min-score")
    over = options.tree(
        source=source, camera=camera, size=size, fps=fps, pixel_format=pixel_format, bundle=bundle, json=json,
        save=save, show=show, serve=serve, mqtt=mqtt, track=track, smooth=smooth, device=device, threads=threads,
        graph=graph, cache=cache, min_score=min_score,
    )  # fmt: skip
    settings = load_config(config, over)
    cuda_ordinal(settings.device)
    if print_config:
        print(as_toml(settings), end="")
        return
    if not settings.source:
        raise typer.BadParameter("none is given: --source PATH, --camera N, or --config FILE", param_hint="--source")
    if not settings.is_live:
        _run_files(settings, sheet)
    elif sheet is not None:
        raise typer.BadParameter("is for a single file, folder or pattern", param_hint="--sheet")
    else:
        _run_live(settings, config.stem if config else "pose-run")


# ---- one file, folder or pattern -----------------------------------------------------------------------------------


def _run_files(settings: RunConfig, sheet: Path | None) -> None:
    loaded = load_bundle(settings.bundle)
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(settings.source[0].address, on_bad=print_error))
        if (settings.track or settings.smooth) and not opened.is_video:
            raise ConfigError(f"{settings.source[0].address}: people are followed in videos and live sources only")
        _check_files(settings, sheet, opened)
        pipeline = stack.enter_context(
            open_pipeline(loaded, settings.device, threads=settings.threads, graph=settings.graph, cache=settings.cache)
        )
        if len(loaded.manifest.graphs) > 1:
            print(f"graph {pipeline.choice}", file=sys.stderr)
        role = pipeline.choice.role if pipeline.choice else None
        sinks = [stack.enter_context(sink) for sink in _sinks(settings, sheet, loaded, role, opened)]
        on_frame = stack.enter_context(bar(opened.count)) if sinks else StatusLines()
        follow = Follower(settings.track, settings.smooth)
        summary = run_pipeline(pipeline, opened, sinks, min_score=settings.min_score, follow=follow, on_frame=on_frame)
    print("\n".join(lines(summary)), file=sys.stderr)
    if not sinks:
        print("nothing was kept: add --json FILE, --save PATH, --sheet FILE or --show", file=sys.stderr)
    if summary.skipped:
        raise typer.Exit(1)


def _files(settings: RunConfig, sheet: Path | None) -> Iterator[tuple[str, Path]]:
    """Option and path of every file that is written."""
    if settings.json is not None and settings.json.file != STANDARD_OUTPUT:
        yield "--json", Path(settings.json.file)
    if settings.save is not None:
        yield "--save", Path(settings.save.file)
    if sheet is not None:
        yield "--sheet", sheet


def _check_files(settings: RunConfig, sheet: Path | None, source: Source) -> None:
    """No two results into one file, and none over a file of the source."""
    taken: dict[Path, str] = {}
    for option, path in _files(settings, sheet):
        other = taken.setdefault(path.absolute(), option)
        if other != option:
            raise SinkError(f"{path}: is named for both {other} and {option}")
        if option != "--save":  # which may be a folder; `open_save` looks into it
            refuse_source_file(path, source)


def _sinks(
    settings: RunConfig, sheet: Path | None, bundle: Bundle, graph: GraphRole | None, source: Source
) -> Iterator[Sink]:
    """The sinks asked for, one by one, so that each is closed if the next cannot be opened."""
    asked = settings.json or settings.save or sheet
    if settings.show:
        yield Window(hold=not source.is_video)
    elif not asked and (window := _window_if_any(source)):
        yield window
    if settings.save is not None:
        yield open_save(Path(settings.save.file), source)
    if sheet is not None:
        yield ContactSheet(sheet)
    if settings.json is not None:
        file = settings.json.file
        yield JsonLines(None if file == STANDARD_OUTPUT else Path(file), bundle, graph)


def _window_if_any(source: Source) -> Window | None:
    """A window where a display answers."""
    try:
        return Window(hold=not source.is_video)
    except SinkError:
        return None


# ---- everything else -----------------------------------------------------------------------------------------------


def _run_live(settings: RunConfig, service: str) -> None:
    from pose_runtime.live.serve import serve
    from pose_runtime.service.journal import setup_logging

    setup_logging()
    with live_lines(has_sinks=settings.has_sinks) as on_status:
        end = serve(settings, service, on_start=on_status, on_status=on_status)
    print(live_summary(on_status.last), file=sys.stderr)
    if end == signal.SIGINT:
        raise typer.Exit(128 + end)


def main() -> None:
    """Entry point of `pose-run`."""
    run_app(app)
