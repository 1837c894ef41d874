"""pose-render: photographs and clips of synthetic people, with their keypoints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pose_runtime.cli._common import Version, new_app, run_app
from pose_runtime.errors import ExportError

app = new_app()


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar)


@app.command()
def render(
    stage: Annotated[str, _option("train, validation, or your own TOML file.", "NAME|FILE")] = "train",
    out: Annotated[Path | None, _option("Folder for shards, which pose-train reads as shards:DIR.", "DIR")] = None,
    sheet: Annotated[Path | None, _option("A picture of the first photographs in a grid.", "FILE.png")] = None,
    clip: Annotated[Path | None, _option("A video of several people who move, without sound.", "FILE.mp4")] = None,
    count: Annotated[
        int | None, typer.Option(help="Photographs, or tiles of the sheet.", min=1, max=10_000_000)
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of the clip.", min=0.1, max=600)] = 8.0,
    people: Annotated[int, typer.Option(help="In the clip.", min=1, max=8)] = 3,
    seed: Annotated[int | None, typer.Option(help="Instead of the stage's.", min=0, max=(1 << 32) - 1)] = None,
    skeletons: Annotated[bool, typer.Option("--skeletons", help="Draw the keypoints into the sheet.")] = False,
    assets: Annotated[
        Path | None,
        typer.Option(
            help="Folder with makehuman/, motion/, backgrounds/; without it bodies are simple ones.",
            envvar="JETPOSE_ASSETS",
            metavar="DIR",
        ),
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option(help="Your own pictures without people.", envvar="JETPOSE_BACKGROUNDS", metavar="DIR"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one per core.", min=1, max=256)] = None,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Render synthetic people: --out DIR for training, --sheet FILE to look at, --clip FILE to play."""
    if out is None and sheet is None and clip is None:
        raise typer.BadParameter("give --out DIR, --sheet FILE or --clip FILE")
    try:
        import msgspec

        from pose_export.synthetic.stage import read_stage

        wanted = read_stage(stage)
        if seed is not None:
            wanted = msgspec.structs.replace(wanted, seed=seed)
        if sheet is not None:
            from pose_export.synthetic.sheet import write_sheet

            write_sheet(sheet, wanted, assets, backgrounds, count=count or 64, skeletons=skeletons)
            print(sheet)
        if clip is not None:
            from pose_export.synthetic.clip import write_clip

            write_clip(clip, wanted, assets, backgrounds, seconds=seconds, people=people)
            print(clip)
        if out is not None:
            from pose_export.synthetic.produce import Job, produce

            if count is not None:
                wanted = msgspec.structs.replace(wanted, count=count)
            job = Job(stage=wanted, assets=assets, backgrounds=backgrounds, folder=out)
            for done in produce(job, workers=workers or os.cpu_count() or 1):
                print(f"{done} of {wanted.count}", file=sys.stderr, flush=True)
            print(f"{out}: {wanted.count} photographs {job.recipe}")
    except ImportError as error:
        raise ExportError(f"{error.name or error} is missing; pip install 'jetpose[export]'") from error


def main() -> NoReturn:
    """Entry point."""
    run_app(app)
