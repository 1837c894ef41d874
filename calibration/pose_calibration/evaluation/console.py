"""An evaluation as text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from pose_calibration.evaluation.result import Evaluation, Figure, Keypoint, Side
from pose_runtime.cli._common import one_line


def lines(evaluation: Evaluation) -> Iterator[str]:
    """All of it, line by line; nothing in it can move a terminal's cursor."""
    for name, value in heading(evaluation):
        yield one_line(f"{name}: {value}")
    yield ""
    yield from table(*figure_rows(evaluation))
    yield ""
    if any(group.pck is not None for group in evaluation.groups):
        yield from table(*group_rows(evaluation))
        yield ""
    yield from table(*keypoint_rows(evaluation))
    yield ""
    yield from map(one_line, endings(evaluation))


def heading(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """What was evaluated on what: names and values."""
    yield "bundle", _of_side(evaluation.bundle)
    if evaluation.baseline is not None:
        yield "baseline", _of_side(evaluation.baseline)
    people = f"{evaluation.people} people in {evaluation.pictures} pictures"
    yield "annotations", f"{evaluation.data_set}, {evaluation.annotations}: {people}"
    exactly = "right" if evaluation.within == "<=" else "wrong"
    yield "thresholds", f"an error exactly at one is {exactly} ({evaluation.within})"
    if evaluation.boxes:
        yield "boxes", "the network was given those of the annotated people"
    if evaluation.joints_left_out:
        yield "left out", f"joints that the network does not have: {', '.join(evaluation.joints_left_out)}"
    for note in evaluation.notes:
        yield "note", note


def figure_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the headline table, points."""
    columns = ["points", "value"]
    if evaluation.resamples:
        columns.append("95 % interval")
    if evaluation.baseline is not None:
        columns += ["baseline", "change"] + (["95 % interval of the change"] if evaluation.resamples else [])
    return columns, [_figure_row(figure, evaluation) for figure in evaluation.figures]


def group_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the data set's usual PCK, left and right together."""
    groups = [group for group in evaluation.groups if group.pck is not None]
    rows = [["value", *(points(group.pck) for group in groups)]]
    if evaluation.baseline is not None:
        rows.append(["baseline", *(points(group.baseline) for group in groups)])
    return [evaluation.pck, *(group.name for group in groups)], rows


def keypoint_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of joints; those that nobody annotated are left out."""
    columns = ["joint", "annotated", "median px", "mean px", "right %", "missed %"]
    if evaluation.baseline is not None:
        columns += ["baseline px", "baseline right %"]
    return columns, [_keypoint_row(one, evaluation) for one in evaluation.keypoints if one.annotated]


def endings(evaluation: Evaluation) -> Iterator[str]:
    """People and times."""
    for name, side in (("", evaluation.bundle), ("baseline: ", evaluation.baseline)):
        if side is not None:
            invented = "" if side.invented is None else f", {side.invented} invented"
            yield f"{name}{side.found} people found: {side.missed} of {evaluation.people} missed{invented}"
    for name, side in (("", evaluation.bundle), ("baseline: ", evaluation.baseline)):
        if side is not None:
            stages = side.stages
            parts = ", ".join(f"{s} {getattr(stages, s + '_ms'):.1f} ms" for s in ("pre", "network", "decode", "total"))
            yield f"{name}{parts} (medians per picture)"


def _of_side(side: Side) -> str:
    return f"{side.path}: {side.network}, graph {side.graph}"


def _figure_row(figure: Figure, evaluation: Evaluation) -> list[str]:
    row = [figure.name, points(figure.value)]
    if evaluation.resamples:
        row.append(span(figure.low, figure.high))
    if evaluation.baseline is not None:
        row += [points(figure.baseline), points(figure.change, signed=True)]
        if evaluation.resamples:
            row.append(span(figure.change_low, figure.change_high, signed=True))
    return row


def _keypoint_row(joint: Keypoint, evaluation: Evaluation) -> list[str]:
    row = [joint.name, str(joint.annotated)]
    row += [points(value) for value in (joint.median_px, joint.mean_px, joint.right, joint.missed)]
    if evaluation.baseline is not None:
        row += [points(joint.baseline_median_px), points(joint.baseline_right)]
    return row


def points(value: float | None, *, signed: bool = False) -> str:
    """One decimal; a dash for what does not exist."""
    if value is None:
        return "-"
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def span(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Both ends of an interval."""
    return "-" if low is None or high is None else f"{points(low, signed=signed)} to {points(high, signed=signed)}"


def table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Lines with the first column to the left and the others to the right."""
    cells = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"{row[0]:{widths[0]}}", *aligned]).rstrip()
