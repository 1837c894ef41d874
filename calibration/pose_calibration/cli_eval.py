"""pose-eval: how well a bundle finds annotated people, alone or beside another."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from pose_calibration.progress import bar
from pose_runtime.cli._common import BundleArgument, Version, new_app, print_error, run_app
from pose_runtime.errors import PoseError

if TYPE_CHECKING:
    from pose_calibration.annotations import Picture
    from pose_calibration.evaluation import Subject
    from pose_runtime.bundle import Bundle

app = new_app()

_NAMED = 20  # pictures that are named on stderr; --json names all

Graph = Literal["reference", "cpu_int8", "tensorrt"]


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar)


@app.command(name="eval")
def evaluate_bundle(
    bundle: BundleArgument,
    images: Annotated[Path, _option("Folder of the pictures.", "DIR")],
    coco: Annotated[Path | None, _option("COCO keypoint annotations.", "FILE")] = None,
    mpii: Annotated[Path | None, _option("MPII's .mat, or HRNet's JSON with --head-boxes.", "FILE")] = None,
    lsp: Annotated[Path | None, _option("LSP's joints.mat.", "FILE")] = None,
    flic: Annotated[Path | None, _option("FLIC's examples.mat.", "FILE")] = None,
    jhmdb: Annotated[Path | None, _option("JHMDB's folder joint_positions, or MMPose's JSON.", "PATH")] = None,
    head_boxes: Annotated[Path | None, _option("MPII's gt_valid.mat, for --mpii with a JSON.", "FILE")] = None,
    split: Annotated[Literal["train", "test", "all"] | None, _option("Of LSP and FLIC.  [default: test]")] = None,
    baseline: Annotated[str | None, _option("Another bundle to compare with.", "BUNDLE")] = None,
    graph: Annotated[Graph | None, _option("Run this graph of the bundle.  [default: as pose-run does]")] = None,
    baseline_graph: Annotated[Graph | None, _option("Run this graph of the baseline.")] = None,
    within: Annotated[
        Literal["le", "lt"] | None,
        _option("Whether an error at the very threshold is right (le) or not.  [default: as on that data set]"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Only so many pictures, drawn by --seed.  [default: all]", metavar="N")
    ] = None,
    min_score: Annotated[float, _option("Leave out people with a lower score.", "S")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of --count and of the intervals.", metavar="N")] = 0,
    resamples: Annotated[
        int, typer.Option(min=0, max=100_000, help="Resampled sets behind each interval; 0: none.", metavar="N")
    ] = 1000,
    json: Annotated[Path | None, _option("Write all figures to this file.", "FILE")] = None,
    report: Annotated[Path | None, _option("Write a report as one HTML file.", "FILE")] = None,
    device: Annotated[str, _option("auto, cpu or cuda:N.", "NAME")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N")
    ] = None,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Evaluate a bundle on annotated pictures: AP and AR, PCK, PDJ, PCP, people missed and invented, times.

    Pictures that cannot be read are named and left out; the exit status is 1 then.
    """
    given = {"coco": coco, "mpii": mpii, "lsp": lsp, "flic": flic, "jhmdb": jhmdb}
    files = {kind: path for kind, path in given.items() if path is not None}
    if len(files) != 1:
        raise typer.BadParameter("give the annotations by one of " + ", ".join(f"--{kind}" for kind in given))
    ((kind, path),) = files.items()
    try:
        from pose_calibration.annotations import read_annotations
        from pose_calibration.evaluation import evaluate
        from pose_calibration.evaluation.console import lines
        from pose_calibration.evaluation.frames import evaluation_report
        from pose_calibration.evaluation.output import check_outputs, write_file, write_json
        from pose_calibration.evaluation.run import sample
        from pose_calibration.report import html_page

        check_outputs(json, report)
        annotations = read_annotations(kind, path, split=split, head_boxes=head_boxes)
        pictures = sample(annotations.pictures, count, seed)
        bad: list[str] = []
        run = partial(_run, pictures=pictures, images=images, device=device, threads=threads, min_score=min_score)
        sides = [_load(name, role) for name, role in ((bundle, graph), (baseline, baseline_graph)) if name is not None]
        own, *others = (run(side, role, bad=bad if i == 0 else []) for i, (side, role) in enumerate(sides))
        other = others[0] if others else None
        rule: Any = {None: None, "le": "<=", "lt": "<"}[within]
        evaluation = evaluate(annotations, own, other, within=rule, seed=seed, count=resamples, skipped=bad)
        print("\n".join(lines(evaluation)))
        if json is not None:
            write_json(json, evaluation)
        if report is not None:
            write_file(report, html_page(evaluation_report(evaluation, annotations, images, own, other)))
    except ImportError as error:
        raise PoseError(f"{error.name or error} is missing; pip install 'jetpose[eval]'") from error
    for text in bad[:_NAMED]:
        print_error(PoseError(text))
    if bad:
        print(f"{len(bad)} of {len(pictures)} pictures could not be read and are left out", file=sys.stderr)
        raise typer.Exit(1)


def _load(name: str, graph: Graph | None) -> tuple[Bundle, Graph | None]:
    """A bundle that has the graph: both are known to be there before the first of them runs for long."""
    from pose_runtime.bundle import load_bundle

    bundle = load_bundle(name)
    if graph is not None:
        bundle.graph_path(graph)
    return bundle, graph


def _run(
    bundle: Bundle,
    graph: Graph | None,
    *,
    bad: list[str],
    pictures: tuple[Picture, ...],
    images: Path,
    device: str,
    threads: int | None,
    min_score: float,
) -> Subject:
    """Run a bundle; `bad` takes what is said of unreadable pictures."""
    from pose_calibration.evaluation import Subject, open_graph, run

    with (
        open_graph(bundle, graph, device=device, threads=threads) as pipeline,
        bar() as show,
    ):
        found = run(
            pipeline,
            pictures,
            images,
            min_score=min_score,
            on_bad=lambda error: bad.append(str(error)),
            on_picture=lambda done: show(bundle.path.name, done, len(pictures)),
        )
    return Subject(bundle, graph or "default", found)


def main() -> NoReturn:
    """Entry point of `pose-eval`."""
    run_app(app)
