"""Things that stand on the floor: to sit on, to stand behind, to walk past. They face +z; metres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pose_export.synthetic.shapes import Shape, blob, block, box, ellipse, hoop, shifted, slab, surface, tube
from pose_export.synthetic.surface import Surface

Random = np.random.Generator


@dataclass(frozen=True)
class Furniture:
    """A thing on the floor y = 0, around the origin.

    Attributes:
        name: what it is.
        surfaces: one per material.
        seat: height that one sits at, over the origin, metres; None where nobody sits.
    """

    name: str
    surfaces: tuple[Surface, ...]
    seat: float | None = None

    @property
    def size(self) -> tuple[float, float, float]:
        """Width, height and depth, metres."""
        points = np.concatenate([part.positions for part in self.surfaces])
        x, y, z = (float(v) for v in points.max(axis=0) - points.min(axis=0))
        return x, y, z


def chair(rng: Random) -> Furniture:
    """Four legs, a seat, a back of bars or one plate, at times arms."""
    w, d, seat, top = rng.uniform(0.38, 0.5), rng.uniform(0.38, 0.48), rng.uniform(0.42, 0.48), rng.uniform(0.78, 1.0)
    leg = rng.uniform(0.012, 0.024)
    x, z = w / 2 - leg, d / 2 - leg
    splay = rng.uniform(0, 0.04)
    frame = [tube([(sx * (x + splay), 0, z + splay), (sx * x, seat - 0.02, z)], leg) for sx in (-1, 1)]
    lean = rng.uniform(0.02, 0.1)
    frame += [tube([(sx * x, 0, -z - splay), (sx * x, seat, -z), (sx * x, top, -z - lean)], leg) for sx in (-1, 1)]
    if rng.random() < 0.4:
        for sx in (-1, 1):
            arm = seat + rng.uniform(0.18, 0.22)
            frame.append(tube([(sx * x, arm, -z), (sx * x, arm, z), (sx * x, seat, z)], leg))
    soft = [blob((0, seat - 0.02, 0), (w / 2, 0.03, d / 2), 0.3) if rng.random() < 0.5 else _plate(w, d, seat, 0.03)]
    if rng.random() < 0.5:
        soft.append(block((0, (seat + 0.15 + top) / 2, -z - lean * 0.7), (w - leg, top - seat - 0.12, 0.025)))
    else:
        for h in np.linspace(seat + 0.15, top - 0.03, int(rng.integers(2, 5))):
            back = -z - lean * (h - seat) / (top - seat)
            frame.append(block((0, h, back), (w - 2 * leg, 0.04, 0.015)))
    return Furniture("chair", (surface("chair frame", frame), surface("chair seat", soft)), seat)


def office_chair(rng: Random) -> Furniture:
    """A star of five feet, a column, a cushion and a padded back."""
    seat, top = rng.uniform(0.42, 0.52), rng.uniform(0.85, 1.2)
    frame = [tube([(0, 0.06, 0), (0, seat - 0.05, 0)], 0.03)]
    for angle in np.arange(5) * 2 * np.pi / 5:
        foot = np.array([np.sin(angle), 0, np.cos(angle)]) * 0.3
        frame += [
            tube([shifted(foot, 0, 0.07, 0), (0, 0.1, 0)], 0.02),
            blob(shifted(foot, 0, 0.03, 0), (0.02, 0.03, 0.03), steps=5),
        ]
    frame.append(tube([(0, seat - 0.05, -0.1), (0, seat, -0.27), (0, seat + 0.3, -0.28)], 0.02))
    for sx in (-1, 1):
        frame.append(tube([(sx * 0.2, seat - 0.04, 0), (sx * 0.28, seat, 0), (sx * 0.28, seat + 0.2, 0)], 0.015))
        frame.append(block((sx * 0.28, seat + 0.21, 0), (0.06, 0.03, 0.25)))
    soft = [blob((0, seat - 0.035, 0), (0.25, 0.045, 0.24), 0.4)]
    soft.append(blob((0, (seat + 0.12 + top) / 2, -0.25), (0.23, (top - seat - 0.12) / 2, 0.04), 0.45))
    return Furniture("office chair", (surface("chair frame", frame), surface("chair cushion", soft)), seat)


def stool(rng: Random) -> Furniture:
    """Three or four spread legs under a round seat, low or as high as a bar's."""
    seat, radius = float(rng.choice([rng.uniform(0.4, 0.5), rng.uniform(0.6, 0.8)])), rng.uniform(0.14, 0.2)
    legs, spread = int(rng.integers(3, 5)), rng.uniform(1.0, 1.4)
    frame = []
    for angle in (np.arange(legs) + 0.5) * 2 * np.pi / legs:
        out = np.array([np.sin(angle), 0, np.cos(angle)]) * radius * 0.8
        frame.append(tube([out * spread, shifted(out, 0, seat - 0.02, 0)], rng.uniform(0.012, 0.02)))
    frame.append(hoop((0, seat * 0.35, 0), radius * 0.8 * (1 + 0.65 * (spread - 1)), 0.009, "y"))
    top = tube([(0, seat - 0.04, 0), (0, seat, 0)], radius, 20)
    return Furniture("stool", (surface("stool legs", frame), surface("stool seat", [top])), seat)


def table(rng: Random) -> Furniture:
    """Rectangular or round, for dining or beside a sofa."""
    h = float(rng.choice([rng.uniform(0.7, 0.78), rng.uniform(0.35, 0.5), rng.uniform(0.95, 1.1)], p=[0.7, 0.2, 0.1]))
    thick = rng.uniform(0.02, 0.05)
    if rng.random() < 0.3:
        radius = rng.uniform(0.3, 0.65)
        top = tube([(0, h - thick, 0), (0, h, 0)], radius, 28)
        frame = [tube([(0, 0.03, 0), (0, h - thick, 0)], 0.04), tube([(0, 0, 0), (0, 0.03, 0)], radius * 0.55, 20)]
        return Furniture("round table", (surface("table leg", frame), surface("table top", [top])))
    w, d, leg = rng.uniform(0.7, 2.0), rng.uniform(0.5, 0.95), rng.uniform(0.04, 0.09)
    frame = [_post(sx * (w / 2 - leg), sz * (d / 2 - leg), h - thick, leg) for sx in (-1, 1) for sz in (-1, 1)]
    frame += [block((0, h - thick - 0.05, sz * (d / 2 - leg)), (w - 2 * leg, 0.08, 0.02)) for sz in (-1, 1)]
    parts = [surface("table legs", frame), surface("table top", [_plate(w, d, h, thick)])]
    if rng.random() < 0.4:
        parts.append(surface("things on the table", _things(rng, w * 0.8, d * 0.8, h)))
    return Furniture("table", tuple(parts))


def desk(rng: Random) -> Furniture:
    """A desk with a monitor that faces its user at -z, keyboard and drawers."""
    w, d, h = rng.uniform(1.1, 1.7), rng.uniform(0.6, 0.8), rng.uniform(0.7, 0.76)
    wood = [_plate(w, d, h, 0.03), block((-w / 2 + 0.2, (h - 0.03) / 2, 0), (0.38, h - 0.03, d - 0.06))]
    wood.append(block((w / 2 - 0.02, (h - 0.03) / 2, 0), (0.03, h - 0.03, d - 0.06)))
    sw, sh = rng.uniform(0.45, 0.7), rng.uniform(0.28, 0.38)
    x, z = rng.uniform(-0.2, 0.2), d / 2 - 0.18
    dark = [block((x, h + 0.12 + sh / 2, z), (sw, sh, 0.03)), tube([(x, h, z + 0.03), (x, h + 0.3, z + 0.03)], 0.02)]
    dark += [
        block((x, h + 0.008, z + 0.02), (0.22, 0.016, 0.18)),
        block((x, h + 0.012, -d / 2 + 0.2), (0.42, 0.02, 0.14)),
    ]
    screen = block((x, h + 0.12 + sh / 2, z - 0.017), (sw - 0.03, sh - 0.03, 0.006))
    parts = (surface("desk", wood), surface("monitor", dark), surface("screen", [screen]))
    return Furniture("desk", parts)


def sofa(rng: Random) -> Furniture:
    """One to three seats with arms and back of cushions."""
    seats = int(rng.integers(1, 4))
    each, d, seat = rng.uniform(0.55, 0.7), rng.uniform(0.55, 0.65), rng.uniform(0.38, 0.46)
    w, arm, top = seats * each, rng.uniform(0.12, 0.22), rng.uniform(0.7, 0.95)
    base = [block((0, (seat - 0.1) / 2 + 0.04, -0.05), (w + 2 * arm, seat - 0.18, d + 0.15))]
    base.append(blob((0, (top + 0.08) / 2, -d / 2 - 0.12), (w / 2 + arm, (top - 0.08) / 2, 0.11), 0.3))
    armrest = seat + rng.uniform(0.12, 0.24)
    base += [
        blob((sx * (w + arm) / 2, armrest / 2 + 0.04, -0.05), (arm / 2, armrest / 2 - 0.02, d / 2 + 0.1), 0.3)
        for sx in (-1, 1)
    ]
    cushions = []
    for i in range(seats):
        x = (i - (seats - 1) / 2) * each
        cushions.append(blob((x, seat - 0.08, 0), (each / 2 - 0.005, 0.09, d / 2), 0.3))
        back = blob((0, 0, 0), (each / 2 - 0.01, (top - seat) / 2 + 0.03, 0.09), 0.4).turned("x", -12)
        cushions.append(back.moved((x, (seat + top) / 2, -d / 2 + 0.03)))
    feet = [_post(sx * (w / 2), sz * d / 2 - 0.05, 0.06, 0.05) for sx in (-1, 1) for sz in (-1, 1)]
    parts = (surface("sofa", base), surface("sofa cushions", cushions), surface("sofa feet", feet))
    return Furniture("sofa", parts, seat)


def bench(rng: Random) -> Furniture:
    """A park bench of slats, with a back or without."""
    w, seat = rng.uniform(1.2, 2.0), rng.uniform(0.4, 0.47)
    slats = [block((0, seat - 0.015, z), (w, 0.03, 0.075)) for z in np.linspace(-0.17, 0.19, 4)]
    sides = []
    for x in (-w * 0.4, w * 0.4):
        sides += [_post(x, 0.17, seat - 0.03, 0.05), _post(x, -0.17, seat - 0.03, 0.05)]
        sides.append(block((x, seat - 0.045, 0), (0.05, 0.03, 0.42)))
    if rng.random() < 0.65:
        for h in (seat + 0.16, seat + 0.28, seat + 0.4):
            slats.append(block((0, h, -0.23 - 0.2 * (h - seat)), (w, 0.085, 0.025)))
        sides += [tube([(x, seat - 0.05, -0.2), (x, seat + 0.45, -0.34)], 0.02) for x in (-w * 0.4, w * 0.4)]
    return Furniture("bench", (surface("bench slats", slats), surface("bench sides", sides)), seat)


def boxes(rng: Random) -> Furniture:
    """One to four cartons, stacked or side by side."""
    shapes, height, x = [], 0.0, 0.0
    for _ in range(int(rng.integers(1, 5))):
        w, h, d = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.5), rng.uniform(0.25, 0.5)
        carton = block((0, h / 2, 0), (w, h, d)).turned("y", rng.uniform(-25, 25))
        if rng.random() < 0.6 and height + h < 1.6:
            shapes.append(carton.moved((rng.uniform(-0.03, 0.03), height, 0)))
            height += h
        else:
            x += 0.75
            shapes.append(carton.moved((x, 0, 0)))
    seat = height if 0.3 < height < 0.6 else None
    return Furniture("boxes", (surface("cartons", shapes),), seat)


def plant(rng: Random) -> Furniture:
    """A pot with stems and broad or narrow leaves."""
    h, r = rng.uniform(0.2, 0.45), rng.uniform(0.12, 0.22)
    levels = np.linspace(0, h, 4)
    pot = tube([(0, y, 0) for y in levels], r * np.linspace(rng.uniform(0.65, 1), 1, 4), 16)
    earth = tube([(0, h, 0), (0, h + 0.01, 0)], r * 0.9, 12)
    leaves, stems = [], []
    length, broad = rng.uniform(0.25, 0.6), rng.uniform(0.15, 0.5)
    tall = rng.uniform(0.1, 1.0)
    for _ in range(int(rng.integers(8, 22))):
        foot = np.array([rng.normal(0, 0.02), h + tall * rng.uniform(0.1, 1), rng.normal(0, 0.02)])
        leaf = slab(ellipse(broad * length, length, 8, length / 2), 0.004)
        leaf = leaf.turned("x", rng.uniform(15, 100)).turned("y", rng.uniform(0, 360)).moved(foot)
        leaves.append(leaf)
    for _ in range(3):
        stems.append(
            tube([(rng.normal(0, 0.02), h, rng.normal(0, 0.02)), (0, h + tall, 0)], rng.uniform(0.006, 0.015), 6)
        )
    parts = (surface("pot", [pot]), surface("earth and stems", [earth, *stems]), surface("leaves", leaves))
    return Furniture("plant", parts)


def bicycle(rng: Random) -> Furniture:
    """Two wheels with spokes, frame, saddle and handlebars; rides towards +z."""
    r, base = rng.uniform(0.3, 0.35), rng.uniform(0.95, 1.08)
    rear, front = np.array([0, r, -base / 2]), np.array([0, r, base / 2])
    black = [hoop(hub, r - 0.016, 0.016, "x", 6, 28) for hub in (rear, front)]
    metal = []
    for hub in (rear, front):
        for angle in np.arange(14) * 2 * np.pi / 14:
            metal.append(tube([hub, hub + np.array([0, np.cos(angle), np.sin(angle)]) * (r - 0.02)], 0.0015, 3))
    crank = np.array([0, r - 0.05, -0.06])
    seat = shifted(crank, 0, rng.uniform(0.45, 0.55), -0.17)
    head, fork = np.array([0, r + 0.48, base / 2 - 0.2]), np.array([0, r + 0.38, base / 2 - 0.17])
    bars = [
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, fork),
        (seat * 0.93 + crank * 0.07, head),
        (head, front),
    ]
    frame = [tube([a, b], 0.016) for a, b in bars]
    grip = shifted(head, 0, 0.1, 0.02)
    metal += [tube([head, grip], 0.014), tube([seat, shifted(seat, 0, 0.12, -0.03)], 0.013)]
    metal.append(
        tube(
            [
                shifted(crank, -0.07, 0.12, 0.1),
                shifted(crank, -0.07, 0, 0),
                shifted(crank, 0.07, 0, 0),
                shifted(crank, 0.07, -0.12, -0.1),
            ],
            0.01,
        )
    )
    black += [
        tube(
            [
                shifted(grip, -0.3, 0.02, -0.1),
                shifted(grip, -0.15, 0.02, 0),
                shifted(grip, 0.15, 0.02, 0),
                shifted(grip, 0.3, 0.02, -0.1),
            ],
            0.014,
        )
    ]
    black.append(blob(shifted(seat, 0, 0.14, -0.02), (0.07, 0.03, 0.13), 0.8))
    parts = (surface("bicycle frame", frame), surface("tyres and saddle", black), surface("bicycle metal", metal))
    return Furniture("bicycle", parts, float(seat[1] + 0.16))


def railing(rng: Random) -> Furniture:
    """Bars between posts, of metal or wood."""
    w, h = rng.uniform(1.5, 4.0), rng.uniform(0.8, 1.2)
    bar = rng.uniform(0.012, 0.03)
    shapes = [tube([(-w / 2, h, 0), (w / 2, h, 0)], bar * 1.4)]
    if rng.random() < 0.5:
        shapes += [tube([(x, 0, 0), (x, h, 0)], bar * 0.6, 6) for x in np.arange(-w / 2, w / 2, rng.uniform(0.1, 0.2))]
        shapes.append(tube([(-w / 2, 0.12, 0), (w / 2, 0.12, 0)], bar))
    else:
        for y in np.linspace(0.15, h, int(rng.integers(3, 6)))[:-1]:
            shapes.append(tube([(-w / 2, y, 0), (w / 2, y, 0)], bar * 0.8))
    shapes += [tube([(x, 0, 0), (x, h + 0.03, 0)], bar * 1.5) for x in np.linspace(-w / 2, w / 2, 3)]
    return Furniture("railing", (surface("railing", shapes),))


def pole(rng: Random) -> Furniture:
    """A post, pillar or sign post."""
    h, r = rng.uniform(1.0, 4.5), rng.uniform(0.025, 0.12)
    shapes = [tube([(0, 0, 0), (0, h, 0)], r, 14), tube([(0, 0, 0), (0, 0.04, 0)], r * 1.8, 14)]
    parts = [surface("pole", shapes)]
    if h > 1.8 and rng.random() < 0.6:
        size = rng.uniform(0.4, 0.7)
        plate = slab(ellipse(size, size, int(rng.choice([3, 4, 8, 24]))), 0.01).moved((0, h - size / 2, r + 0.01))
        parts.append(surface("sign", [plate]))
    return Furniture("pole", tuple(parts))


def lamp(rng: Random) -> Furniture:
    """A floor lamp with a shade."""
    h, r = rng.uniform(1.2, 1.8), rng.uniform(0.12, 0.25)
    stand = [tube([(0, 0, 0), (0, 0.025, 0)], 0.14, 18), tube([(0, 0.02, 0), (0, h, 0)], 0.012)]
    shade = tube([(0, h - 0.12, 0), (0, h + 0.15, 0)], [r, r * rng.uniform(0.5, 1)], 20)
    return Furniture("lamp", (surface("lamp stand", stand), surface("lamp shade", [shade])))


def shelf(rng: Random) -> Furniture:
    """An open shelf with books."""
    w, h, d = rng.uniform(0.6, 1.2), rng.uniform(0.8, 2.1), rng.uniform(0.22, 0.4)
    wood = [block((sx * w / 2, h / 2, 0), (0.025, h, d)) for sx in (-1, 1)]
    levels = np.linspace(0.06, h - 0.015, max(3, round(h / 0.38)))
    wood += [block((0, y, 0), (w, 0.025, d)) for y in levels]
    books: list[list[Shape]] = [[], []]
    for y, next_y in pairwise(levels):
        x = -w / 2 + 0.03
        while x < w / 2 - 0.08 and rng.random() < 0.93:
            thick, tall = rng.uniform(0.015, 0.06), (next_y - y) * rng.uniform(0.55, 0.9)
            low = (x, y + 0.0125, -d * 0.35)
            books[int(rng.integers(2))].append(box(low, (x + thick, y + 0.0125 + tall, d * rng.uniform(0.2, 0.42))))
            x += thick + 0.002
    parts = [surface("shelf", wood), *(surface("books", group) for group in books if group)]
    return Furniture("shelf", tuple(parts))


def suitcase(rng: Random) -> Furniture:
    """A case on wheels with its handle out."""
    w, h, d = rng.uniform(0.35, 0.5), rng.uniform(0.5, 0.75), rng.uniform(0.2, 0.3)
    body = [blob((0, h / 2 + 0.05, 0), (w / 2, h / 2, d / 2), 0.25)]
    top, x, z = h + rng.uniform(0.1, 0.45), w * 0.25, -d * 0.35
    metal = [tube([(-x, h * 0.9, z), (-x, top, z), (x, top, z), (x, h * 0.9, z)], 0.008)]
    metal += [hoop((sx * w * 0.4, 0.03, sz * d * 0.35), 0.02, 0.01) for sx in (-1, 1) for sz in (-1, 1)]
    return Furniture("suitcase", (surface("suitcase", body), surface("suitcase handle", metal)))


def bin_(rng: Random) -> Furniture:
    """A bin, bucket or barrel."""
    h, r = rng.uniform(0.3, 1.0), rng.uniform(0.13, 0.3)
    body = tube([(0, 0, 0), (0, h / 2, 0), (0, h, 0)], [r * rng.uniform(0.75, 1), r * rng.uniform(0.95, 1.1), r], 20)
    rim = hoop((0, h, 0), r, 0.012, "y", 6, 24)
    return Furniture("bin", (surface("bin", [body]), surface("rim", [rim])))


def coat_stand(rng: Random) -> Furniture:
    """A coat stand with coats: upright and cloth-like, yet nobody."""
    h = rng.uniform(1.6, 1.9)
    wood = [tube([(0, 0, 0), (0, h, 0)], 0.02)]
    for angle in np.arange(4) * np.pi / 2:
        out = np.array([np.sin(angle), 0, np.cos(angle)])
        wood.append(tube([(0, 0.25, 0), out * 0.28], 0.013))
        wood.append(tube([(0, h - 0.15, 0), out * 0.12 + (0, h - 0.12, 0), out * 0.16 + (0, h - 0.02, 0)], 0.01))
    coats = []
    for _ in range(int(rng.integers(1, 4))):
        angle, drop = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0)
        at = np.array([np.sin(angle) * 0.16, 0, np.cos(angle) * 0.16])
        heights = np.linspace(h - 0.1 - drop, h - 0.05, 6)
        radii = np.array([0.17, 0.16, 0.14, 0.13, 0.1, 0.03]) * rng.uniform(0.8, 1.2)
        coats.append(tube([shifted(at, 0, y, 0) for y in heights], radii, 12))
    return Furniture("coat stand", (surface("coat stand", wood), surface("coats", coats)))


def hurdle(rng: Random) -> Furniture:
    """A sports hurdle or street barrier."""
    w, h = rng.uniform(0.9, 1.5), rng.uniform(0.6, 1.1)
    metal = [tube([(sx * w / 2, 0.02, 0.3), (sx * w / 2, 0.02, 0), (sx * w / 2, h, 0)], 0.018) for sx in (-1, 1)]
    board = block((0, h - 0.04, 0.02), (w + 0.05, rng.uniform(0.07, 0.2), 0.02))
    return Furniture("barrier", (surface("barrier stand", metal), surface("barrier board", [board])))


def _plate(w: float, d: float, top: float, thickness: float) -> Shape:
    return block((0, top - thickness / 2, 0), (w, thickness, d))


def _post(x: float, z: float, height: float, side: float) -> Shape:
    return block((x, height / 2, z), (side, height, side))


def _things(rng: Random, w: float, d: float, top: float) -> list[Shape]:
    """Cups, bottles and books on a table."""
    shapes = []
    for _ in range(int(rng.integers(1, 6))):
        x, z = rng.uniform(-w / 2, w / 2), rng.uniform(-d / 2, d / 2)
        if rng.random() < 0.5:
            r, h = rng.uniform(0.03, 0.045), rng.uniform(0.08, 0.28)
            levels = np.array([0, 0.65, 0.75, 1]) * h + top
            neck = 0.4 if h > 0.18 else 1.0
            shapes.append(tube([(x, y, z) for y in levels], np.array([1, 1, neck, neck]) * r, 12))
        else:
            size = (rng.uniform(0.12, 0.3), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.25))
            shapes.append(block((0, size[1] / 2, 0), size).turned("y", rng.uniform(0, 90)).moved((x, top, z)))
    return shapes


FURNITURE: dict[str, Callable[[Random], Furniture]] = {
    "chair": chair,
    "office chair": office_chair,
    "stool": stool,
    "table": table,
    "desk": desk,
    "sofa": sofa,
    "bench": bench,
    "boxes": boxes,
    "plant": plant,
    "bicycle": bicycle,
    "railing": railing,
    "pole": pole,
    "lamp": lamp,
    "shelf": shelf,
    "suitcase": suitcase,
    "bin": bin_,
    "coat stand": coat_stand,
    "barrier": hurdle,
}
"""Makers by name."""
