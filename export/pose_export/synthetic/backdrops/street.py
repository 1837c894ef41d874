"""Streets and squares: houses, road, pavement, trees, cars and fences under a sky."""

from __future__ import annotations

import numpy as np

from pose_export.synthetic.backdrops import outdoors, sheets
from pose_export.synthetic.backdrops.base import Backdrop, Random
from pose_export.synthetic.backdrops.painter import Painter
from pose_export.synthetic.backdrops.textures import colour, ramp, texture, tint, warm
from pose_export.synthetic.view import View

_DETAILED = 25.0  # metres; houses that begin further away have neither shops nor eaves


def draw(rng: Random, view: View, clear: float) -> Backdrop:
    """A street along which, or across which, the camera looks."""
    weather = outdoors.day(rng)
    turn = float(rng.uniform(-0.9, 0.9)) if rng.random() < 0.8 else 0.0
    painter = Painter(view, turn)
    painter.haze = weather.horizon, float(rng.uniform(60, 300))
    outdoors.sky(painter, rng, weather)
    paving = str(rng.choice(["tiles", "stones", "asphalt", "concrete", "earth"], p=[0.3, 0.25, 0.25, 0.15, 0.05]))
    grey = warm(rng, value=(0.35, 0.75)) * 0.5 + rng.uniform(20, 90)
    outdoors.ground(painter, rng, paving, tint(grey, 0.8), float(rng.uniform(1.0, 2.5)), weather.bright)
    left, right = -clear * 0.5 - rng.uniform(2, 9), clear * 0.5 + rng.uniform(2, 9)
    end = -clear - rng.uniform(3, 45)
    _road(painter, rng, left, right, weather.bright)
    _houses(painter, rng, (left, right, end), weather.bright)
    _things(painter, rng, (left, right, end), clear, weather.bright)
    return Backdrop(image=painter.finished(rng), light=outdoors.light(rng, weather), floor=True)


def _road(painter: Painter, rng: Random, left: float, right: float, bright: float) -> None:
    if rng.random() < 0.3:
        return
    side = left + rng.uniform(0.5, 1.5) if rng.random() < 0.5 else right - rng.uniform(5.5, 7)
    width, far = rng.uniform(4, 6), 150.0
    tar = tint(np.array([95.0, 92, 90]) * rng.uniform(0.6, 1.3), 0.7)
    asphalt = texture(rng, "asphalt")
    painter.quad((side, 0.0, 2), (width, 0, 0), (0, 0, -far), asphalt, tar, repeat=(width / 2, far / 2), shade=bright)
    white, paint = ramp((120, 120, 120), (225, 228, 230)), texture(rng, "asphalt")
    for x in (side + 0.1, side + width - 0.2):
        painter.quad((x, 0.0, 2), (0.12, 0, 0), (0, 0, -far), paint, white, repeat=(0.1, far / 2), shade=bright)
    for z in np.arange(0, 40, 4.0):
        painter.quad((side + width / 2, 0.0, -z), (0.14, 0, 0), (0, 0, -1.8), paint, white, shade=bright)
    kerb = tint(np.array([170.0, 170, 172]), 0.5)
    for x in (side - 0.15, side + width):
        painter.quad(
            (x, 0.0, 2), (0.15, 0, 0), (0, 0, -far), texture(rng, "concrete"), kerb, repeat=(0.1, 80), shade=bright
        )


def _houses(painter: Painter, rng: Random, space: tuple[float, float, float], bright: float) -> None:
    """Rows on both sides, from the far end to the camera, and one that closes the street."""
    left, right, end = space
    lit = rng.uniform(0.6, 1.05, 3) * bright
    x = left - 25.0
    while x < right + 25:
        width = rng.uniform(9, 18)
        _house(painter, rng, (x, 0, end - rng.uniform(0, 4)), (width, 0, 0), float(lit[0]))
        x += width
    for side, away in ((left, 1.0), (right, -1.0)):
        z = end
        while z < 6:
            depth = rng.uniform(8, 16)
            origin, along = ((side, 0, z + depth), (0, 0, -depth)) if away > 0 else ((side, 0, z), (0, 0, depth))
            _house(painter, rng, origin, along, float(lit[1 if away > 0 else 2]))
            z += depth + (rng.uniform(2, 5) if rng.random() < 0.2 else 0)


def _house(
    painter: Painter, rng: Random, origin: tuple[float, float, float], along: tuple[float, float, float], shade: float
) -> None:
    """A front of two to eight floors, or a wall, a hedge, nothing."""
    width, kind = float(np.abs(along).sum()), rng.random()
    corner, run = np.array(origin), np.array(along)
    if kind < 0.1 or not painter.sees(corner, run, (0, 0, 0), 25.0):
        return
    if kind < 0.22:
        wall = texture(rng, str(rng.choice(["brick", "concrete", "plaster", "planks"])))
        high = rng.uniform(1.5, 6)
        paint = tint(warm(rng, value=(0.4, 0.8)), 0.9)
        painter.quad(corner, run, (0, high, 0), wall, paint, repeat=(width / 1.5, high / 1.5), shade=shade)
        return
    high = int(rng.integers(2, 9)) * 3.1
    repeat = max(1.0, round(width / 2.6)) / 3, high / 3.1 / 4
    painter.quad(corner, run, (0, high, 0), sheets.facade(rng), repeat=repeat, shade=shade)
    if corner[2] < -_DETAILED:
        return
    if rng.random() < 0.5:
        _shop(painter, rng, corner, run, width, shade)
    eaves, roof = corner + np.array([0.0, high - 0.2, 0.0]), tint(warm(rng, value=(0.2, 0.5)), 0.7)
    painter.quad(eaves, run, (0, 0.5, 0), texture(rng, "concrete"), roof, repeat=(width, 1), shade=shade)


def _shop(painter: Painter, rng: Random, corner: np.ndarray, run: np.ndarray, width: float, shade: float) -> None:
    """Glass and a sign on the ground floor."""
    step, frame = run / width, tint(colour(rng, value=(0.1, 0.6)), 0.5)
    painter.quad(corner, run, (0, 3.1, 0), texture(rng, "concrete"), frame, repeat=(width / 2, 1.5), shade=shade)
    x = 0.4 + 2.2 * int(rng.integers(0, 2))
    while x < width - 2.2:
        glass = (
            sheets.outside(rng)
            if rng.random() < 0.3
            else sheets.books(rng)
            if rng.random() < 0.4
            else sheets.poster(rng)
        )
        painter.quad(
            corner + step * x + np.array([0, 0.5, 0]),
            step * 1.9,
            (0, 1.9, 0),
            glass,
            shade=shade * rng.uniform(0.25, 0.8),
        )
        x += 2.2
    painter.quad(
        corner + step * 0.5 + np.array([0, 2.5, 0]), step * (width - 1), (0, 0.5, 0), sheets.poster(rng), shade=shade
    )


def _things(painter: Painter, rng: Random, space: tuple[float, float, float], clear: float, bright: float) -> None:
    """Trees, cars, posts and fences, the far ones first, none in the clear space."""
    left, right, end = space
    leaves = sheets.foliage_ramp(rng)
    places = sorted(rng.uniform(end, 0, int(rng.integers(3, 14))))
    for z in places:
        x = float(rng.uniform(left + 0.5, right - 0.5))
        if z > -clear - 1 and abs(x) < clear * 0.6 + 1:
            x = left + 0.7 if x < 0 else right - 0.7
        kind = rng.random()
        if kind < 0.4:
            outdoors.tree(painter, rng, x, z, float(rng.uniform(3, 8)), leaves, bright)
        elif kind < 0.65:
            _car(painter, rng, x, z, bright)
        elif kind < 0.85:
            outdoors.pole(painter, rng, x, z)
        else:
            board, high = texture(rng, "lattice"), rng.uniform(0.9, 2.0)
            wide = rng.uniform(2, 8)
            paint = tint(colour(rng, value=(0.1, 0.8), vivid=0.15), 0.3)
            painter.quad(
                (x, 0, z), (wide, 0, 0), (0, high, 0), texture(rng, "plaster"), paint, repeat=(wide, 1.01), alpha=board
            )


def _car(painter: Painter, rng: Random, x: float, z: float, bright: float) -> None:
    """A body, a cabin with dark windows, wheels, and the shadow under it."""
    paint = tint(colour(rng, value=(0.1, 0.95), vivid=0.35), 0.35)
    smooth, dark = texture(rng, "plaster"), ramp((5, 5, 5), (45, 42, 40), (90, 88, 85))
    if not painter.sees((x, 0, z), (1.75, 0, 0), (0, 0, -4.2), 1.4):
        return
    painter.tone((x - 0.6, 0.01, z + 0.4), (3, 0, 0), (0, 0, -5), texture(rng, "pool"), 0.15)
    painter.cuboid((x + 0.05, 0, z - 4.2), (1.65, 0, 0), (0, 0, 4.0), 0.35, smooth, dark)
    painter.cuboid((x, 0.3, z - 4.2), (1.75, 0, 0), (0, 0, 4.2), 0.55, smooth, paint)
    painter.cuboid((x + 0.12, 0.85, z - 3.6), (1.5, 0, 0), (0, 0, 2.6), 0.5, smooth, dark)
    painter.cuboid((x + 0.12, 1.33, z - 3.5), (1.5, 0, 0), (0, 0, 2.4), 0.06, smooth, paint)
    glow = ramp((60, 60, 200), (220, 240, 250)) if rng.random() < 0.5 else ramp((30, 30, 140), (60, 60, 220))
    for side in (0.1, 1.3):
        painter.quad((x + side, 0.6, z + 0.01), (0.35, 0, 0), (0, 0.14, 0), smooth, glow, shade=bright)
    for wheel in (-0.9, -3.3):
        for face in (-0.01, 1.76):
            painter.quad(
                (x + face, 0.0, z + wheel + 0.3),
                (0, 0, -0.6),
                (0, 0.6, 0),
                smooth,
                ramp((20, 20, 20), (45, 45, 45)),
                alpha=_DISC,
            )


_DISC = (np.where(np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) < 0.97, 255, 0).astype(np.uint8),)
