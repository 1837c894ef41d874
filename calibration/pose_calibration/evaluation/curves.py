"""Precision over recall, PCK over its threshold, PDJ."""

from __future__ import annotations

import numpy as np

from pose_calibration.annotations import Annotations
from pose_calibration.curves import Curve, Line
from pose_calibration.evaluation.scores import Pairs, Scores
from pose_calibration.keypoint_metrics import PDJ_THRESHOLDS, Within, normalised, pck
from pose_runtime.arrays import AnyArray, Float64Array

_STEPS = 51
_LENGTHS = {"box": "the person's box", "torso": "the torso", "head": "the head"}
_JOINTS = ("elbow", "wrist", "knee", "ankle")  # of which PDJ is drawn one by one, as the field does


def curves_of(annotations: Annotations, own: Scores, other: Scores | None, within: Within) -> tuple[Curve, ...]:
    """All curves that the annotations allow; the other bundle's are dashed."""
    curves = [_precision_recall(own, other)] if own.coco is not None else []
    protocol = annotations.protocol
    most = 1.0 if protocol.length == "head" else 0.5
    joints = ~np.isin(annotations.skeleton.names, protocol.left_out)
    for name, length, highest in (
        ("PCKh" if protocol.length == "head" else "PCK", protocol.length, most),
        ("PDJ", "torso", 0.5),
    ):
        lengths: Float64Array = getattr(own.pairs, length)
        if (lengths > 0).any() and not (name == "PCK" and length == "torso"):  # which is PDJ
            curves.append(_keypoints(annotations, name, length, highest, own, other, joints, within))
    return tuple(curves)


def _precision_recall(own: Scores, other: Scores | None) -> Curve:
    recalls = tuple(float(r) for r in np.linspace(0, 100, 101))
    lines = []
    for scores, dashed in ((own, False), (other, True)):
        if scores is not None and scores.coco is not None:
            precision = 100 * scores.coco.precision
            rows = (
                ("OKS 0.50", precision[0]),
                ("OKS 0.75", precision[5]),
                ("mean of 0.50 to 0.95", precision.mean(axis=0)),
            )
            lines += [Line(name=_of(name, dashed), dashed=dashed, x=recalls, y=_numbers(y)) for name, y in rows]
    return Curve(name="Precision and recall", x_label="recall", y_label="precision", lines=tuple(lines), top=100)


def _keypoints(
    annotations: Annotations,
    name: str,
    length: str,
    highest: float,
    own: Scores,
    other: Scores | None,
    joints: AnyArray,
    within: Within,
) -> Curve:
    thresholds = PDJ_THRESHOLDS if name == "PDJ" else tuple(float(t) for t in np.linspace(0, highest, _STEPS))
    lines = []
    for scores, dashed in ((own, False), (other, True)):
        if scores is None:
            continue
        groups = {"mean of the joints": joints}
        if name == "PDJ" and not dashed:
            names = np.array(annotations.skeleton.names)
            groups |= {f"{joint}s": np.char.endswith(names, joint) for joint in _JOINTS}
        for group, of in groups.items():
            y = _curve(scores.pairs, length, thresholds, of, within)
            if any(value is not None for value in y):
                lines.append(Line(name=_of(group, dashed), dashed=dashed, x=thresholds, y=y))
    return Curve(
        name=name,
        x_label=f"error as a share of {_LENGTHS[length]}",
        y_label="keypoints within it, %",
        lines=tuple(lines),
        top=100,
    )


def _curve(
    pairs: Pairs, length: str, thresholds: tuple[float, ...], joints: AnyArray, within: Within
) -> tuple[float | None, ...]:
    lengths: Float64Array = getattr(pairs, length)
    relative = normalised(pairs.errors, lengths)
    counted = pairs.labelled & (lengths > 0)[:, None] & joints
    return _numbers(np.array([pck(relative, counted, threshold=t, within=within).mean for t in thresholds]))


def _of(name: str, dashed: bool) -> str:
    return f"{name}, baseline" if dashed else name


def _numbers(values: Float64Array) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(v) else round(float(v), 3) for v in values)
