"""What check frames gave on a processor is found by who serves there, and by nobody else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

import tiny
from pose_runtime import cpu_proof, open_pipeline
from pose_runtime.bundle import load_bundle
from pose_runtime.check import check_bundle
from pose_runtime.cpu_proof import find_proof, keep_proofs
from pose_runtime.store.proof import prove_bundle


def test_who_serves_finds_what_was_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, cache = load_bundle("lightweight-tiny"), tmp_path / "cache"
    open_one = partial(open_pipeline, bundle, "cpu", graph="reference", cache=cache)
    with open_one() as pipeline:
        assert pipeline.proof is None
    (check,) = prove_bundle(bundle, "cpu", graph="reference", cache=cache)
    with open_one() as pipeline:
        assert pipeline.proof is not None
        assert msgspec.structs.astuple(pipeline.proof) == (check.worst_oks, check.min_oks)
        assert pipeline.proof.passed
        assert pipeline.engine_key is None
    assert find_proof(bundle, "cpu_int8", cache) is None
    assert find_proof(tiny.write(tmp_path / "b.pose"), "reference", cache) is None
    monkeypatch.setattr(cpu_proof, "cpu_name", lambda _: "another")
    assert find_proof(bundle, "reference", cache) is None


def test_a_bad_result_is_kept_too_and_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "a.pose")
    good = check_bundle(bundle)
    bad = [type(one)(one.role, one.engine, 2.0, one.frames) for one in good]
    keep_proofs(bundle, bad, tmp_path / "cache")
    found = find_proof(bundle, "reference", tmp_path / "cache")
    assert found is not None
    assert not found.passed
    (tmp_path / "file").write_text("")
    keep_proofs(bundle, good, tmp_path / "file")
    assert find_proof(bundle, "reference", tmp_path / "file") is None
