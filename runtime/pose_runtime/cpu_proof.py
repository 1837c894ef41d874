"""What a bundle's graphs gave on its check frames on this processor: kept by who showed them, found by who serves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from pose_runtime.bundle import Bundle
from pose_runtime.errors import EngineError
from pose_runtime.machine.facts import cpu_name
from pose_runtime.machine.host import Host
from pose_runtime.manifest import GraphRole
from pose_runtime.plan_cache import PlanCache, Proof
from pose_runtime.plan_key import ProofKey

if TYPE_CHECKING:
    from pose_runtime.check import GraphCheck

_Folder = str | os.PathLike[str] | None


def keep_proofs(bundle: Bundle, checks: Iterable[GraphCheck], cache: _Folder = None) -> None:
    """Remember what graphs gave here, good or bad; where nothing can be written, a warning says so.

    Args:
        bundle: loaded.
        checks: of its graphs, on this processor.
        cache: folder; None for that of built engines.
    """
    with suppress(EngineError):  # there is no folder at all
        kept = PlanCache(cache)
        for check in checks:
            kept.store_proof(_key(bundle, check.role), Proof(worst_oks=check.worst_oks, min_oks=check.min_oks))


def find_proof(bundle: Bundle, role: GraphRole, cache: _Folder = None) -> Proof | None:
    """What a graph gave here, with this processor and ONNX Runtime; None where it was not shown the frames."""
    try:
        return PlanCache(cache).proof(_key(bundle, role))
    except EngineError:
        return None


def _key(bundle: Bundle, role: GraphRole) -> ProofKey:
    from pose_runtime.engines.onnxruntime import VERSION  # heavy, and loaded by whoever has something to prove

    return ProofKey(plan=f"{role}: onnxruntime {VERSION} on {cpu_name(Host())}", bundle=bundle.digest)
