"""Rooms: floor, walls and ceiling, with doors, windows, pictures, shelves and curtains along the walls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops import sheets
from pose_export.synthetic.backdrops.base import Backdrop, Image, Random
from pose_export.synthetic.backdrops.painter import Painter
from pose_export.synthetic.backdrops.textures import colour, ramp, texture, tint, warm
from pose_export.synthetic.light import simple
from pose_export.synthetic.view import View

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Wall:
    """A wall seen from inside: its bottom left corner, unit vectors along it and into the room, length, height."""

    origin: Floats
    along: Floats
    inward: Floats
    length: float
    height: float

    def at(self, s: float, y: float, out: float = 0.0) -> Floats:
        """A point `s` metres along the wall, `y` up and `out` into the room."""
        return np.asarray(self.origin + self.along * s + self.inward * out + np.array([0, y, 0]), np.float64)


def draw(rng: Random, view: View, clear: float) -> Backdrop:
    """A room whose walls are all beyond the clear space, seen at any angle."""
    turn = float(rng.uniform(-0.7, 0.7)) if rng.random() < 0.75 else 0.0
    painter = Painter(view, turn)
    height = max(float(rng.uniform(2.4, 3.4)), view.height + 0.3)
    left, right = -clear * 0.6 - rng.uniform(0.3, 3), clear * 0.6 + rng.uniform(0.3, 3)
    back, front = -clear - rng.uniform(0.4, 3.5), 3.0
    walls = [
        Wall(np.array([left, 0, back]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), right - left, height),
        Wall(np.array([left, 0, front]), np.array([0, 0, -1.0]), np.array([1.0, 0, 0]), front - back, height),
        Wall(np.array([right, 0, back]), np.array([0, 0, 1.0]), np.array([-1.0, 0, 0]), front - back, height),
    ]
    bright = rng.uniform(0.75, 1.05)
    _floor(painter, rng, (left, right, back, front), bright)
    _ceiling(painter, rng, (left, right, back, front), height, bright)
    _walls(painter, rng, walls, bright)
    for wall in walls:
        _furnish(painter, rng, wall)
    return _lit(painter.finished(rng), rng)


def _floor(painter: Painter, rng: Random, sides: tuple[float, float, float, float], bright: float) -> None:
    left, right, back, front = sides
    name = str(
        rng.choice(
            ["planks", "parquet", "tiles", "carpet", "concrete", "marble", "checks"],
            p=[0.34, 0.14, 0.18, 0.14, 0.1, 0.06, 0.04],
        )
    )
    base = warm(rng) if name in ("planks", "parquet") else colour(rng, value=(0.25, 0.85), vivid=0.2)
    metres = float(rng.uniform(1.2, 2.4))
    along, up = np.array([right - left, 0, 0]), np.array([0, 0, back - front])
    if name == "planks" and rng.random() < 0.5:
        origin, along, up = np.array([right, 0, front]), up, -along
    else:
        origin = np.array([left, 0, front])
    repeat = float(np.linalg.norm(along)) / metres, float(np.linalg.norm(up)) / metres
    painter.quad(origin, along, up, texture(rng, name), tint(base, rng.uniform(0.5, 1.0)), repeat=repeat, shade=bright)
    painter.tone(origin, along, up, texture(rng, "edges"), rng.uniform(0.4, 0.75))
    if rng.random() < 0.3:  # a carpet on it
        w, d = rng.uniform(1.5, 3, 2)
        x, z = rng.uniform(-1, 1), back + rng.uniform(0.5, 2.5)
        rug = texture(rng, str(rng.choice(["motifs", "stripes", "weave", "carpet"])))
        painter.quad((x - w / 2, 0, z + d), (w, 0, 0), (0, 0, -d), rug, tint(colour(rng)), repeat=(2, 2), shade=bright)
    if rng.random() < 0.35:  # the sun through a window
        w, d = rng.uniform(0.8, 2.0), rng.uniform(1.5, 3.0)
        spot = np.array([rng.uniform(left, right - w), 0, back + d])
        painter.tone(spot, (w, 0, 0), (rng.uniform(-1, 1), 0, -d), texture(rng, "panes"), rng.uniform(1.3, 1.9))


def _ceiling(
    painter: Painter, rng: Random, sides: tuple[float, float, float, float], height: float, bright: float
) -> None:
    left, right, back, front = sides
    origin, along, up = (left, height, front), (right - left, 0, 0), (0, 0, back - front)
    name = str(rng.choice(["plaster", "tiles", "planks"], p=[0.7, 0.2, 0.1]))
    white = np.array([235.0, 240, 243]) * rng.uniform(0.7, 0.95)
    size = (right - left) / 2.4, (front - back) / 2.4
    painter.quad(origin, along, up, texture(rng, name), tint(white, 0.4), repeat=size, shade=bright * 0.92)
    painter.tone(origin, along, up, texture(rng, "edges"), 0.75)
    glow = np.full((8, 8), 255, np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(left, right - 0.6), rng.uniform(back + 0.5, back + 4)
        painter.tone((x - 0.6, height, z + 0.6), (1.8, 0, 0), (0, 0, -1.8), texture(rng, "pool"), 1.35)
        painter.quad((x, height - 0.01, z), (0.6, 0, 0), (0, 0, -0.6), (glow,), ramp((255, 255, 255), (250, 254, 255)))


def _walls(painter: Painter, rng: Random, walls: list[Wall], bright: float) -> None:
    name = str(
        rng.choice(
            ["plaster", "motifs", "stripes", "brick", "planks", "tiles", "concrete"],
            p=[0.55, 0.09, 0.08, 0.1, 0.06, 0.05, 0.07],
        )
    )
    base = warm(rng, value=(0.4, 0.7)) if name in ("brick", "planks") else colour(rng, value=(0.5, 0.97), vivid=0.14)
    contrast = {"motifs": 0.35, "stripes": 0.35, "plaster": 0.9}.get(name, 0.8)
    metres = {"motifs": 1.6, "stripes": 1.2, "brick": 1.1, "tiles": 1.0}.get(name, 2.4)
    paint, skirting = tint(base, contrast), rng.random() < 0.6
    skirt = colour(rng, value=(0.5, 0.95), vivid=0.1) if rng.random() < 0.6 else warm(rng)
    shades = bright * rng.uniform(0.72, 1.05, 3)
    accent = tint(colour(rng, value=(0.3, 0.9), vivid=0.35)) if rng.random() < 0.25 else paint
    for i, wall in enumerate(walls):
        up = np.array([0, wall.height, 0])
        along = wall.along * wall.length
        repeat = wall.length / metres, wall.height / metres
        skin = accent if i == 0 else paint
        painter.quad(wall.origin, along, up, texture(rng, name), skin, repeat=repeat, shade=float(shades[i]))
        painter.tone(wall.origin, along, up, texture(rng, "edges"), rng.uniform(0.55, 0.85))
        if skirting:
            flat = texture(rng, "wood")
            painter.quad(wall.at(0, 0, 0.01), along, (0, 0.1, 0), flat, tint(skirt, 0.3), shade=float(shades[i]) * 0.95)


def _furnish(painter: Painter, rng: Random, wall: Wall) -> None:
    """Things side by side along a wall."""
    s = float(rng.uniform(0.1, 1.5))
    while s < wall.length - 0.6:
        thing, width = _THINGS[int(rng.choice(len(_THINGS), p=_OFTEN))]
        w = float(rng.uniform(*width))
        if s + w > wall.length - 0.1:
            break
        if painter.sees(wall.at(s - 0.3, 0), wall.along * (w + 0.6), wall.inward, wall.height):
            thing(painter, rng, wall, s, w)
        s += w + float(rng.gamma(1.5, 0.35))


def _door(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h = 2.05
    frame = colour(rng, value=(0.6, 0.95), vivid=0.1)
    painter.quad(
        wall.at(s - 0.07, 0, 0.01), wall.along * (w + 0.14), (0, h + 0.07, 0), texture(rng, "wood"), tint(frame, 0.2)
    )
    wood = tint(warm(rng) if rng.random() < 0.5 else colour(rng, value=(0.5, 0.95), vivid=0.15), 0.5)
    painter.quad(wall.at(s, 0, 0.015), wall.along * w, (0, h, 0), texture(rng, "wood"), wood, repeat=(0.5, 1.01))
    if rng.random() < 0.6:
        for y, tall in ((0.15, 0.75), (1.05, 0.85)):
            painter.tone(wall.at(s + 0.12, y, 0.02), wall.along * (w - 0.24), (0, tall, 0), texture(rng, "edges"), 0.6)
    knob = ramp((60, 60, 60), (200, 205, 210))
    painter.quad(wall.at(s + w - 0.13, 1.0, 0.04), wall.along * 0.1, (0, 0.025, 0), texture(rng, "plaster"), knob)


def _window(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    sill = float(rng.choice([0.85, 0.1], p=[0.8, 0.2]))
    h = min(wall.height - 0.25, sill + rng.uniform(1.1, 1.6)) - sill
    painter.quad(wall.at(s, sill, 0.01), wall.along * w, (0, h, 0), sheets.outside(rng), shade=rng.uniform(0.9, 1.6))
    frame = tint(colour(rng, value=(0.2, 1.0), vivid=0.06), 0.2)
    bars, wood = 0.05, texture(rng, "wood")
    for x in np.linspace(0, w - bars, int(rng.integers(2, 5))):
        painter.quad(wall.at(s + float(x), sill, 0.02), wall.along * bars, (0, h, 0), wood, frame, shade=0.85)
    for y in np.linspace(0, h - bars, int(rng.integers(2, 4))):
        painter.quad(wall.at(s, sill + float(y), 0.02), wall.along * w, (0, bars, 0), wood, frame, shade=0.8)
    painter.tone(wall.at(s - 0.5, sill - 0.5, 0.01), wall.along * (w + 1), (0, h + 1, 0), texture(rng, "pool"), 1.25)
    if rng.random() < 0.55:
        _curtains(painter, rng, wall, s, w, sill + h)


def _curtains(painter: Painter, rng: Random, wall: Wall, s: float, w: float, top: float) -> None:
    cloth, folds = tint(colour(rng, value=(0.3, 0.95)), 0.6), texture(rng, "folds")
    wide, low = w * rng.uniform(0.15, 0.4), float(rng.choice([0.05, 0.7]))
    for start in (s - 0.15, s + w + 0.15 - wide):
        origin = wall.at(start, low, 0.08)
        painter.quad(origin, wall.along * wide, (0, top + 0.15 - low, 0), folds, cloth, repeat=(wide / 1.2, 1.01))


def _pictures(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h = min(w * rng.uniform(0.6, 1.5), 1.2)
    y = rng.uniform(1.2, 1.5)
    frame = tint(warm(rng) if rng.random() < 0.5 else colour(rng, vivid=0.1), 0.4)
    painter.tone(wall.at(s + 0.03, y - 0.06, 0.005), wall.along * w, (0, h, 0), texture(rng, "panes"), 0.6)
    painter.quad(wall.at(s, y, 0.02), wall.along * w, (0, h, 0), texture(rng, "wood"), frame)
    rim = rng.uniform(0.02, 0.07)
    painter.quad(wall.at(s + rim, y + rim, 0.025), wall.along * (w - 2 * rim), (0, h - 2 * rim, 0), sheets.poster(rng))


def _shelf(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h, d = float(rng.choice([rng.uniform(0.8, 1.2), rng.uniform(1.7, 2.1)])), rng.uniform(0.25, 0.4)
    wood = tint(warm(rng) if rng.random() < 0.6 else colour(rng, value=(0.6, 0.95), vivid=0.08), 0.6)
    _shadow(painter, rng, wall, s, w, d)
    front = (sheets.books(rng), None)
    painter.cuboid(wall.at(s, 0), wall.along * w, wall.inward * d, h, texture(rng, "wood"), wood, front=front)


def _cabinet(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h, d = float(rng.choice([rng.uniform(0.5, 0.95), rng.uniform(1.8, 2.2)], p=[0.7, 0.3])), rng.uniform(0.4, 0.6)
    base = warm(rng) if rng.random() < 0.5 else colour(rng, value=(0.3, 0.97), vivid=0.2)
    _shadow(painter, rng, wall, s, w, d)
    painter.cuboid(wall.at(s, 0), wall.along * w, wall.inward * d, h, texture(rng, "wood"), tint(base, 0.5))
    columns, rows = max(1, round(w / 0.5)), int(rng.integers(1, 4))
    for i in range(columns):
        for j in range(rows):
            origin = wall.at(s + w * i / columns, h * j / rows, d + 0.003)
            painter.tone(origin, wall.along * (w / columns), (0, h / rows, 0), texture(rng, "edges"), 0.62)
    if h < 1.2:
        _clutter_on(painter, rng, wall, (s, w), h, d)


def _clutter_on(painter: Painter, rng: Random, wall: Wall, span: tuple[float, float], h: float, d: float) -> None:
    s, w = span
    for _ in range(int(rng.integers(0, 5))):
        wide, tall = rng.uniform(0.06, 0.4), rng.uniform(0.1, 0.5)
        start = s + rng.uniform(0, max(w - wide, 0.01))
        paint = tint(colour(rng), 0.6)
        painter.cuboid(
            wall.at(start, h, d * 0.3), wall.along * wide, wall.inward * 0.15, tall, texture(rng, "plaster"), paint
        )


def _sofa(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    cloth, weave = tint(colour(rng, value=(0.2, 0.8)), 0.7), texture(rng, "weave")
    _shadow(painter, rng, wall, s, w, 0.95)
    painter.cuboid(wall.at(s, 0.1), wall.along * w, wall.inward * 0.25, 0.7, weave, cloth, scale=0.5)
    painter.cuboid(wall.at(s, 0.1, 0.2), wall.along * w, wall.inward * 0.7, 0.33, weave, cloth, scale=0.5)
    seats = max(1, round(w / 0.75))
    for i in range(seats):
        origin = wall.at(s + w * i / seats, 0.43, 0.26)
        painter.tone(origin, wall.along * (w / seats), (0, 0.36, 0), texture(rng, "edges"), 0.6)
    for start in (s - 0.15, s + w):
        painter.cuboid(wall.at(start, 0.1), wall.along * 0.17, wall.inward * 0.9, 0.5, weave, cloth, scale=0.5)
    if rng.random() < 0.6:
        pillow = tint(colour(rng, value=(0.3, 0.95), vivid=0.5), 0.6)
        origin = wall.at(s + rng.uniform(0.1, max(w - 0.5, 0.15)), 0.45, 0.4)
        painter.quad(origin, wall.along * 0.42, (0, 0.38, 0), texture(rng, "motifs"), pillow)


def _table(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h, d = rng.uniform(0.7, 0.78), rng.uniform(0.5, 0.8)
    wood, grain = tint(warm(rng), 0.6), texture(rng, "wood")
    _shadow(painter, rng, wall, s, w, d)
    for out in (0.0, d - 0.05):
        for start in (s, s + w - 0.05):
            painter.cuboid(wall.at(start, 0, out), wall.along * 0.05, wall.inward * 0.05, h, grain, wood)
    painter.cuboid(wall.at(s, h - 0.04), wall.along * w, wall.inward * d, 0.05, grain, wood)
    _clutter_on(painter, rng, wall, (s, w), h + 0.01, d)


def _screen(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    y, h = rng.uniform(0.8, 1.3), w * 0.58
    painter.cuboid(
        wall.at(s, y, 0.02),
        wall.along * w,
        wall.inward * 0.06,
        h,
        texture(rng, "plaster"),
        ramp((5, 5, 5), (40, 40, 42)),
    )
    if rng.random() < 0.4:
        painter.quad(wall.at(s + 0.03, y + 0.03, 0.085), wall.along * (w - 0.06), (0, h - 0.06, 0), sheets.poster(rng))


def _radiator(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    white = tint(np.array([215.0, 222, 225]), 0.6)
    origin = wall.at(s, 0.12)
    front = (texture(rng, "folds"), white)
    painter.cuboid(origin, wall.along * w, wall.inward * 0.1, 0.55, texture(rng, "plaster"), white, front=front)


def _plant(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    foot = wall.at(s + w / 2, 0, 0.35)
    pot = tint(colour(rng, vivid=0.3), 0.5)
    _shadow(painter, rng, wall, s, w, 0.6)
    painter.cuboid(foot - wall.along * 0.14, wall.along * 0.28, wall.inward * 0.24, 0.35, texture(rng, "plaster"), pot)
    crown, alpha = sheets.crown(rng)
    leaf = sheets.foliage_ramp(rng)
    painter.sprite(foot + np.array([0, 0.25, 0]), w, rng.uniform(0.6, 1.5), crown, alpha, leaf)


def _lamp(painter: Painter, rng: Random, wall: Wall, s: float, w: float) -> None:
    h, foot = rng.uniform(1.3, 1.8), wall.at(s + w / 2, 0, 0.3)
    painter.cuboid(
        foot, wall.along * 0.03, wall.inward * 0.03, h, texture(rng, "plaster"), ramp((30, 30, 30), (110, 110, 115))
    )
    around = foot - wall.along * 0.9 + np.array([0, h - 0.9, 0])
    painter.tone(around, wall.along * 1.8, (0, 1.8, 0), texture(rng, "pool"), 1.5)
    shade = ramp((120, 190, 235), (215, 240, 255))
    painter.cuboid(
        foot - wall.along * 0.18 + np.array([0, h, 0]),
        wall.along * 0.36,
        wall.inward * 0.3,
        0.28,
        texture(rng, "weave"),
        shade,
    )


def _shadow(painter: Painter, rng: Random, wall: Wall, s: float, w: float, d: float) -> None:
    """Where a thing keeps the light off floor and wall."""
    pool = texture(rng, "pool")
    painter.tone(wall.at(s - 0.3, 0.002, d + 0.35), wall.along * (w + 0.6), wall.inward * -(d + 0.35), pool, 0.4)
    painter.tone(wall.at(s - 0.3, 0, 0.003), wall.along * (w + 0.6), (0, 1.2, 0), pool, 0.75)


_Thing = tuple[Callable[[Painter, Random, Wall, float, float], None], tuple[float, float]]
_THINGS: tuple[_Thing, ...] = (
    (_door, (0.75, 0.95)),
    (_window, (0.9, 2.2)),
    (_pictures, (0.3, 1.1)),
    (_shelf, (0.7, 1.6)),
    (_cabinet, (0.5, 1.8)),
    (_sofa, (0.8, 2.2)),
    (_table, (0.8, 1.6)),
    (_screen, (0.7, 1.3)),
    (_radiator, (0.6, 1.4)),
    (_plant, (0.5, 0.9)),
    (_lamp, (0.35, 0.4)),
)
_OFTEN = np.array([0.1, 0.16, 0.18, 0.13, 0.14, 0.06, 0.06, 0.05, 0.04, 0.05, 0.03])


def _lit(picture: Image, rng: Random) -> Backdrop:
    """Uneven light over all of it, from one side or from above, and the same for people."""
    height, width = picture.shape[:2]
    side, top = rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.35)
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    uneven = (1 + side * x - top * y) * np.exp(-0.15 * rng.random() * (x * x + y * y))
    warmth = float(rng.normal(0.03, 0.05))
    cast = np.array([1 - warmth, 1, 1 + warmth])
    gain = cv2.resize((uneven[..., None] * cast).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    image = np.asarray(cv2.multiply(picture, gain, dtype=cv2.CV_8U), np.uint8)
    direction = np.array([2.5 * side + rng.normal(0, 0.2), 0.4 + 2 * max(top, 0), rng.uniform(0.0, 0.8)])
    level, share = rng.uniform(0.65, 0.95), rng.uniform(0.15, 0.5)
    rgb = cast[::-1] ** 2.2 * level
    light = simple(direction, rgb * share * 1.2, rgb * (1 - share), rgb * (1 - share) * 0.65, float(share * 0.8))
    return Backdrop(image=image, light=light, floor=True)
