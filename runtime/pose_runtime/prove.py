"""A new engine must give the poses that the bundle was written with, before it serves."""

from __future__ import annotations

from collections.abc import Callable

from pose_runtime.arrays import ByteArray
from pose_runtime.bundle import Bundle
from pose_runtime.check import GraphCheck, check_graph
from pose_runtime.engines.tensorrt import NAME, Origin
from pose_runtime.errors import EngineError
from pose_runtime.manifest import GraphRole
from pose_runtime.plan_cache import Proof
from pose_runtime.plan_key import ProofKey
from pose_runtime.poses import Poses


def prove(bundle: Bundle, role: GraphRole, origin: Origin, run: Callable[[ByteArray], Poses]) -> GraphCheck:
    """Show the bundle's check frames to an engine's pipeline, and keep the result beside the plan.

    Args:
        bundle: loaded.
        role: of the graph that the engine runs.
        origin: of the engine's plan.
        run: a pipeline on the engine: gives the poses in a frame, uint8 (H, W, 3) in B, G, R order.

    Returns:
        The OKS of every frame; `passed` says whether the engine may serve.
    """
    check = check_graph(bundle, role, run, NAME)
    if origin.sha256:
        proof = Proof(worst_oks=check.worst_oks, min_oks=check.min_oks)
        origin.cache.store_proof(ProofKey(plan=origin.sha256, bundle=bundle.digest), proof)
    return check


def require_proof(bundle: Bundle, role: GraphRole, origin: Origin, run: Callable[[ByteArray], Poses]) -> Proof:
    """Refuse an engine that fails the bundle's check frames; what it gave once is not asked again.

    Arguments are those of `prove`.

    Returns:
        What it gave.

    Raises:
        EngineError: an OKS is below the bound.
    """
    key = ProofKey(plan=origin.sha256, bundle=bundle.digest)
    proof = origin.cache.proof(key) if origin.sha256 else None
    if proof is None:
        check = prove(bundle, role, origin, run)
        proof = Proof(worst_oks=check.worst_oks, min_oks=check.min_oks)
    if not proof.passed:
        raise EngineError(
            f"{bundle.path}: the engine of {role} is refused: OKS {proof.worst_oks:.4f} on a check frame, the bundle "
            f"wants {proof.min_oks}; pose-build --rebuild makes another, --graph reference one without INT8"
        )
    return proof
