"""A bundle's engine, built and proven before it serves: as `pose-build` does on a GPU, as `pose-check` on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable

from pose_runtime.bundle import Bundle
from pose_runtime.check import GraphCheck, check_bundle, check_graph
from pose_runtime.choose import ENGINE
from pose_runtime.cpu_proof import keep_proofs
from pose_runtime.engines import cuda_ordinal
from pose_runtime.errors import EngineError
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import open_network
from pose_runtime.plan_cache import PlanCache

OnProgress = Callable[[str, int, int], None]


def prove_bundle(
    bundle: Bundle,
    device: str = "auto",
    *,
    graph: GraphRole | None = None,
    cache: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> list[GraphCheck]:
    """Show the check frames to the engines that `open_pipeline` with these arguments may open.

    A GPU that is there must do: on `auto`, `open_pipeline` would fall back to the CPU, which is no update.

    Args:
        bundle: loaded.
        device, graph, cache: as `open_pipeline`'s.
        on_progress: told of the steps of a build.

    Returns:
        What each graph gave; all passed.

    Raises:
        BundleError: the bundle has no such graph, it is damaged, or it does not fit its graph.
        EngineError: no engine can be opened, its plan cannot be kept, or a frame's OKS is below the bound.
    """
    ordinal = cuda_ordinal(device)
    if ordinal is None and device == "auto" and graph != "cpu_int8":
        ordinal = _ordinal_here()
    if ordinal is None:
        checks = _on_cpu(bundle, graph)
        keep_proofs(bundle, checks, cache)
    else:
        checks = [_on_gpu(bundle, ordinal, graph, cache, on_progress)]
    for check in checks:
        if not check.passed:
            raise EngineError(
                f"{bundle.path}: the engine of {check.role} is refused: OKS {check.worst_oks:.4f} on a check frame, "
                f"the bundle wants {check.min_oks}; pose-build and pose-check show more"
            )
    return checks


def _on_cpu(bundle: Bundle, graph: GraphRole | None) -> list[GraphCheck]:
    if graph is None:  # a trial at every start decides which
        return check_bundle(bundle)
    with open_network(bundle, "cpu", graph=graph) as pipeline:
        return [check_graph(bundle, graph, pipeline, ENGINE)]


def _on_gpu(
    bundle: Bundle,
    ordinal: int,
    graph: GraphRole | None,
    cache: str | os.PathLike[str] | None,
    on_progress: OnProgress | None,
) -> GraphCheck:
    from pose_runtime.engines.tensorrt import default_graph
    from pose_runtime.gpu.open import open_unproven
    from pose_runtime.prove import prove

    role = graph or default_graph(bundle)
    pipeline, origin = open_unproven(bundle, ordinal, role, cache=PlanCache(cache), on_progress=on_progress)
    with pipeline:
        check = prove(bundle, role, origin, pipeline)
    if not origin.sha256:
        raise EngineError(f"{origin.cache.folder}: the plan could not be kept, so the service would build it again")
    return check


def _ordinal_here() -> int | None:
    """The GPU that `auto` takes; None where a CPU serves."""
    from pose_runtime.gpu.open import missing

    try:
        return 0 if missing() is None else None
    except EngineError:
        return None
