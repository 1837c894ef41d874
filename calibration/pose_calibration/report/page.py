"""The page. Whatever comes from a file is escaped, and the page may load nothing: names can be hostile."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

from pose_calibration.curves import Curve, Level, Line
from pose_calibration.evaluation.console import endings, group_rows, heading, points, span
from pose_calibration.evaluation.result import Evaluation, Figure
from pose_calibration.report.charts import chart, strip, whisker
from pose_calibration.report.content import Block, Frames, Layer, Report, SensitivityCurve
from pose_runtime.version import version

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_page(report: Report) -> bytes:
    """The whole page, UTF-8."""
    style = resources.files(__package__).joinpath("style.css").read_text("utf-8")
    title = escape(report.title)
    body = "\n".join(part for part in _parts(report) if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
<footer>jetpose {escape(version())}</footer>
</main>
</body>
</html>
""".encode()


def _parts(report: Report) -> Iterator[str]:
    facts = [*(heading(report.evaluation) if report.evaluation else ()), *report.facts]
    if facts:
        yield _facts(facts)
    for warning in (*report.warnings, *_own_warnings(report.evaluation)):
        yield f'<p class="warning">{escape(warning)}</p>'
    if report.evaluation is not None:
        yield from _evaluation(report.evaluation)
    if report.sensitivity is not None:
        yield from _sensitivity(report.sensitivity)
    if report.blocks:
        yield from _blocks(report.blocks)
    if report.layers:
        yield from _layers(report.layers)
    if report.frames:
        compared = report.evaluation is None or report.evaluation.baseline is not None
        yield f"<h2>{'Frames that changed most' if compared else 'Frames that went worst'}</h2>"
        yield from map(_frames, report.frames)


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _own_warnings(evaluation: Evaluation | None) -> Iterator[str]:
    if evaluation is not None and evaluation.skipped:
        yield f"{len(evaluation.skipped)} pictures could not be read and are left out: {evaluation.skipped[0]}"


# ---- evaluation -------------------------------------------------------------------------------------------------


def _evaluation(evaluation: Evaluation) -> Iterator[str]:
    yield _tiles(evaluation)
    yield "<h2>Figures</h2>"
    yield _figures(evaluation)
    yield "<h2>Curves</h2>"
    yield f'<div class="charts">{"".join(map(chart, evaluation.curves))}</div>'
    yield "<h2>Keypoints</h2>"
    if any(group.pck is not None for group in evaluation.groups):
        columns, rows = group_rows(evaluation)
        yield table([escape(c) for c in columns], [[escape(cell) for cell in row] for row in rows])
    yield _keypoints(evaluation)
    if any(limb.annotated for limb in evaluation.limbs):
        yield "<h2>Limbs</h2>"
        yield _limbs(evaluation)
    yield "<h2>People and time</h2>"
    yield from (f"<p>{escape(line)}</p>" for line in endings(evaluation))


def _tiles(evaluation: Evaluation) -> str:
    """The two figures that the field quotes, the people, the time."""
    tiles = [_figure_tile(figure) for figure in headline(evaluation)]
    side, base = evaluation.bundle, evaluation.baseline
    missed = f"{base.missed} by the baseline" if base else f"of {evaluation.people} annotated"
    tiles.append(_tile("people missed", str(side.missed), f"/ {evaluation.people}", missed))
    if side.invented is not None:
        invented = f"{base.invented} by the baseline" if base else f"of {side.found} found"
        tiles.append(_tile("people invented", str(side.invented), "", invented))
    time = f"baseline {base.stages.total_ms:.1f} ms" if base else f"network {side.stages.network_ms:.1f} ms"
    tiles.append(_tile("time per picture", f"{side.stages.total_ms:.1f}", "ms", time))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def headline(evaluation: Evaluation) -> list[Figure]:
    """AP and AR where everybody is annotated, else the data set's own PCK and strict PCP."""
    by_name = {figure.name: figure for figure in evaluation.figures}
    wanted = ("AP", "AR") if "AP" in by_name else (next(iter(by_name), ""), "PCP@0.5 strict")
    return [by_name[name] for name in wanted if name in by_name]


def _figure_tile(figure: Figure) -> str:
    if figure.change is not None:
        more = f"{points(figure.change, signed=True)} against {points(figure.baseline)}"
        return _tile(figure.name, points(figure.value), "", more, _verdict(figure))
    return _tile(figure.name, points(figure.value), "", span(figure.low, figure.high))


def _verdict(figure: Figure) -> str:
    if figure.change_low is None or figure.change_high is None:
        return ""
    return "better" if figure.change_low > 0 else "worse" if figure.change_high < 0 else ""


def _tile(name: str, value: str, unit: str, more: str, kind: str = "") -> str:
    small = f" <small>{escape(unit)}</small>" if unit else ""
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="value">{escape(value)}{small}</div>'
        f'<div class="more {kind}">{escape(more)}</div></div>'
    )


def _figures(evaluation: Evaluation) -> str:
    compared = evaluation.baseline is not None
    columns = ["", "points", "95 % interval"] + (["baseline", "change", "", "95 % interval"] if compared else [])
    bounds = [abs(b) for f in evaluation.figures for b in (f.change_low, f.change_high, f.change) if b is not None]
    rows = []
    for figure in evaluation.figures:
        row = [escape(figure.name), points(figure.value), span(figure.low, figure.high)]
        if compared:
            drawn = ""
            if figure.change is not None and figure.change_low is not None and figure.change_high is not None:
                drawn = whisker(figure.change_low, figure.change, figure.change_high, max(bounds, default=1.0))
            row += [points(figure.baseline), points(figure.change, signed=True), drawn]
            row.append(span(figure.change_low, figure.change_high, signed=True))
        rows.append(row)
    note = f"Intervals: the middle 95 % over {evaluation.resamples} resampled sets of pictures, seed {evaluation.seed}"
    note += ", both bundles on the same sets." if compared else "."
    return table(columns, rows) + f'<p class="note">{escape(note)}</p>'


def _keypoints(evaluation: Evaluation) -> str:
    compared = evaluation.baseline is not None
    columns = ["joint", "annotated", "median px", "mean px", "missed %", "right %"]
    columns += ["baseline px", "baseline right %"] if compared else []
    rows = []
    for joint in evaluation.keypoints:
        if joint.annotated:
            numbers = [points(value) for value in (joint.median_px, joint.mean_px, joint.missed)]
            row = [escape(joint.name), str(joint.annotated), *numbers, points(joint.right) + bar(joint.right)]
            if compared:
                row += [points(joint.baseline_median_px), points(joint.baseline_right) + bar(joint.baseline_right)]
            rows.append(row)
    note = "px: of those found on people who were found. right: found with a keypoint similarity (OKS) of at least 0.5."
    return table(columns, rows) + f'<p class="note">{note}</p>'


def _limbs(evaluation: Evaluation) -> str:
    compared = evaluation.baseline is not None
    columns = ["part", "annotated", "PCP mean", "PCP strict"] + (["baseline strict"] if compared else [])
    rows = []
    for limb in evaluation.limbs:
        if limb.annotated:
            row = [escape(limb.name), str(limb.annotated), points(limb.mean), points(limb.strict) + bar(limb.strict)]
            rows.append(row + ([points(limb.baseline_strict) + bar(limb.baseline_strict)] if compared else []))
    return table(columns, rows)


# ---- the search for INT8 ----------------------------------------------------------------------------------------


def _sensitivity(found: SensitivityCurve) -> Iterator[str]:
    yield "<h2>Sensitivity</h2>"
    yield f"<p>AP points lost against FP32 as blocks return to FP16, measured on {escape(found.data)}.</p>"
    graphs = list(dict.fromkeys(graph for step in found.steps for graph in step.loss))
    shares = tuple(100 * step.int8_share for step in found.steps)
    lines = tuple(Line(name=g, x=shares, y=tuple(step.loss.get(g) for step in found.steps)) for g in graphs)
    taken = None if found.chosen is None else found.steps[found.chosen]
    curve = Curve(
        name="What INT8 costs",
        x_label="INT8 share of the multiply-accumulates, %",
        y_label="AP points lost",
        lines=lines,
        levels=(
            Level(name=f"budget {found.max_loss:g}", axis="y", value=found.max_loss),
            Level(name=f"least share {100 * found.min_int8:g} %", axis="x", value=100 * found.min_int8),
        ),
        mark=None if taken is None else (100 * taken.int8_share, max(taken.loss.values(), default=0.0)),
        points=True,
    )
    columns = ["step", "INT8 %", *map(escape, graphs), "returned to FP16"]
    rows = []
    before: tuple[str, ...] = ()
    for i, step in enumerate(found.steps):
        new = ", ".join(name for name in step.returned if name not in before) or "none"
        losses = [f"{step.loss[g]:+.2f}" if g in step.loss else "-" for g in graphs]
        name = f"{i}, taken" if i == found.chosen else str(i)
        rows.append([name, f"{100 * step.int8_share:.1f}", *losses, escape(new)])
        before = step.returned
    if taken is None:
        yield '<p class="warning">No step keeps the loss and the INT8 share within their bounds.</p>'
    yield f'<div class="charts">{chart(curve)}{table(columns, rows, text=(len(columns) - 1,))}</div>'


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    yield "<h2>Blocks, each alone in INT8</h2>"
    columns = ["block", "MACs %", "AP lost", "shift px", "people lost", "invented", "mixed up", "runs in"]
    rows = [
        [
            escape(block.name),
            f"{100 * block.mac_share:.1f}",
            f"{block.ap_lost:+.2f}",
            f"{block.shift_px:.2f}",
            str(block.people_lost),
            str(block.people_invented),
            str(block.grouping_errors),
            escape(block.precision),
        ]
        for block in blocks
    ]
    yield table(columns, rows)


def _layers(layers: Sequence[Layer]) -> Iterator[str]:
    total = sum(layer.macs for layer in layers) or 1
    yield "<h2>Layers</h2>"
    keys = []
    for precision in ("int8", "fp16", "fp32"):
        macs = sum(layer.macs for layer in layers if layer.precision == precision)
        keys.append(f'<span class="key {precision}"></span>{precision.upper()} {100 * macs / total:.1f} %')
    pieces = [
        (100 * layer.macs / total, layer.precision, f"{layer.name}: {layer.op}, {layer.precision}. {layer.why}")
        for layer in layers
    ]
    yield f'<p class="note">{"".join(keys)} of the multiply-accumulates, from the input on the left to the heads.</p>'
    yield strip(pieces)
    rows = [
        [escape(x.name), escape(x.op), f"{100 * x.macs / total:.2f}", escape(x.precision), escape(x.why)]
        for x in layers
    ]
    body = table(["layer", "operation", "MACs %", "runs in", "why"], rows, text=(4,))
    yield f"<details><summary>{len(layers)} layers</summary>{body}</details>"


# ---- pieces -----------------------------------------------------------------------------------------------------


def _frames(frames: Frames) -> str:
    shown = "".join(
        f'<div><img alt="{escape(one.title)}" src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}">'
        f"{escape(one.title)}</div>"
        for one in frames.shown
    )
    caption = f"<strong>{escape(frames.name)}</strong> {escape(frames.caption)}"
    return f'<figure class="frames"><figcaption>{caption}</figcaption><div class="row">{shown}</div></figure>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; the columns in `text` are prose."""
    kinds = [' class="text"' if i in text else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{column}</th>" for kind, column in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(value: float | None) -> str:
    """A share of 100 as a small bar."""
    width = 0.0 if value is None else min(max(value, 0.0), 100.0)
    return f'<span class="bar"><i style="width:{width:.0f}%"></i></span>'
