"""pose-check BUNDLE: does this bundle give here the poses that it must give?"""

from __future__ import annotations

from typing import Annotated

import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.check import ROLES, GraphCheck, check_bundle, why_skipped
from pose_runtime.cli._common import BundleArgument, Version, new_app, run_app

app = new_app()


@app.command()
def check(
    bundle: BundleArgument,
    engine: Annotated[
        str | None, typer.Option(help=f"Only this engine: {', '.join(ROLES)}.", show_default="all", metavar="NAME")
    ] = None,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Run the bundle's check frames through its graphs; exit 1 if a frame's OKS is below the bundle's bound.

    OKS is the similarity (0 to 1) to the poses that the FP32 network gave when the bundle was written. `heads` is the
    largest difference of the outputs' mean, deviation, minimum and maximum, as a share of the output's range.
    `cpu_int8` is skipped on a CPU without VNNI or Arm dot product, where it is not used. Parts are checked, too.
    """
    loaded = load_bundle(bundle)
    passed = _check(loaded, engine)
    for name, part in loaded.parts.items():
        print(f"{name}: {part.manifest.network.name}")
        passed &= _check(part, engine)
    if not passed:
        raise typer.Exit(1)


def _check(bundle: Bundle, engine: str | None) -> bool:
    """One network's graphs; whether all passed."""
    checks = check_bundle(bundle, engine=engine)
    for graph in checks:
        print_check(graph)
    for role in bundle.manifest.graphs:
        if reason := why_skipped(role):
            print(f"{role}: skipped, {reason}")
    return all(graph.passed for graph in checks)


def print_check(graph: GraphCheck) -> None:
    """A line per frame, and the verdict."""
    for frame in graph.frames:
        heads = "  ".join(f"{name} {difference:.1e}" for name, difference in frame.heads.items())
        heads = f"  heads {heads}" if heads else ""
        verdict = "" if frame.oks >= graph.min_oks else "  BELOW"
        found, wanted = frame.people
        print(f"{graph.role} {frame.file}  OKS {frame.oks:.4f}{verdict}  people {found} of {wanted}{heads}")
    verdict = "passed" if graph.passed else "FAILED"
    print(f"{graph.role} on {graph.engine}: {verdict}, worst OKS {graph.worst_oks:.4f}, bound {graph.min_oks}")


def main() -> None:
    """Entry point."""
    run_app(app)
