"""The search against a judge whose verdict is known: every node costs so many AP points in INT8."""

from __future__ import annotations

import onnx
import pytest
from onnx import numpy_helper

from judging import LAYERS, KnownJudge, chain, int8_nodes, plan
from pose_calibration.agreement import Tally
from pose_calibration.judge import Verdict
from pose_calibration.search import MAKERS, Block, Budget, BudgetError, Found, search

DEFAULT = Budget()


def run(judge: KnownJudge, budget: Budget = DEFAULT, *, all_blocks: bool = False) -> Found:
    return search(chain(), [plan()], judge, budget, all_blocks=all_blocks, tell=lambda _: None)  # type: ignore[arg-type]


def test_all_but_the_heads_is_int8_where_nothing_is_lost() -> None:
    judge = KnownJudge({f"c{i}": 0.05 for i in range(LAYERS)})
    found = run(judge)
    assert found.within
    assert set(found.plan.int8) == {f"c{i}" for i in range(LAYERS)}
    assert found.best.share == pytest.approx(LAYERS / (LAYERS + 1))
    assert len(found.steps) == 1
    assert found.blocks == []
    assert found.graphs.keys() == MAKERS.keys()
    assert all(int8_nodes(data) == set(found.plan.int8) for data in found.graphs.values())


def test_the_costly_block_goes_back_and_no_other() -> None:
    found = run(KnownJudge({"c0": 0.02, "c3": 3.0}), Budget(0.5, 0.5))
    assert found.within
    assert set(found.plan.int8) == {f"c{i}" for i in range(LAYERS)} - {"c3"}
    assert "c3" in found.blocks[0].nodes
    shares = [step.share for step in found.steps]
    assert shares == sorted(shares, reverse=True)


def test_what_turns_out_not_to_be_needed_comes_back() -> None:
    """c1 alone looks worst, but the budget holds with it once c4 and c5 are out."""
    judge = KnownJudge({"c1": 0.4, "c4": 0.39, "c5": 0.38})
    found = run(judge, Budget(0.45, 0.0))
    assert found.within
    assert len(found.plan.int8) == LAYERS - 2


def test_the_graph_that_loses_most_decides() -> None:
    assert run(KnownJudge({"c0": 0.3})).within
    with_cpu = run(KnownJudge({"c0": 0.3}, cpu=0.4), Budget(0.5, 0.5))
    assert "c0" not in with_cpu.plan.int8


def test_a_block_that_breaks_the_numbers_goes_back_first() -> None:
    found = run(KnownJudge({"c1": 0.1}, broken="c2"), Budget(0.5, 0.5))
    assert found.within
    assert "c2" not in found.plan.int8
    assert {"c0", "c1", "c3"} <= set(found.plan.int8)


def test_a_budget_that_cannot_be_kept() -> None:
    budget = Budget(0.1, 0.7)
    found = run(KnownJudge({f"c{i}": 1.0 for i in range(LAYERS)}), budget)
    assert not found.within
    assert found.best.share >= 0.7
    assert len(found.steps) >= 2
    text = str(BudgetError(found, budget))
    assert "--qat" in text
    assert "\n" not in text


def test_too_little_int8_is_no_success() -> None:
    found = run(KnownJudge({}), Budget(0.5, 0.95))
    assert found.best.loss == 0
    assert not found.within


def test_every_block_alone_is_measured_on_wish() -> None:
    found = run(KnownJudge({"c2": 0.2}), all_blocks=True)
    assert found.within
    assert "c2" in found.blocks[0].nodes
    rows: list[Block] = [row for row in found.blocks if row.verdict and row.verdict.loss == 0]
    assert len(rows) == len(found.blocks) - 1
    assert sum(row.share for row in found.blocks) == pytest.approx(LAYERS / (LAYERS + 1))


def test_the_ranges_whose_poses_agree_best() -> None:
    class ByRange(KnownJudge):
        def __call__(self, data: bytes, role: str) -> Verdict:
            scales = [
                numpy_helper.to_array(t)
                for t in onnx.load_model_from_string(data).graph.initializer
                if "r0/scale" in t.name
            ]
            oks = 0.5 if scales and float(scales[0]) > 0.02 else 0.9
            verdict = super().__call__(data, role)
            return Verdict(verdict.records, Tally(10, 0, 0, oks, oks, 0.0, 0.0, 0))

    plans = [plan("minmax", 8.0), plan("entropy", 1.0), plan("mse", 4.0)]
    found = search(chain(), plans, ByRange({}), Budget(), all_blocks=False, tell=lambda _: None)  # type: ignore[arg-type]
    assert found.plan.method == "entropy"
