"""Which weighted nodes of a network run in INT8, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from pose_calibration.placement import weighted
from pose_calibration.plan import Plan
from pose_calibration.report import Layer

_HEAD = "an output of the network: coordinates and groups, not features"


def layers(
    model: onnx.ModelProto,
    plan: Plan | None = None,
    returned: Mapping[str, str] | None = None,
    *,
    size_wh: tuple[int, int] | None = None,
) -> tuple[Layer, ...]:
    """Every weighted node in the graph's order.

    Args:
        model: the FP32 graph.
        plan: the decision; None for what the search would start from.
        returned: node -> why it went back to FP16.
        size_wh: stands in for an open width and height of the network's input.
    """
    nodes = weighted(model, size_wh=size_wh)
    int8 = {node.name for node in nodes if not node.head} if plan is None else set(plan.int8)
    fp32 = set() if plan is None else set(plan.fp32)
    rows = []
    for node in nodes:
        if node.name in int8:
            precision, why = "int8", ""
        elif node.name in fp32:
            precision, why = "fp32", "values too large for FP16"
        else:
            precision, why = "fp16", _HEAD if node.head else (returned or {}).get(node.name, "not in the plan")
        rows.append(Layer(name=node.name, op=node.op_type, macs=node.macs, precision=precision, why=why))  # type: ignore[arg-type]
    return tuple(rows)


def lines(model: onnx.ModelProto, size_wh: tuple[int, int] | None = None) -> Sequence[str]:
    """`layers` as text, one line a node, and a sum."""
    rows = layers(model, size_wh=size_wh)
    total = max(sum(row.macs for row in rows), 1)
    share = sum(row.macs for row in rows if row.precision == "int8") / total
    others = sorted({node.op_type for node in model.graph.node} - {row.op for row in rows} - {"Constant"})
    return (
        *(
            f"{row.precision:5}{100 * row.macs / total:5.1f} %  {row.op:13} {row.name}"
            + (f"  ({row.why})" if row.why else "")
            for row in rows
        ),
        f"{100 * share:.1f} % of the multiply-accumulates of {len(rows)} weighted nodes would be INT8",
        f"{', '.join(others) or 'nothing else'}: integers pass through them where both sides are INT8; else FP16",
        "what then loses people goes back to FP16, block by block, by the poses on the calibration pictures",
    )
