"""pose-train: a network by name and labelled pictures become weights for pose-export."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from pose_export import options
from pose_runtime.cli._common import Version, new_app, run_app
from pose_runtime.errors import ExportError

if TYPE_CHECKING:
    from pose_export.training.recipe import Recipe

app = new_app()


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar)


@app.command()
def train(
    model: Annotated[str | None, _option("A network by name, such as higherhrnet-tiny.", "NAME")] = None,
    data: Annotated[
        str | None, _option("synthetic, coco:DIR or shards:DIR, each with @SHARE if wanted.", "DATA[,DATA...]")
    ] = None,
    recipe: Annotated[Path | None, _option("TOML file with all settings; options override it.", "FILE")] = None,
    out: Annotated[Path | None, _option("Folder of the run; by default runs/NAME here.", "DIR")] = None,
    init: Annotated[str | None, _option("Start from these weights, as far as they fit.", "CHECKPOINT")] = None,
    qat: Annotated[
        str | None, _option("Train with the roundings of this INT8 plan (pose-export --plan).", "PLAN")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's state, if it has one.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long, to be resumed.", min=0)] = None,
    steps: Annotated[int | None, _option("Steps of the whole run.", "N")] = None,
    decay_from: Annotated[int | None, _option("Step at which the learning rate begins to fall to 0.", "N")] = None,
    batch: Annotated[int | None, _option("Pictures per step.", "N")] = None,
    lr: Annotated[float | None, _option("Peak learning rate.", "X")] = None,
    size: Annotated[str | None, _option("Input size of the network.", "WxH")] = None,
    val: Annotated[str | None, _option("What AP is measured on, written as --data.", "DATA")] = None,
    val_every: Annotated[int | None, _option("Steps between two measurements.", "N")] = None,
    val_images: Annotated[int | None, _option("Pictures that are measured; 0 is all.", "N")] = None,
    seed: Annotated[int | None, _option("Of weights, data and augmentation.", "N")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that prepare data; 0 prepares it in this one.", min=0, max=256)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Processor threads of the network; by default one per core.", min=1, max=1024)
    ] = None,
    device: Annotated[str, _option("auto, cpu, cuda or cuda:N.", "NAME")] = "auto",
    amp: Annotated[Literal["auto", "off", "bf16", "fp16"], _option("Precision of the network's products.")] = "auto",
    assets: Annotated[
        Path | None, _option("Bodies and motion of synthetic people; or JETPOSE_ASSETS. Else simple ones.", "DIR")
    ] = None,
    backgrounds: Annotated[
        Path | None, _option("Pictures without people to put them before; or JETPOSE_BACKGROUNDS.", "DIR")
    ] = None,
    on_bad: Annotated[Literal["skip", "refuse"], _option("What to do about damaged pictures and labels.")] = "refuse",
    version: Version = False,  # noqa: ARG001
) -> None:
    """Train a network, in one go or in chunks (--minutes, --resume), and write its averaged weights.

    The folder holds weights.pth for `pose-export --model NAME --checkpoint`, the state to resume from, and curves.
    Ctrl-C ends after the step at hand, with the state saved.
    """
    for key, folder in (("JETPOSE_ASSETS", assets), ("JETPOSE_BACKGROUNDS", backgrounds)):
        if folder is not None:  # the source of synthetic pictures reads them where it is opened
            os.environ[key] = str(folder)
    try:
        wanted = _recipe(
            recipe,
            {
                "model": model,
                "data": None if data is None else data.split(","),
                "init": init,
                "qat": qat,
                "steps": steps,
                "schedule.decay_from": decay_from,
                "batch": batch,
                "optimiser.lr": lr,
                "size_wh": None if size is None else list(options.size_wh(size)),
                "validation.data": val,
                "validation.every": val_every,
                "validation.images": val_images,
                "seed": seed,
            },
        )
        _run(
            wanted,
            out=out or Path("runs") / wanted.model,
            resume=resume,
            minutes=minutes,
            workers=_spare_cores() if workers is None else workers,
            threads=threads,
            device=device,
            amp=amp,
            skip=on_bad == "skip",
        )
    except ImportError as error:
        raise ExportError(f"{error.name or error} is missing; pip install 'jetpose[export]'") from error


def _recipe(path: Path | None, values: dict[str, Any]) -> Recipe:
    """The user's recipe or the one shipped for the model, with the options' values."""
    from pose_export.training import recipe as recipes

    if path is not None:
        tree, where = recipes.read_tree(path), f"recipe {path}"
    elif values["model"] is not None:
        tree, where = recipes.shipped_tree(values["model"]), f"recipe of {values['model']}"
    else:
        raise typer.BadParameter("give --model NAME or --recipe FILE")
    recipes.put(tree, values)
    missing = [name for name in ("model", "data", "steps") if name not in tree]
    if missing:
        raise typer.BadParameter(f"give --{missing[0]}, or a --recipe that says it")
    return recipes.parse(tree, where)


def _run(
    recipe: Recipe,
    *,
    out: Path,
    resume: bool,
    minutes: float | None,
    workers: int,
    threads: int | None,
    device: str,
    amp: Literal["auto", "off", "bf16", "fp16"],
    skip: bool,
) -> None:
    import torch

    from pose_export.training.parallel import join
    from pose_export.training.precision import choose
    from pose_export.training.tasks import build_task
    from pose_export.training.trainer import STATE, WEIGHTS, Trainer

    if threads is not None:
        torch.set_num_threads(threads)
    goes_on = (out / STATE).exists()
    if goes_on and not resume:
        raise ExportError(f"{out}: holds a run already; --resume to go on with it, or choose another --out")
    compute, group = choose(device, amp), join()
    tell = _tell if group.leads else lambda _: None
    task = build_task(
        recipe,
        start=not goes_on,
        workers=workers,
        on_bad=(lambda bad: _tell(str(bad))) if skip else None,
        tell=tell,
        group=group,
    )
    trainer = Trainer(recipe, task, compute, out, group)
    tell(trainer.resume() if goes_on else f"{recipe.model}: {trainer.parameters()} parameters")
    tell(f"on {group.size} x {compute}, {torch.get_num_threads()} threads, {workers} data processes")
    end = trainer.run(minutes)
    if not group.leads:
        return
    ap = "" if trainer.ap is None else f", AP {trainer.ap:.1f}"
    print(f"{out / WEIGHTS}: step {trainer.step} of {recipe.steps}{ap}")
    if end != "done":
        print(f"ended by {end}; the same command with --resume goes on")


def _spare_cores() -> int:
    return max(1, (os.cpu_count() or 1) // 2)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> NoReturn:
    """Entry point."""
    run_app(app)
