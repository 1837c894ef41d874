"""pose-build BUNDLE: build the engine for this GPU ahead of time, and prove it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.check import GraphCheck, check_bundle
from pose_runtime.cli._build_progress import build_progress
from pose_runtime.cli._common import CacheOption, Version, new_app, run_app
from pose_runtime.cli.check import print_check
from pose_runtime.config import load_config
from pose_runtime.cpu_proof import keep_proofs
from pose_runtime.engines import cuda_ordinal
from pose_runtime.engines.tensorrt import Origin, default_graph, default_options
from pose_runtime.errors import EngineError
from pose_runtime.gpu.open import missing, open_unproven
from pose_runtime.manifest import GraphRole
from pose_runtime.plan_cache import PlanCache
from pose_runtime.plan_key import BuildOptions
from pose_runtime.prove import prove

app = new_app()

_DEFAULT = BuildOptions()
_SHOWN = 20  # names of layers on a line; --json has all


@app.command()
def build(
    bundle: Annotated[
        str | None, typer.Argument(help="Folder NAME.pose/, or a network that comes with jetpose.", metavar="[BUNDLE]")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings of pose-run, which name all that.", metavar="FILE"),
    ] = None,
    graph: Annotated[
        GraphRole | None, typer.Option(help="Graph to build.  [default: tensorrt if the bundle has it, else reference]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="GPU.  [default: that of --config, else cuda:0]", metavar="cuda:N")
    ] = None,
    cache: CacheOption = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Largest batch, where the graph takes any.  [default: a detector's max_people, else 8]",
            metavar="N",
        ),
    ] = None,
    opt_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Batch to be fast at, where the graph takes any.", metavar="N")
    ] = _DEFAULT.opt_batch,
    workspace: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Scratch memory that a layer may want.", metavar="MIB")
    ] = _DEFAULT.workspace_mib,
    tactic_memory: Annotated[
        int | None,
        typer.Option(
            min=1, max=1 << 20, help="Memory for the builder's trials.", show_default="all there is", metavar="MIB"
        ),
    ] = _DEFAULT.tactic_mib,
    level: Annotated[int, typer.Option(min=0, max=5, help="Effort of the search.", metavar="N")] = _DEFAULT.level,
    dla: Annotated[
        int | None, typer.Option(min=0, max=7, help="DLA core to run on; the rest runs on the GPU.", metavar="N")
    ] = _DEFAULT.dla_core,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build even where there is a plan.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Build a bundle's engine for this GPU, keep it, and show it the bundle's check frames; its parts' engines, too.

    Exit 1 if a frame's OKS is below the bundle's bound: the engine is refused then, here and by every other command.
    These options are taken for the graph from now on.

    With --config, where pose-run would run on the processor, nothing is built: the graphs that it may take are proven.
    """
    if (bundle is None) == (config is None):
        raise typer.BadParameter("wanted either BUNDLE or --config FILE")
    if device is not None and cuda_ordinal(device) is None:
        raise typer.BadParameter(f"got {device}, wanted cuda or cuda:N", param_hint="--device")
    if config is not None:
        settings = load_config(config, {})
        bundle, graph, device = settings.bundle, graph or settings.graph, device or settings.device
        cache = cache or (Path(settings.cache) if settings.cache else None)
    assert bundle is not None
    ordinal = _gpu(device or "cuda:0", graph)
    if ordinal is None:
        _check(load_bundle(bundle), graph, cache)
        return
    options = BuildOptions(
        opt_batch=opt_batch,
        workspace_mib=workspace,
        tactic_mib=tactic_memory,
        level=level,
        dla_core=dla,
    )
    loaded = load_bundle(bundle)
    build_one = partial(
        _build, ordinal=ordinal, cache=PlanCache(cache), options=options, most=max_batch, rebuild=rebuild
    )
    done = [build_one(loaded, graph or default_graph(loaded))]
    done += [build_one(part, default_graph(part)) for part in loaded.parts.values()]
    for one, origin, check in done:
        if as_json:
            print(msgspec.json.encode(_tree(one, origin, check)).decode())
        else:
            _print(origin, check)
    for _, origin, _ in done:
        if not origin.sha256:
            raise EngineError(f"{origin.cache.folder}: the plan could not be kept, so every start would build it again")
    if not all(check.passed for _, _, check in done):
        raise typer.Exit(1)
    for _, origin, _ in done:
        origin.cache.choose_options(origin.key)


def _build(
    bundle: Bundle,
    role: GraphRole,
    *,
    ordinal: int,
    cache: PlanCache,
    options: BuildOptions,
    most: int | None,
    rebuild: bool,
) -> tuple[Bundle, Origin, GraphCheck]:
    """One network's engine, which has shown the check frames; without `most` its batch is the bundle's own."""
    max_batch = default_options(bundle).max_batch if most is None else most
    options = msgspec.structs.replace(options, max_batch=max_batch)
    with build_progress() as on_progress:
        pipeline, origin = open_unproven(
            bundle, ordinal, role, cache=cache, options=options, rebuild=rebuild, on_progress=on_progress
        )
    with pipeline:
        return bundle, origin, prove(bundle, role, origin, pipeline)


def _gpu(device: str, graph: GraphRole | None) -> int | None:
    """Number of the GPU that `open_pipeline` would take for this device; None for the processor."""
    if device != "auto":
        return cuda_ordinal(device)
    try:
        return 0 if graph != "cpu_int8" and missing() is None else None
    except EngineError:
        return None


def _check(bundle: Bundle, graph: GraphRole | None, cache: Path | None) -> None:
    """The bundle's graphs on the processor, or one of them, and those of its parts."""
    own = [check for check in check_bundle(bundle) if graph in (None, check.role)]
    keep_proofs(bundle, own, cache)
    checks = own + [check for part in bundle.parts.values() for check in check_bundle(part)] * bool(own)
    for check in checks:
        print_check(check)
    if not checks:
        raise EngineError(f"{bundle.path}: no graph {graph or ''} that this processor runs")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def _print(origin: Origin, check: GraphCheck) -> None:
    report, path = origin.report, origin.cache.path(origin.key)
    print(origin.key.machine)
    built = f"built in {report.seconds:.1f} s" if origin.is_new else f"found, built earlier in {report.seconds:.1f} s"
    if origin.sha256:
        built += f", {path.stat().st_size / (1 << 20):.1f} MiB, {path}"
    print(f"{check.role}: {built}")
    if origin.key.options.dla_core is not None:
        names = ", ".join(report.fallbacks[:_SHOWN]) + ", …" * (len(report.fallbacks) > _SHOWN)
        gone = f"{len(report.fallbacks)} of {report.layers} layers fall back to the GPU"
        print(f"DLA core {origin.key.options.dla_core}: {gone}" + f": {names}" * bool(names))
    print_check(check)


def _tree(bundle: Bundle, origin: Origin, check: GraphCheck) -> dict[str, Any]:
    return {
        "network": bundle.manifest.network.name,
        "bundle": bundle.digest,
        "graph": check.role,
        "key": origin.key,
        "plan": str(origin.cache.path(origin.key)) if origin.sha256 else None,
        "sha256": origin.sha256 or None,
        "is_new": origin.is_new,
        "report": origin.report,
        "passed": check.passed,
        "check": check,
    }


def main() -> None:
    """Entry point of `pose-build`."""
    run_app(app)
