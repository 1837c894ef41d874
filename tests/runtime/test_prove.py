from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes import driver as fake_driver
from pose_runtime.arrays import ByteArray
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.check import check_graph
from pose_runtime.engines.tensorrt import Origin
from pose_runtime.errors import EngineError
from pose_runtime.pipeline import Pipeline, open_pipeline
from pose_runtime.plan_cache import BuildReport, PlanCache
from pose_runtime.plan_key import BuildOptions, machine_key, plan_key
from pose_runtime.poses import Poses
from pose_runtime.prove import prove, require_proof

NETWORK = "lightweight-tiny"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(NETWORK)


@pytest.fixture(scope="module")
def pipeline(bundle: Bundle) -> Any:
    with open_pipeline(bundle, graph="reference", threads=1) as opened:
        yield opened


@pytest.fixture
def origin(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """Of a plan that is in the cache."""
    (tmp_path / "driver").mkdir()
    fake_driver.install(tmp_path / "driver", monkeypatch)
    from pose_runtime.gpu.driver import find_gpu

    machine = machine_key("tensorrt", "10.3.0", find_gpu())
    cache, key = PlanCache(tmp_path), plan_key(b"graph", machine, BuildOptions())
    plan = cache.get_or_build(key, lambda: (b"plan", BuildReport(seconds=1.0, layers=1)))
    return Origin(cache, key, plan.report, plan.sha256, plan.is_new)


class Counted:
    """A pipeline that says how many frames it has seen, and finds nobody where it is blind."""

    def __init__(self, pipeline: Pipeline, *, blind_at: int | None = None) -> None:
        self.pipeline, self.blind_at, self.frames = pipeline, blind_at, 0

    def __call__(self, image: ByteArray) -> Poses:
        self.frames += 1
        poses = self.pipeline(image)
        return Poses.empty(poses.skeleton) if self.frames - 1 == self.blind_at else poses


def test_the_same_poses_pass(bundle: Bundle, pipeline: Pipeline, origin: Origin) -> None:
    run = Counted(pipeline)
    check = prove(bundle, "reference", origin, run)
    assert check.passed
    assert check.worst_oks > 0.99
    assert run.frames == len(bundle.manifest.check.frames) == 8
    assert check.engine == "tensorrt"
    require_proof(bundle, "reference", origin, run)
    assert run.frames == 8  # a proof is not asked for twice


def test_one_bad_frame_refuses(bundle: Bundle, pipeline: Pipeline, origin: Origin) -> None:
    run, bound = Counted(pipeline, blind_at=3), bundle.manifest.graphs["tensorrt"].min_oks
    for _ in range(2):
        with pytest.raises(EngineError, match=rf"of tensorrt is refused: OKS 0.0000 .* {bound}; pose-build --rebuild"):
            require_proof(bundle, "tensorrt", origin, run)
    assert run.frames == 8
    check = check_graph(bundle, "tensorrt", Counted(pipeline, blind_at=3), "tensorrt")
    assert [frame.oks >= check.min_oks for frame in check.frames].count(False) == 1


def test_a_graphs_own_bound_holds(bundle: Bundle, pipeline: Pipeline, origin: Origin) -> None:
    assert check_graph(bundle, "reference", pipeline, "tensorrt").min_oks == 0.9
    own = bundle.manifest.graphs["tensorrt"].min_oks
    assert own is not None
    assert own < 0.9
    assert check_graph(bundle, "tensorrt", pipeline, "tensorrt").min_oks == own


def test_another_plan_or_bundle_is_asked_anew(bundle: Bundle, pipeline: Pipeline, origin: Origin) -> None:
    run = Counted(pipeline)
    require_proof(bundle, "reference", origin, run)
    plan = origin.cache.get_or_build(origin.key, lambda: (b"another", origin.report), rebuild=True)
    again = origin._replace(sha256=plan.sha256)
    require_proof(bundle, "reference", again, run)
    assert run.frames == 16


def test_a_plan_that_could_not_be_stored_is_proven_all_the_same(
    bundle: Bundle, pipeline: Pipeline, origin: Origin
) -> None:
    homeless = origin._replace(sha256="")
    require_proof(bundle, "reference", homeless, Counted(pipeline))
    with pytest.raises(EngineError, match="refused"):
        require_proof(bundle, "reference", homeless, Counted(pipeline, blind_at=0))
