"""pose-export: a network, by name or as ONNX, becomes a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

import typer
from rich.console import Console
from rich.table import Table

from pose_export import options, zoo
from pose_export.check_images import check_images
from pose_export.drawn import drawn_frames
from pose_export.presets import preset_names
from pose_runtime.bundle import Bundle
from pose_runtime.cli._common import Version, new_app, run_app
from pose_runtime.decode.heatmap import Refine
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS
from pose_runtime.toml_files import Tree

app = new_app()


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar)


@app.command()
def export(
    onnx: Annotated[Path | None, _option("An ONNX file.", "FILE")] = None,
    model: Annotated[str | None, _option("A network by name, such as hrnet or higherhrnet.", "NAME")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Print all networks that have a name.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            "--weights",
            help="Weights for --model: a file, or `random` to try speed; without it they are downloaded.",
            metavar="FILE|random",
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        _option("Weights of a cascade's next stage, once for each in order; `random` to try speed.", "FILE|random"),
    ] = None,
    preset: Annotated[str | None, _option(f"{', '.join(preset_names())}, or your own TOML file.", "NAME|FILE")] = None,
    out: Annotated[Path | None, _option("The new bundle; by default NAME.pose here.", "NAME.pose")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that stands there.")] = False,
    size: Annotated[str | None, _option("Input size, where the network leaves it open.", "WxH|dynamic")] = None,
    batch: Annotated[str | None, _option("Batch size, where the network leaves it open.", "N|dynamic")] = None,
    simplify: Annotated[bool, typer.Option(help="Let onnxsim fold and remove what it can.")] = True,
    check_path: Annotated[
        Path | None,
        typer.Option("--check-images", help="Picture or folder for check/; else drawn ones.", metavar="PATH"),
    ] = None,
    min_oks: Annotated[
        float | None,
        typer.Option(
            help="OKS that every check frame must reach; else 0.9, or less where INT8 reaches less.",
            min=0,
            max=1,
            metavar="OKS",
        ),
    ] = None,
    weights_source: Annotated[str | None, _option("Where the weights come from.", "TEXT")] = None,
    licence: Annotated[str | None, _option("Licence of the weights.", "TEXT")] = None,
    skeleton: Annotated[str | None, _option(f"Keypoints: {', '.join(SKELETONS)}.", "NAME")] = None,
    input_name: Annotated[str | None, typer.Option("--input", help="Input tensor.", metavar="TENSOR")] = None,
    colour: Annotated[str | None, _option("Channel order: rgb, bgr or gray.", "ORDER")] = None,
    mean: Annotated[str | None, _option("Per channel, of pixels 0 to 255.", "X,Y,Z")] = None,
    std: Annotated[str | None, _option("Per channel, of pixels 0 to 255.", "X,Y,Z")] = None,
    resize: Annotated[
        str | None, _option("stretch, letterbox, short_side or crop, and its parameters.", "RULE[,KEY=VALUE...]")
    ] = None,
    pad: Annotated[float | None, _option("Grey level around a letterboxed frame.", "LEVEL")] = None,
    decoder: Annotated[list[str] | None, _option("family=heatmap, paf or embedding; parameters.", "KEY=VALUE")] = None,
    refine: Annotated[
        str | None, _option(f"How peaks of heatmaps are refined: {', '.join(get_args(Refine))}.", "NAME")
    ] = None,
    output: Annotated[
        list[str] | None,
        _option("What an output is; channels from 0, both included.", "ROLE=TENSOR[:FIRST-LAST]"),
    ] = None,
    detector: Annotated[
        str | None,
        _option("Bundle that finds the people, for networks of one person per crop.", "BUNDLE[,KEY=VALUE...]"),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], _option("Of the graphs that go beside the FP32 one.")
    ] = "fp32",
    int8: Annotated[bool, typer.Option("--int8", help="Short for --precision int8.")] = False,
    calib_images: Annotated[
        Path | None,
        _option("To calibrate and judge on: folder, video, picture or COCO JSON; else rendered people.", "PATH"),
    ] = None,
    calib_count: Annotated[
        int, typer.Option(help="Pictures to calibrate on; three times as many others judge.", min=1, metavar="N")
    ] = 64,
    calib_seed: Annotated[int, typer.Option(help="By which they are picked.", min=0, metavar="N")] = 0,
    calib_method: Annotated[
        Literal["auto", "typical", "minmax", "percentile", "entropy", "mse"],
        _option("For the ranges; auto takes the best."),
    ] = "auto",
    calib_memory: Annotated[int, typer.Option(help="For activations at a time, MiB.", min=1, metavar="N")] = 512,
    calib_state: Annotated[
        Path | None, _option("Keep what was measured here; a broken run goes on from it.", "FILE")
    ] = None,
    max_loss: Annotated[float, typer.Option(help="AP points that INT8 or FP16 may lose.", min=0, metavar="AP")] = 0.5,
    min_int8: Annotated[
        float, typer.Option(help="Percent of the multiply-accumulates that must be INT8.", min=0, max=100, metavar="P")
    ] = 70.0,
    plan: Annotated[Path | None, _option("Write what runs in INT8, for pose-train --qat.", "FILE")] = None,
    report: Annotated[Path | None, _option("Write the search for INT8 as a page.", "FILE.html")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only print what would be INT8 and what not, and why.")
    ] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Write a bundle from an ONNX file (--onnx, with --preset or all that a preset says) or a network (--model).

    The graph is checked, simplified, and run on the frames of check/, whose poses every device must find again.
    """
    if show_list:
        print_zoo()
        return
    if (onnx is None) == (model is None):
        raise typer.BadParameter("give either --onnx FILE or --model NAME")
    if onnx is not None and weights is not None:
        raise typer.BadParameter("--checkpoint goes with --model")
    if stage and model is None:
        raise typer.BadParameter("--stage goes with --model")
    if stage and (plan is not None or report is not None or calib_state is not None):
        raise typer.BadParameter("--plan, --report and --calib-state are of one network; leave them out with --stage")
    if int8 and precision == "fp16":
        raise typer.BadParameter("--int8 and --precision fp16 exclude each other")
    wanted = "int8" if int8 else precision
    for option, value, needs in (
        ("--calib-images", calib_images, ("int8", "fp16")),
        ("--calib-state", calib_state, ("int8", "fp16")),
        ("--plan", plan, ("int8",)),
        ("--report", report, ("int8",)),
    ):
        if value is not None and wanted not in needs:
            raise typer.BadParameter(f"{option} goes with --precision {' or '.join(needs)}")
    try:
        from pose_export.precision import Explained, Explainer, Quantiser, Wanted
        from pose_export.request import Request, export_file

        if model is not None:
            from pose_export.cascade_bundle import export_cascade  # only here is torch needed
            from pose_export.model_bundle import export_model
            from pose_export.random_weights import given
    except ImportError as error:
        raise ExportError(f"{error.name or error} is missing; pip install 'jetpose[export]'") from error
    of_input = {"tensor": input_name, "colour": colour, "mean": mean, "std": std, "resize": resize, "pad": pad}

    def change(tree: Tree) -> None:
        if any(value is not None for value in of_input.values()):
            options.set_input(tree, **of_input)  # type: ignore[arg-type]
        if skeleton is not None:
            tree["skeleton"] = skeleton
        if decoder:
            options.set_decoder(tree, decoder)
        if refine is not None:
            options.set_refine(tree, refine)
        options.set_outputs(tree, output or ())

    quantiser: Quantiser | Explainer | None = None
    if explain:
        quantiser = Explainer(print)
    elif wanted != "fp32":
        quantiser = Quantiser(
            Wanted(
                precision=wanted,
                images=calib_images,
                count=calib_count,
                seed=calib_seed,
                method=calib_method,
                max_loss=max_loss,
                min_int8=min_int8 / 100,
                memory=calib_memory << 20,
                state=calib_state,
                plan=plan,
                report=report,
            ),
            _tell,
        )
    request = Request(
        preset=preset,
        change=change,
        out=out,
        size_wh=None if size is None else options.size_wh(size),
        batch=None if batch is None else options.batch_size(batch),
        simplify=simplify,
        min_oks=min_oks,
        overwrite=overwrite,
        quantise=quantiser,
        detector=None if detector is None else options.detector(detector),
        frames=drawn_frames() if check_path is None else check_images(check_path),
        weights_source=weights_source,
        licence=licence,
    )
    try:
        if onnx is not None:
            bundle = export_file(onnx, request)
        else:
            first = None if weights is None else given(weights)
            later = [given(file, i) for i, file in enumerate(stage or (), start=1)]
            if later:
                bundle = export_cascade(str(model), first, later, request, tell=_tell)
            else:
                bundle = export_model(str(model), first, request, tell=_tell)
    except Explained:
        return
    _report(bundle, drawn=check_path is None)


def print_zoo() -> None:
    """The networks by name, as a table on a terminal and else in lines of fields between tabs."""
    if not sys.stdout.isatty():
        for row in (zoo.TITLES, *zoo.rows()):
            print("\t".join(row))
        return
    table = Table(*zoo.TITLES, box=None, pad_edge=False, header_style="bold")
    for row in zoo.rows():
        table.add_row(*row)
    Console().print(table)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report(bundle: Bundle, *, drawn: bool) -> None:
    manifest = bundle.manifest
    network, frames = manifest.network, manifest.check.frames
    people = sum(len(frame.scores) for frame in frames)
    print(
        f"{bundle.path}: {network.parameters / 1e6:.2f} M parameters, {network.macs / 1e9:.2f} G multiply-accumulates"
    )
    print(f"weights: {network.weights.source}, licence {network.weights.licence}")
    for role, graph in manifest.graphs.items():
        if graph.accuracy:
            share = f" of {100 * graph.int8_mac_share:.1f} % of the work" if graph.precision == "int8" else ""
            ap = "; ".join(f"{each.metric} {each.reference:.2f} to {each.value:.2f}" for each in graph.accuracy)
            print(f"{role}: {graph.precision}{share}, {ap}")
    print(f"check/: {people} people in {len(frames)} frames")
    for role, graph in manifest.graphs.items():
        if graph.min_oks is not None:
            print(f"{role}: checked to OKS {graph.min_oks:g} instead of {manifest.check.min_oks:g}, which it misses")
    if drawn:
        print("check/ holds drawn figures; pictures of the real place prove more: --check-images PATH")
    elif not people:
        print("nobody was found in the check images: they prove little; choose pictures with people")


def main() -> NoReturn:
    """Entry point."""
    run_app(app)
