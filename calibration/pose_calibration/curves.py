"""Curves as data: what JSON holds and a report draws."""

from __future__ import annotations

from msgspec import Struct


class Line(Struct, frozen=True, kw_only=True):
    """A line of a curve; null where it has no value. A dashed one is what the others are compared with."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    dashed: bool = False


class Level(Struct, frozen=True, kw_only=True):
    """A straight line across a curve, such as a budget: along `x` = value or `y` = value."""

    name: str
    axis: str
    value: float


class Curve(Struct, frozen=True, kw_only=True):
    """Lines over one axis.

    Attributes:
        name: what it shows.
        x_label, y_label: what the axes are.
        lines: at most 8 get a colour of their own, dashed ones that of the solid line at the same place.
        levels: straight lines across.
        mark: a point that is pointed out, x and y.
        top: the y axis reaches at least from 0 to it.
        points: whether the values are marked as well as joined.
    """

    name: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    mark: tuple[float, float] | None = None
    top: float = 0.0
    points: bool = False
