"""Playing fields outside, and sports halls."""

from __future__ import annotations

import cv2
import numpy as np

from pose_export.synthetic.backdrops import outdoors, sheets
from pose_export.synthetic.backdrops.base import Backdrop, Random
from pose_export.synthetic.backdrops.painter import Painter
from pose_export.synthetic.backdrops.textures import Ramp, colour, green, ramp, texture, tint, warm
from pose_export.synthetic.light import simple
from pose_export.synthetic.view import View

_WHITE = ramp((150, 150, 150), (240, 242, 244))


def field(rng: Random, view: View, clear: float) -> Backdrop:
    """Grass, clay, snow or a hard court with lines, hoardings and a stand."""
    weather = outdoors.day(rng)
    painter = Painter(view, float(rng.uniform(-0.8, 0.8)))
    painter.haze = weather.horizon, float(rng.uniform(100, 400))
    outdoors.sky(painter, rng, weather)
    kind = str(rng.choice(["grass", "clay", "court", "snow"], p=[0.45, 0.15, 0.25, 0.15]))
    name, paint, metres = {
        "grass": ("grass", tint(green(rng, value=(0.3, 0.6)), 0.8), 1.5),
        "clay": ("earth", tint(np.array([60.0, 95, 175]) * rng.uniform(0.8, 1.15), 0.6), 2.5),
        "court": ("asphalt", tint(colour(rng, value=(0.35, 0.7), vivid=0.6), 0.5), 1.5),
        "snow": ("earth", tint(np.array([238.0, 230, 225]), 0.25), 4.0),
    }[kind]
    outdoors.ground(painter, rng, name, paint, metres, weather.bright)
    end = -clear - float(rng.uniform(3, 30))
    if kind == "grass" and rng.random() < 0.6:
        for i in range(0, 14, 2):
            z = -6.0 * i
            painter.tone((-60, 0, z), (120, 0, 0), (0, 0, -6), (np.full((8, 8), 255, np.uint8),), 0.86)
    if kind != "snow":
        lines(painter, rng, (-12, 12, end + 1.0, 1.0), _WHITE, 0.09)
        _surround(painter, rng, end, weather.bright)
    else:
        outdoors.hedge(
            painter,
            rng,
            end - 10,
            float(rng.uniform(4, 12)),
            ramp((20, 25, 15), (90, 80, 70), (250, 245, 240)),
            weather.bright,
        )
    return Backdrop(image=painter.finished(rng), light=outdoors.light(rng, weather), floor=True)


def lines(painter: Painter, rng: Random, area: tuple[float, float, float, float], paint: Ramp, width: float) -> None:
    """A random court: a rim, lines along and across, at times a circle. `area` is left, right, far, near."""
    left, right, far, near = area
    chalk = texture(rng, "asphalt")
    for x in (left, right, *rng.uniform(left, right, int(rng.integers(0, 4)))):
        painter.quad((float(x), 0, near), (width, 0, 0), (0, 0, far - near), chalk, paint, repeat=(0.1, 10))
    for z in (far, *rng.uniform(far, near, int(rng.integers(1, 4)))):
        painter.quad((left, 0, float(z)), (right - left, 0, 0), (0, 0, -width), chalk, paint, repeat=(10, 0.1))
    if rng.random() < 0.6:
        x, z, r = rng.uniform(left, right), rng.uniform(far, near), float(rng.uniform(1.5, 5))
        painter.quad(
            (x - r, 0, z + r), (2 * r, 0, 0), (0, 0, -2 * r), chalk, paint, alpha=_ring(max(1, round(128 * width / r)))
        )


def _ring(thickness: int) -> tuple[np.ndarray, ...]:
    ring = np.zeros((256, 256), np.uint8)
    cv2.circle(ring, (128, 128), 126 - thickness, 255, max(2, thickness), cv2.LINE_AA)
    return (ring,)


def _surround(painter: Painter, rng: Random, end: float, bright: float) -> None:
    """What stands round a field: trees, a stand with seats, hoardings, a net."""
    if rng.random() < 0.5:
        outdoors.hedge(painter, rng, end - 8, float(rng.uniform(4, 10)), sheets.foliage_ramp(rng), bright)
    if rng.random() < 0.45:
        seats = tint(colour(rng, vivid=0.6), 0.9)
        rows = int(rng.integers(5, 14))
        for i in reversed(range(rows)):
            painter.cuboid(
                (-30, 0, end - 2 - i * 0.8),
                (60, 0, 0),
                (0, 0, 0.8),
                0.8 + 0.45 * i,
                texture(rng, "checks"),
                seats,
                scale=1.8,
            )
    if rng.random() < 0.6:
        x = -24.0
        while x < 24:
            wide = rng.uniform(2.5, 6)
            painter.quad((x, 0, end), (wide, 0, 0), (0, 0.9, 0), sheets.poster(rng), shade=bright)
            x += wide
    if rng.random() < 0.4:
        net, grey = texture(rng, "lattice"), tint(np.array([200.0, 200, 200]) * rng.uniform(0.2, 1), 0.2)
        high = float(rng.choice([1.0, 3.0]))
        z = end + 0.5
        painter.quad(
            (-20, 0, z),
            (40, 0, 0),
            (0, high, 0),
            texture(rng, "plaster"),
            grey,
            repeat=(40, high),
            alpha=net,
            opacity=0.8,
        )


def hall(rng: Random, view: View, clear: float) -> Backdrop:
    """A gymnasium: parquet with coloured lines, a panelled wall, wall bars, windows high up."""
    painter = Painter(view, float(rng.uniform(-0.7, 0.7)))
    side, end, top = clear * 0.6 + rng.uniform(3, 9), -clear - float(rng.uniform(1, 12)), float(rng.uniform(5, 8))
    grain = texture(rng, str(rng.choice(["planks", "parquet", "carpet"], p=[0.6, 0.2, 0.2])))
    wood = warm(rng, value=(0.55, 0.85)) if rng.random() < 0.7 else colour(rng, value=(0.4, 0.8), vivid=0.5)
    painter.quad((-side, 0, 2), (2 * side, 0, 0), (0, 0, end - 2), grain, tint(wood, 0.5), repeat=(side, (2 - end) / 2))
    for _ in range(int(rng.integers(1, 5))):
        paint = tint(colour(rng, value=(0.5, 1), vivid=0.8), 0.3)
        lines(
            painter,
            rng,
            (-side + rng.uniform(0.5, 3), side - rng.uniform(0.5, 3), end + rng.uniform(0.5, 3), 1.5),
            paint,
            0.06,
        )
    lamps = tint(np.array([225.0, 228, 230]) * rng.uniform(0.5, 1), 0.4)
    painter.quad(
        (-side, top, 2), (2 * side, 0, 0), (0, 0, end - 2), texture(rng, "planks"), lamps, repeat=(side / 2, 3)
    )
    for x in np.linspace(-side + 1, side - 2, 4):
        for z in np.arange(0, end, -3.0):
            painter.quad(
                (float(x), top - 0.02, float(z)),
                (1.2, 0, 0),
                (0, 0, -0.4),
                (np.full((8, 8), 255, np.uint8),),
                ramp((255, 255, 255), (255, 255, 255)),
            )
    for origin, along in (
        ((-side, 0, end), (2 * side, 0, 0)),
        ((-side, 0, 2), (0, 0, end - 2)),
        ((side, 0, end), (0, 0, 2 - end)),
    ):
        _panel(painter, rng, np.array(origin), np.array(along, np.float64), top)
    gloss = float(rng.uniform(1.05, 1.3))
    painter.tone((-side, 0, end + 4), (2 * side, 0, 0), (0, 0, -4), texture(rng, "pool"), gloss)
    level = rng.uniform(0.6, 0.9)
    above = np.array([1.0, 0.98, 0.94]) * level
    light = simple(
        np.array([rng.normal(0, 0.4), 1.0, 0.4]), above * 0.3, above * 0.75, wood[::-1] / 255 * level * 0.6, 0.2
    )
    return Backdrop(image=painter.finished(rng), light=light, floor=True)


def _panel(painter: Painter, rng: Random, origin: np.ndarray, along: np.ndarray, top: float) -> None:
    """One wall of a hall."""
    length, shade = float(np.linalg.norm(along)), float(rng.uniform(0.65, 1.0))
    step, up = along / length, np.array([0, 1.0, 0])
    plaster = tint(colour(rng, value=(0.6, 0.95), vivid=0.12), 0.6)
    brick = texture(rng, str(rng.choice(["brick", "plaster", "concrete"])))
    painter.quad(origin, along, up * top, brick, plaster, repeat=(length / 2, top / 2), shade=shade)
    panel = tint(warm(rng, value=(0.45, 0.8)), 0.5)
    painter.quad(origin, along, up * 2.2, texture(rng, "planks"), panel, repeat=(length / 3, 1.01), shade=shade)
    s = float(rng.uniform(0.2, 1.5))
    while s < length - 2:
        at, wide, kind = origin + step * s, float(rng.uniform(0.9, 1.8)), rng.random()
        if kind < 0.3:
            bars = texture(rng, "lattice")
            painter.quad(
                at, step * wide, up * 2.5, texture(rng, "wood"), panel, repeat=(1.01, 4), alpha=bars, shade=0.9
            )
        elif kind < 0.55:
            painter.quad(at + up * 2.6, step * wide, up * 0.9, sheets.poster(rng), shade=shade)
        elif kind < 0.8:
            painter.quad(at + up * (top - 1.8), step * wide, up * 1.3, sheets.outside(rng), shade=1.1)
        else:
            mats = tint(colour(rng, vivid=0.7), 0.5)
            painter.quad(at, step * wide, up * 1.9, texture(rng, "weave"), mats, repeat=(2, 2), shade=shade)
        s += wide + float(rng.uniform(0.2, 2))
