"""INT8 of real networks on real photos, beside the naive ways:  python -m bench.real_int8 [FILTER]  (in tests/)

Every network is calibrated on some photos and judged on others: of the people that FP32 finds (clearly above the
decoder's drop score), how many each INT8 graph loses, how many it invents, and how near the rest stay. `ours` is what
pose-export --int8 does; `naive` puts every weighted node into INT8, heads too, between ranges by one method, with
nothing equalised and nothing given back. Takes minutes; needs the reference data beside the checkout.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from pose_calibration.agreement import Tally
from pose_calibration.collect import collect
from pose_calibration.graph_stats import load_onnx
from pose_calibration.inputs import NetworkInputs
from pose_calibration.judge import Judge, try_graph
from pose_calibration.limits import Method, limits
from pose_calibration.pictures import Pictures
from pose_calibration.placement import candidates, cpu_share, int8_share, weighted
from pose_calibration.plan import VERSION, Plan
from pose_calibration.quantise import Settings, quantise
from pose_calibration.search import MAKERS, BudgetError, Found, encode
from pose_runtime.bundle import load_bundle
from pose_runtime.manifest import Manifest
from real_networks import NETWORKS, RealNetwork, make_bundle, pictures

NAIVE: tuple[Method, ...] = ("minmax", "entropy")


@dataclass(frozen=True)
class Row:
    """One graph: how it was made, for whom, its INT8 share of the work, AP points lost, and what became of people."""

    how: str
    role: str
    share: float
    loss: float
    tally: Tally | None

    def __str__(self) -> str:
        start = f"{self.how:14} {self.role:9} {100 * self.share:6.1f} {self.loss:7.2f}"
        if self.tally is None:
            return f"{start}  not finite"
        t = self.tally
        return f"{start} {t.people:7} {t.lost:5} {t.invented:9} {t.mean_oks:9.4f} {t.worst_oks:9.4f}"


HEAD = f"{'INT8':14} {'graph':9} {'share%':>6} {'AP lost':>7} {'people':>7} {'lost':>5} {'invented':>9}"
HEAD += f" {'mean OKS':>9} {'worst OKS':>9}"


@dataclass(frozen=True)
class Case:
    """A network with all that its rows need."""

    manifest: Manifest
    model: onnx.ModelProto
    calibration: Pictures
    judged: Pictures
    judge: Judge


def case_of(network: RealNetwork, folder: Path) -> Case:
    """The network as pose-export bundles it, and its pictures."""
    bundle = make_bundle(network, folder)
    manifest, model = load_bundle(bundle).manifest, load_onnx(bundle / "reference.onnx")
    calibration, judged = pictures(network, folder / "people")
    return Case(manifest, model, calibration, judged, Judge(manifest, encode(model), judged))


def ours(case: Case) -> Found:
    """What pose-export --int8 does, within its budget or not."""
    settings = Settings("int8", case.calibration, case.judged, None)
    try:
        found = quantise(case.manifest, case.model, settings, tell=_tell, progress=_quiet).found
    except BudgetError as error:
        found = error.found
    assert found is not None
    return found


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr)


def _quiet(*_: object) -> None:
    pass


def rows_of_ours(found: Found) -> Iterator[Row]:
    """One row per graph."""
    for role, verdict in found.best.verdicts.items():
        loss, agreement = (verdict.loss, verdict.agreement) if verdict else (float("inf"), None)
        yield Row(f"ours, {found.plan.method}", role, found.best.share, loss, agreement)


def rows_of_naive(case: Case) -> Iterator[Row]:
    """Everything in INT8 between the ranges of one method."""
    inputs = NetworkInputs(case.calibration, case.manifest.input)
    histograms = collect(encode(case.model), candidates(case.model), inputs)
    for method in NAIVE:
        plan = Plan(
            version=VERSION,
            int8=tuple(node.name for node in weighted(case.model)),
            ranges={name: limits(histogram, method) for name, histogram in histograms.items()},
            exponents={},
            shifts={},
            fp32=(),
            method=method,
            data=case.calibration.description,
        )
        for role, make in MAKERS.items():
            verdict = try_graph(case.judge, encode(make(case.model, plan)), role)
            share = (cpu_share if role == "cpu_int8" else int8_share)(case.model, plan)
            loss, agreement = (verdict.loss, verdict.agreement) if verdict else (float("inf"), None)
            yield Row(f"naive, {method}", role, share, loss, agreement)


def main() -> None:
    """Print a table per network."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for network in NETWORKS:
        if wanted not in network.name:
            continue
        with tempfile.TemporaryDirectory(prefix="jetpose-bench-") as folder:
            try:
                case = case_of(network, Path(folder))
            except pytest.skip.Exception as reason:
                sys.exit(str(reason))
            print(f"{network.name}: ranges of {case.calibration.description}, judged on {case.judged.description}")
            print(HEAD)
            for row in rows_of_naive(case):
                print(row, flush=True)
            for row in rows_of_ours(ours(case)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
