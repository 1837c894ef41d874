"""Curves and strips as SVG. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pose_calibration.curves import Curve, Line

COLOURS = 8
_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42
_TICKS = 5


class _Scale:
    """From values to pixels: (low, high) of the data to (start, end) of the drawing."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        step = _step(high - low)
        self.low = math.floor(low / step + 1e-9) * step
        self.high = math.ceil(high / step - 1e-9) * step
        self._step, self._start, self._end = step, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self._step)
        return [self.low + i * self._step for i in range(count + 1)]


def _step(extent: float) -> float:
    """1, 2 or 5 times a power of ten, so that about five fit."""
    power = 10.0 ** math.floor(math.log10(extent / _TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * _TICKS >= extent * 0.999)


def chart(curve: Curve) -> str:
    """A curve with its axes and a legend."""
    known = [(x, y) for line in curve.lines for x, y in zip(line.x, line.y, strict=True) if y is not None]
    levels = {axis: [level.value for level in curve.levels if level.axis == axis] for axis in "xy"}
    across = _Scale([x for x, _ in known] + levels["x"], _LEFT, _WIDTH - _RIGHT)
    up = _Scale([0.0, curve.top, *(y for _, y in known), *levels["y"]], _HEIGHT - _BOTTOM, _TOP)
    parts = [*_axes(curve, across, up), *_levels(curve, across, up)]
    parts += [_line(curve, line, colour, across, up) for line, colour in zip(curve.lines, colours(curve), strict=True)]
    if curve.mark is not None:
        x, y = curve.mark
        parts.append(f'<circle class="mark" cx="{across(x):.1f}" cy="{up(y):.1f}" r="8"/>')
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(curve.name)}">{"".join(parts)}</svg>'
    )
    return f'<figure class="chart"><h3>{escape(curve.name)}</h3>{drawing}{_legend(curve)}</figure>'


def colours(curve: Curve) -> list[int]:
    """Each line's colour: the solid ones in turn, a dashed one that of the solid line that its name begins with."""
    solid = {line.name: i % COLOURS for i, line in enumerate(line for line in curve.lines if not line.dashed)}
    return [
        next((colour for name, colour in solid.items() if line.name.startswith(name)), COLOURS - 1)
        if line.dashed
        else solid[line.name]
        for line in curve.lines
    ]


def _axes(curve: Curve, across: _Scale, up: _Scale) -> list[str]:
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in across.ticks():
        x = across(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(value)}</text>')
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    middle = (left + right) / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(curve.x_label)}</text>'
    )
    parts.append(
        f'<text class="label" transform="translate(12 {(top + bottom) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(curve.y_label)}</text>'
    )
    return parts


def _levels(curve: Curve, across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for level in curve.levels:
        if level.axis == "y":
            y = up(level.value)
            parts.append(f'<path class="level" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text class="tick" x="{_LEFT + 6}" y="{y - 5:.1f}">{escape(level.name)}</text>')
        else:
            x = across(level.value)
            parts.append(f'<path class="level" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
            parts.append(f'<text class="tick" x="{x + 5:.1f}" y="{_TOP + 10}">{escape(level.name)}</text>')
    return parts


def _line(curve: Curve, line: Line, colour: int, across: _Scale, up: _Scale) -> str:
    path, pen = [], "M"
    dots = []
    for x, y in zip(line.x, line.y, strict=True):
        if y is None:
            pen = "M"
            continue
        path.append(f"{pen}{across(x):.1f} {up(y):.1f}")
        dots.append(f'<circle class="dot c{colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>')
        pen = "L"
    dash = " dashed" if line.dashed else ""
    return f'<path class="line c{colour}{dash}" d="{"".join(path)}"/>' + ("".join(dots) if curve.points else "")


def _legend(curve: Curve) -> str:
    entries = []
    for line, colour in zip(curve.lines, colours(curve), strict=True):
        kind = f"line c{colour}{' dashed' if line.dashed else ''}"
        sample = f'<svg width="22" height="8" aria-hidden="true"><path class="{kind}" d="M1 4H21"/></svg>'
        entries.append(f"<li>{sample}{escape(line.name)}</li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _short(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def strip(pieces: Sequence[tuple[float, str, str]]) -> str:
    """A bar of pieces side by side: width as a share of the whole, class, and what it says when pointed at."""
    x, parts = 0.0, []
    for width, kind, text in pieces:
        parts.append(
            f'<rect class="{kind}" x="{x:.3f}" width="{width:.3f}" height="34"><title>{escape(text)}</title></rect>'
        )
        x += width
    return (
        f'<svg class="strip" viewBox="0 0 {x or 1:.3f} 34" preserveAspectRatio="none" role="img">{"".join(parts)}</svg>'
    )


def whisker(low: float, value: float, high: float, reach: float) -> str:
    """A value and its interval beside zero, on a scale that ends at -reach and reach."""

    def at(number: float) -> float:
        return 60 + 56 * max(-1.0, min(1.0, number / reach if reach else 0.0))

    kind = "better" if low > 0 else "worse" if high < 0 else "same"
    return (
        f'<svg class="whisker {kind}" viewBox="0 0 120 16" width="120" height="16" aria-hidden="true">'
        f'<path class="zero" d="M60 1V15"/><path class="reach" d="M{at(low):.1f} 8H{at(high):.1f}"/>'
        f'<circle cx="{at(value):.1f}" cy="8" r="3.5"/></svg>'
    )
