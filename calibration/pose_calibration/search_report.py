"""The search for INT8 as a page, and as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from pose_calibration import search
from pose_calibration.explain import layers
from pose_calibration.inputs import usual_size
from pose_calibration.judge import Verdict
from pose_calibration.report import Block, Report, SensitivityCurve, Step, html_page
from pose_calibration.search import Budget, Found
from pose_runtime.manifest import Manifest


def search_page(
    manifest: Manifest, model: onnx.ModelProto, found: Found, budget: Budget, warnings: Sequence[str]
) -> bytes:
    """The search as one HTML file.

    Args:
        manifest: of the bundle, as far as it is known.
        model: the FP32 graph.
        found: by the search.
        budget: that it had to keep.
        warnings: what must not be overlooked.
    """
    returned = {
        node: f"block {row.name} went back: noise {row.noise:.2g} alone"
        for row in found.blocks
        if row.name in found.best.returned
        for node in row.nodes
    }
    facts = [
        ("Network", f"{manifest.network.name}, {manifest.network.macs / 1e9:.2f} G multiply-accumulates"),
        ("INT8 share", f"{100 * found.best.share:.1f} %, wanted at least {100 * budget.min_int8:g} %"),
        ("Ranges", f"{found.plan.method}, {found.plan.data}"),
    ]
    for role, verdict in found.best.verdicts.items():
        for record in verdict.records if verdict else ():
            lost = record.reference - record.value
            facts.append(
                (f"{role}: {record.metric}", f"{record.value:.2f}, FP32 {record.reference:.2f} ({-lost:+.2f})")
            )
    page = Report(
        title=f"INT8 of {manifest.network.name}",
        facts=tuple(facts),
        warnings=(*warnings, *(() if found.within else ("No plan keeps the budget: no bundle was written.",))),
        sensitivity=_curve(found, budget),
        blocks=tuple(_block(row, row.verdict, found) for row in found.blocks if row.verdict),
        layers=layers(model, found.plan, returned, size_wh=usual_size(manifest.input)),
    )
    return html_page(page)


def curve_lines(found: Found) -> list[str]:
    """The steps of the search, one a line."""
    return [
        f"{100 * step.share:5.1f} % INT8, blocks in FP16: {len(step.returned):2}, AP lost: "
        + ", ".join(
            f"{role} {verdict.loss:+.2f}" if verdict else f"{role} not finite"
            for role, verdict in step.verdicts.items()
        )
        for step in found.steps
    ]


def _curve(found: Found, budget: Budget) -> SensitivityCurve:
    steps = tuple(
        Step(
            returned=step.returned,
            int8_share=step.share,
            loss={role: verdict.loss for role, verdict in step.verdicts.items() if verdict},
        )
        for step in found.steps
    )
    data = next((v.records[0].data for v in found.best.verdicts.values() if v), found.plan.data)
    chosen = found.steps.index(found.best) if found.within else None
    return SensitivityCurve(data=data, max_loss=budget.max_loss, min_int8=budget.min_int8, steps=steps, chosen=chosen)


def _block(row: search.Block, verdict: Verdict, found: Found) -> Block:
    tally = verdict.agreement
    return Block(
        name=row.name,
        mac_share=row.share,
        ap_lost=verdict.loss,
        shift_px=tally.shift,
        people_lost=tally.lost,
        people_invented=tally.invented,
        grouping_errors=tally.grouping_errors,
        precision="fp16" if row.name in found.best.returned else "int8",
    )
