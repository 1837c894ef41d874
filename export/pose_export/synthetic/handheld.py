"""Things that a hand holds. The grip is at the origin, a handle runs along y with the thing's bulk towards +y (the side
of the thumb), its face looks to +z; metres.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pose_export.synthetic.shapes import Shape, blob, block, box, ellipse, hoop, slab, surface, tube
from pose_export.synthetic.surface import Surface

Random = np.random.Generator
Held = tuple[Surface, ...]


def ball(rng: Random) -> Held:
    """From a tennis ball to a basketball, in front of the palm."""
    r = float(rng.choice([0.034, 0.037, 0.07, 0.105, 0.11, 0.122]))
    return (surface("ball", [blob((0, 0, r), (r, r, r), steps=12)]),)


def bat(rng: Random) -> Held:
    """A baseball bat: a thin grip that swells."""
    length, r = rng.uniform(0.6, 0.87), rng.uniform(0.028, 0.034)
    y = np.array([-0.1, -0.085, -0.08, 0.15, 0.4, 0.75, 0.97, 1.0])
    y[4:] = 0.15 + (y[4:] - 0.15) * (length - 0.25) / 0.85
    radii = np.array([0.022, 0.022, 0.012, 0.013, 0.02, r, r, r * 0.6])
    return (surface("bat", [tube([(0, v, 0) for v in y], radii, 12)]),)


def racket(rng: Random) -> Held:
    """Tennis or badminton: handle, hoop and strings; or a table tennis bat."""
    if rng.random() < 0.25:
        blade = slab(ellipse(0.15, 0.16, up=0.13), 0.014)
        return surface("bat handle", [tube([(0, -0.05, 0), (0, 0.06, 0)], 0.014)]), surface("bat blade", [blade])
    shaft, w, h = rng.uniform(0.18, 0.36), rng.uniform(0.19, 0.26), rng.uniform(0.25, 0.34)
    t = np.linspace(-np.pi / 2, 1.5 * np.pi, 29)
    middle = shaft + h / 2
    rim = tube(np.stack([np.cos(t) * w / 2, middle + np.sin(t) * h / 2, 0 * t], axis=1), 0.009, 6)
    strings = []
    for u in np.linspace(-0.8, 0.8, 9):
        reach = np.sqrt(1 - u * u)
        x, y = u * w / 2, middle + u * h / 2
        strings.append(tube([(x, middle - reach * h / 2, 0), (x, middle + reach * h / 2, 0)], 0.0012, 3))
        strings.append(tube([(-reach * w / 2, y, 0), (reach * w / 2, y, 0)], 0.0012, 3))
    frame = [rim, tube([(0, 0.1, 0), (0, shaft, 0)], 0.009)]
    grip = tube([(0, -0.1, 0), (0, 0.1, 0)], 0.016)
    return surface("racket frame", frame), surface("racket grip", [grip]), surface("strings", strings)


def phone(rng: Random) -> Held:
    """Its screen faces the palm's owner, +z."""
    w, h = rng.uniform(0.065, 0.08), rng.uniform(0.13, 0.165)
    body = block((0, 0.03, 0), (w, h, 0.009))
    screen = block((0, 0.03, 0.005), (w - 0.006, h - 0.012, 0.002))
    return surface("phone", [body]), surface("phone screen", [screen])


def cup(rng: Random) -> Held:
    """A mug, paper cup or bottle."""
    kind = rng.random()
    if kind < 0.35:
        y = np.array([0, 0.15, 0.17, 0.21, 0.22]) - 0.08
        shape = tube([(0, v, 0) for v in y], [0.033, 0.033, 0.025, 0.013, 0.013], 14)
        return (surface("bottle", [shape]),)
    r = rng.uniform(0.032, 0.045)
    shapes = [tube([(0, -0.05, 0), (0, 0.05, 0)], [r * rng.uniform(0.7, 1), r], 16)]
    if kind > 0.65:
        shapes.append(hoop((r + 0.015, 0, 0), 0.025, 0.006, "z", 6, 16))
    return (surface("cup", shapes),)


def bag(rng: Random) -> Held:
    """It hangs from its handle: a tote, shopping bag or case, towards -y whatever the hand does."""
    w, h, d = rng.uniform(0.25, 0.45), rng.uniform(0.22, 0.42), rng.uniform(0.06, 0.18)
    drop = rng.uniform(0.08, 0.25)
    body = blob((0, -drop - h / 2, 0), (d / 2, h / 2, w / 2), 0.3)
    straps = [
        tube(
            [(sx * d * 0.3, -drop - 0.02, -w / 4), (0, 0, -0.04), (0, 0, 0.04), (sx * d * 0.3, -drop - 0.02, w / 4)],
            0.007,
        )
        for sx in (-1, 1)
    ]
    return surface("bag", [body]), surface("bag handles", straps)


def umbrella(rng: Random) -> Held:
    """Open above the hand, or closed."""
    length = rng.uniform(0.6, 0.8)
    shaft = [tube([(0, -0.12, 0), (0, length, 0)], 0.007), tube([(0, -0.1, 0), (0, 0.02, 0)], 0.014)]
    if rng.random() < 0.3:
        y = np.array([0.12, 0.25, length])
        cloth = tube([(0, v, 0) for v in y], [0.03, 0.035, 0.008], 10)
        return surface("umbrella shaft", shaft), surface("umbrella", [cloth])
    r, rise = rng.uniform(0.42, 0.6), rng.uniform(0.2, 0.3)
    return surface("umbrella shaft", shaft), surface("umbrella", [_dome(r, rise, length - 0.03)])


def guitar(rng: Random) -> Held:
    """Held by its neck, which runs from the body at -y to the head at +y."""
    scale = rng.uniform(0.6, 1.0)
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    width = (0.19 - 0.03 * np.sin(t)) * (1 - 0.22 * np.exp(-(((np.sin(t) - 0.15) / 0.3) ** 2)))
    outline = np.stack([np.cos(t) * width, np.sin(t) * 0.24], axis=1) * scale
    body = slab(outline, 0.1 * scale).moved((0, -0.62 * scale, -0.03))
    hole = tube([(0, -0.56 * scale, 0.05 * scale - 0.03), (0, -0.56 * scale, 0.05 * scale - 0.028)], 0.05 * scale, 16)
    neck = [box((-0.024, -0.5 * scale, 0), (0.024, 0.08, 0.022)), box((-0.035, 0.08, -0.005), (0.035, 0.24, 0.012))]
    return surface("guitar body", [body]), surface("guitar neck", [*neck, hole])


def book(rng: Random) -> Held:
    """Closed, or open towards +z; also a magazine or folder."""
    w, h, d = rng.uniform(0.11, 0.22), rng.uniform(0.17, 0.3), rng.uniform(0.006, 0.04)
    if rng.random() < 0.5:
        pages = block((0, 0, 0), (w - 0.008, h - 0.008, d))
        covers = [block((0, 0, sz * d / 2), (w, h, 0.003)) for sz in (-1, 1)]
        return surface("book covers", covers), surface("pages", [pages])
    half = block((w / 2, 0, 0), (w, h, d / 2 + 0.002))
    open_ = [half.turned("y", -20), half.moved((-w, 0, 0)).turned("y", 20)]
    return (surface("open book", open_),)


def laptop(rng: Random) -> Held:
    """Open, lying flat in front of the hand, its screen towards -z: to its user, who stands there."""
    w, d = rng.uniform(0.29, 0.37), rng.uniform(0.2, 0.25)
    base = box((-w / 2, -0.008, 0), (w / 2, 0.008, d))
    lid = box((-w / 2, 0, -0.006), (w / 2, d, 0)).turned("x", rng.uniform(0, 25)).moved((0, 0.008, d))
    screen = box((-w / 2 + 0.01, 0.012, -0.008), (w / 2 - 0.01, d - 0.01, -0.0065))
    keys = box((-w / 2 + 0.02, 0.008, d * 0.45), (w / 2 - 0.02, 0.011, d * 0.92))
    return surface("laptop", [base, lid]), surface("laptop keys", [keys, screen.moved((0, 0.008, d))])


def stick(rng: Random) -> Held:
    """A walking stick, ski pole, broom or hockey stick, towards -y like what one leans on."""
    length, r = rng.uniform(0.7, 1.3), rng.uniform(0.006, 0.014)
    shapes = [tube([(0, 0.08, 0), (0, -length, 0)], r)]
    kind = rng.random()
    if kind < 0.3:
        shapes.append(tube([(0, -length + 0.06, 0), (0, -length + 0.07, 0)], 0.05, 14))
    elif kind < 0.5:
        shapes.append(tube([(0, -length + 0.02, 0), (0, -length - 0.02, 0.25)], [0.02, 0.018]))
    elif kind < 0.65:
        shapes.append(blob((0, -length - 0.08, 0), (0.16, 0.1, 0.025), 0.5))
    return (surface("stick", shapes),)


def skis(rng: Random) -> Held:
    """A pair carried upright, or a board."""
    length = rng.uniform(1.3, 1.85)
    y = np.linspace(-length * 0.45, length * 0.55, 7)
    bend = np.array([0.03, 0, 0, 0, 0, 0.01, 0.07])
    if rng.random() < 0.3:
        return (surface("board", [slab(ellipse(0.28, length, 24, length * 0.05), 0.02).moved((0, 0, 0.02))]),)
    pair = []
    for x in (-0.05, 0.05):
        path = np.stack([np.full(7, x), y, bend], axis=1)
        flat = tube(path, [0.02, 0.045, 0.04, 0.035, 0.04, 0.05, 0.015], 8)
        pair.append(_flattened(flat, 0.3))
    return (surface("skis", pair),)


def frisbee(rng: Random) -> Held:
    """A flying disc, plate or hat-like round thing, held at its rim."""
    r = rng.uniform(0.1, 0.14)
    disc = tube([(0, -0.012, 0), (0, 0.004, 0), (0, 0.012, 0)], [r, r, r * 0.8], 24).moved((0, 0, r))
    return (surface("disc", [disc]),)


def _flattened(shape: Shape, factor: float) -> Shape:
    """Thinner along z."""
    normals = shape.normals / (1, 1, factor)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Shape(shape.positions * (1, 1, factor), normals, shape.uv, shape.triangles)


def _dome(radius: float, rise: float, top: float) -> Shape:
    """A thin closed canopy: the outside, and the inside a little below."""
    t = np.linspace(0, 1, 7)
    outside = np.stack([np.sin(t * np.pi / 2) * radius, top - rise * (1 - np.cos(t * np.pi / 2))], axis=1)
    profile = np.concatenate([outside, outside[::-1] - (0, 0.006)])
    profile[:, 0] = np.maximum(profile[:, 0], 0.002)
    turns = np.linspace(0, 2 * np.pi, 17)
    r, y = profile.T
    positions = np.stack(
        [r[:, None] * np.sin(turns), np.broadcast_to(y[:, None], (len(r), 17)), r[:, None] * np.cos(turns)], axis=2
    )
    step = np.gradient(profile, axis=0)
    step[6], step[7] = profile[6] - profile[5], profile[8] - profile[7]  # the fold at the rim is sharp
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    normals = np.stack(
        [-step[:, 1:] * np.sin(turns), np.broadcast_to(step[:, :1], (14, 17)), -step[:, 1:] * np.cos(turns)], axis=2
    )
    uv = np.stack(np.broadcast_arrays(turns[None] * radius / 2, np.arange(14)[:, None] * radius / 6), axis=2)
    i, j = np.meshgrid(np.arange(14), np.arange(16), indexing="ij")
    a, b = i * 17 + j, (i + 1) % 14 * 17 + j
    triangles = np.stack([a, b, b + 1, a, b + 1, a + 1], axis=2).reshape(-1, 3)
    return Shape(positions.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), triangles)


HANDHELD: dict[str, Callable[[Random], Held]] = {
    "ball": ball,
    "bat": bat,
    "racket": racket,
    "phone": phone,
    "cup": cup,
    "bag": bag,
    "umbrella": umbrella,
    "guitar": guitar,
    "book": book,
    "laptop": laptop,
    "stick": stick,
    "skis": skis,
    "disc": frisbee,
}
"""Makers by name."""
