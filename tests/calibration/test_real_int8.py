"""INT8 of published networks on real photos: nobody is lost or invented, and less is lost than in the naive way.

Wider tables come from tests/bench/real_int8.py. Each takes two to five minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.real_int8 import case_of, ours, rows_of_naive, rows_of_ours
from real_networks import NETWORKS
from shared import shared

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxsim")

OKS = {
    "tfpose_mobilenet_v2_small_368x432": (0.95, 0.8),
    "mv2_cpm_192": (0.97, 0.85),
    "mv2_hourglass_192": (0.95, 0.85),
}
"""Mean and worst, at least, on both graphs."""


@pytest.mark.slow
@pytest.mark.parametrize("name", OKS)
def test_everybody_stays(name: str, tmp_path: Path) -> None:
    shared("images", "photos")
    case = case_of(next(network for network in NETWORKS if network.name == name), tmp_path)
    naive = {row.role: row for row in rows_of_naive(case) if row.how == "naive, minmax"}
    for row in rows_of_ours(ours(case)):
        assert row.share >= 0.7
        assert row.tally is not None
        assert row.tally.people >= 10
        assert (row.tally.lost, row.tally.invented) == (0, 0)
        mean, worst = OKS[name]
        assert row.tally.mean_oks >= mean
        assert row.tally.worst_oks >= worst
        assert row.loss < naive[row.role].loss
