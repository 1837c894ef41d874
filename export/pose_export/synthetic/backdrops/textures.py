"""Grey textures that repeat without a seam, and ramps that colour them. Made once per process, when first wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ramp = NDArray[np.uint8]
Random = np.random.Generator
Colour = NDArray[np.float64]

SIDE = 256
VARIANTS = 3
Texture = tuple[NDArray[np.uint8], ...]
"""uint8 (side, side) or (side, side, 3) B, G, R, and the same at 1/2, 1/4, ... of the size."""


def pyramid(picture: NDArray[np.uint8]) -> Texture:
    """A picture at all sizes down to 8 pixels."""
    levels = [picture]
    while min(levels[-1].shape[:2]) > 8:
        height, width = levels[-1].shape[:2]
        small = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(small, np.uint8))
    return tuple(levels)


def texture(rng: Random, name: str) -> Texture:
    """One of the variants of a texture, grey."""
    return _made(name, int(rng.integers(VARIANTS)))


@lru_cache(maxsize=256)
def _made(name: str, variant: int) -> Texture:
    grey = _MAKERS[name](np.random.default_rng([crc32(name.encode()), variant]))
    return pyramid(np.clip(grey, 0, 255).astype(np.uint8))


def ramp(*colours: Colour | tuple[float, float, float]) -> Ramp:
    """uint8 (256, 1, 3): grey 0 is the first colour, 255 the last; B, G, R of 0 to 255."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, [colour[i] for colour in colours]) for i in range(3)], axis=1)
    return np.clip(table + 0.5, 0, 255).astype(np.uint8)[:, None]


def tint(colour: Colour, contrast: float = 1.0) -> Ramp:
    """A surface of one colour: grey 180 shows it, other greys are darker and lighter."""
    return ramp(colour * (1 - 0.85 * contrast), colour, np.minimum(colour * (1 + 0.42 * contrast), 255))


def colour(rng: Random, *, value: tuple[float, float] = (0.2, 0.9), vivid: float = 0.35) -> Colour:
    """A random B, G, R colour of 0 to 255; `vivid` is the usual saturation.

    Hues are as often as in made things: yellow to red most, then blue, the others seldom and paler.
    """
    centre, spread, strength = _HUES[int(rng.choice(len(_HUES), p=(0.45, 0.22, 0.13, 0.2)))]
    saturation = min(0.95, float(rng.gamma(2.0, vivid * strength / 2)))
    hsv = np.array([[[rng.normal(centre, spread) % 360, saturation, rng.uniform(*value)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float64)


_HUES = ((32, 18, 1.0), (215, 14, 0.9), (2, 8, 1.1), (150, 110, 0.55))


def warm(rng: Random, *, value: tuple[float, float] = (0.25, 0.8)) -> Colour:
    """A brown, beige or grey, as wood, stone and earth have."""
    hsv = np.array([[[rng.uniform(15, 45), min(0.7, rng.gamma(2.0, 0.16)), rng.uniform(*value)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float64)


def green(rng: Random, *, value: tuple[float, float] = (0.2, 0.6)) -> Colour:
    """A green of leaves and grass."""
    hsv = np.array([[[rng.normal(82, 16), rng.uniform(0.2, 0.62), rng.uniform(*value)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float64)


def fractal(rng: Random, exponent: float, stretch: tuple[float, float] = (1, 1), side: int = SIDE) -> Floats:
    """Noise of amplitude 1 / frequency**exponent, float32 (side, side), mean 0, deviation 1; repeats without a seam.

    `stretch` lengthens it along x and y.
    """
    fx, fy = np.meshgrid(np.fft.rfftfreq(side) * side * stretch[0], np.fft.fftfreq(side) * side * stretch[1])
    frequency = np.hypot(fx, fy)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(0, 1, (side, side))) / frequency**exponent
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(noise / noise.std(), np.float32)


# ---- makers: float greys around 180


def _plaster(rng: Random) -> Floats:
    return np.asarray(180 + 3 * fractal(rng, 0.4) + 5 * fractal(rng, 1.6), np.float32)


def _concrete(rng: Random) -> Floats:
    return np.asarray(175 + 7 * fractal(rng, 0.3) + 16 * fractal(rng, 1.5), np.float32)


def _wood(rng: Random) -> Floats:
    rings = np.sin(2.2 * fractal(rng, 1.7, (0.12, 1.0)) * rng.uniform(2, 4))
    return np.asarray(172 + 20 * rings + 14 * fractal(rng, 0.8, (0.06, 1.5)), np.float32)


def _planks(rng: Random) -> Floats:
    """Boards along x, shifted against each other."""
    rows = int(rng.choice([8, 16]))
    high, grain = SIDE // rows, _wood(rng)
    board = np.zeros((SIDE, SIDE), np.float32)
    for row in range(rows):
        top = row * high
        shift, cut = int(rng.integers(SIDE)), int(rng.integers(SIDE))
        strip = np.roll(grain, shift, axis=1)[(top * 7) % (SIDE - high) :][:high]
        strip = strip + np.where(np.arange(SIDE) < SIDE // 2, rng.normal(0, 14), rng.normal(0, 14))
        strip[:, [0, SIDE // 2]] -= 70
        board[top : top + high] = np.roll(strip, cut, axis=1)
        board[top] -= 70
    return board


def _parquet(rng: Random) -> Floats:
    """A basket of blocks, turned in turn."""
    grain, n = _wood(rng), 8
    block = SIDE // n
    out = np.empty((SIDE, SIDE), np.float32)
    for i in range(n):
        for j in range(n):
            top, left = rng.integers(0, SIDE - block, 2)
            piece = grain[top : top + block, left : left + block] + rng.normal(0, 12)
            piece = piece.copy()
            piece[:: block // 4] -= 35
            out[i * block : (i + 1) * block, j * block : (j + 1) * block] = piece if (i + j) % 2 else piece.T
    return out


def _tiles(rng: Random) -> Floats:
    n = int(rng.choice([2, 4, 8]))
    side, joint = SIDE // n, max(1, 6 // n)
    shade = np.kron(rng.normal(0, 5, (n, n)), np.ones((side, side)))
    out = 188 + shade + 5 * fractal(rng, 1.2)
    edge = (np.arange(SIDE) % side) < joint
    out[edge] = 110
    out[:, edge] = 110
    return np.asarray(out, np.float32)


def _checks(rng: Random) -> Floats:
    n = int(rng.choice([2, 4, 8]))
    return np.asarray(np.kron(np.indices((n, n)).sum(0) % 2, np.ones((SIDE // n, SIDE // n))) * 150 + 55, np.float32)


def _brick(rng: Random) -> Floats:
    rows, columns = 16, 4
    high, wide = SIDE // rows, SIDE // columns
    out = np.full((SIDE, SIDE), 215, np.float32)
    for row in range(rows):
        line = np.full((high, SIDE), 215, np.float32)
        for column in range(columns):
            line[2:, column * wide + 2 : (column + 1) * wide] = rng.normal(150, 22)
        out[row * high : (row + 1) * high] = np.roll(line, wide // 2 * (row % 2), axis=1)
    return np.asarray(out + 12 * fractal(rng, 0.5), np.float32)


def _stones(rng: Random) -> Floats:
    """Paving of irregular stones: which seed is nearest, and how far its rival is (Worley 1996)."""
    seeds = rng.uniform(0, SIDE, (90, 2))
    seeds = np.concatenate([seeds + np.array([dx, dy]) * SIDE for dx in (-1, 0, 1) for dy in (-1, 0, 1)])
    seeds = seeds[(np.abs(seeds - SIDE / 2) < SIDE / 2 + 50).all(axis=1)]
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    best, second = np.full((2, SIDE, SIDE), 1e9, np.float32)
    shade = np.zeros((SIDE, SIDE), np.float32)
    for sx, sy in seeds:
        distance = np.hypot(x - np.float32(sx), y - np.float32(sy))
        nearer = distance < best
        second = np.where(nearer, best, np.minimum(second, distance))
        best = np.where(nearer, distance, best)
        shade[nearer] = 130 + (sx * 7.3 + sy * 3.7) % 70
    return np.asarray(np.where(second - best < 2.5, 95, shade) + 9 * fractal(rng, 0.8), np.float32)


def _carpet(rng: Random) -> Floats:
    return np.asarray(170 + 22 * fractal(rng, 0.2) + 6 * fractal(rng, 1.5), np.float32)


def _asphalt(rng: Random) -> Floats:
    return np.asarray(170 + 16 * fractal(rng, 0.1) + 12 * fractal(rng, 1.4), np.float32)


def _earth(rng: Random) -> Floats:
    return np.asarray(165 + 25 * fractal(rng, 0.5) + 22 * fractal(rng, 1.3), np.float32)


def _grass(rng: Random) -> Floats:
    blades = np.maximum(fractal(rng, 0.3, (2.0, 0.5)), fractal(rng, 0.3, (1.5, 0.7)))
    return np.asarray(140 + 30 * blades + 16 * fractal(rng, 1.3), np.float32)


def _leaves(rng: Random) -> Floats:
    """Leaves over leaves, the upper ones brighter."""
    out = np.full((SIDE, SIDE), 25, np.float32)
    for i in range(1100):
        x, y = rng.integers(0, SIDE, 2)
        size = rng.uniform(3, 10)
        shade = float(np.clip(40 + 150 * i / 1100 + rng.normal(0, 28), 10, 250))
        axes, angle = (int(size), max(1, int(size * rng.uniform(0.25, 0.6)))), float(rng.uniform(0, 180))
        for dx in (-SIDE, 0, SIDE):
            for dy in (-SIDE, 0, SIDE):
                if -12 < x + dx < SIDE + 12 and -12 < y + dy < SIDE + 12:
                    cv2.ellipse(out, (int(x + dx), int(y + dy)), axes, angle, 0, 360, shade, -1, cv2.LINE_AA)
    return np.asarray(out + 8 * fractal(rng, 0.3), np.float32)


def _weave(rng: Random) -> Floats:
    t = np.arange(SIDE) * 2 * np.pi / SIDE
    n = int(rng.choice([32, 64]))
    cloth = 10 * np.sin(t * n)[:, None] * np.sin(t * n)[None] + 8 * fractal(rng, 0.2, (0.2, 1))
    return np.asarray(178 + cloth + 6 * fractal(rng, 1.5), np.float32)


def _marble(rng: Random) -> Floats:
    return np.asarray(210 - 60 * np.exp(-np.abs(fractal(rng, 1.8)) * 6) + 8 * fractal(rng, 1.2), np.float32)


def _stripes(rng: Random) -> Floats:
    profile = np.zeros(SIDE, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        left, width = int(rng.integers(SIDE)), int(rng.integers(6, 60))
        profile += np.roll((np.arange(SIDE) < width) * rng.normal(0, 40), left)
    profile = np.tile(cv2.resize(profile[None], (SIDE // 4, 1), interpolation=cv2.INTER_AREA), (SIDE, 4))
    return np.asarray(170 + profile + 3 * fractal(rng, 0.4), np.float32)


def _motifs(rng: Random) -> Floats:
    """A small figure, repeated: wallpaper."""
    cell = np.full((64, 64), 175, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        centre = tuple(int(v) for v in rng.integers(12, 52, 2))
        axes, angle = tuple(int(v) for v in rng.integers(2, 16, 2)), float(rng.uniform(0, 180))
        shade, filled = float(rng.uniform(90, 240)), int(rng.choice([-1, 1, 2]))
        for mirrored in (centre, (63 - centre[0], centre[1])):
            turn = angle if mirrored is centre else -angle
            cv2.ellipse(cell, mirrored, axes, turn, 0, 360, shade, filled, cv2.LINE_AA)
    return np.asarray(np.tile(cell, (4, 4)) + 3 * fractal(rng, 0.5), np.float32)


def _folds(rng: Random) -> Floats:
    """A curtain's folds, along y."""
    x = np.arange(SIDE) / SIDE * 2 * np.pi
    phase = 1.5 * np.sin(x * 2 + rng.uniform(0, 6)) + np.sin(x * 3 + rng.uniform(0, 6))
    wave = np.sin(x * int(rng.integers(6, 12)) + phase)
    return np.asarray(150 + 55 * wave[None] + 4 * fractal(rng, 0.3, (1, 0.3)), np.float32)


def _clouds(rng: Random) -> Floats:
    """How much of the sky is hidden, 0 to 255."""
    return np.asarray(np.clip((fractal(rng, 1.7) - rng.uniform(-0.4, 0.7)) * 130, 0, 255), np.float32)


def _water(rng: Random) -> Floats:
    return np.asarray(150 + 35 * fractal(rng, 1.1, (0.35, 1.0)), np.float32)


def _lattice(rng: Random) -> Floats:
    """A fence: 255 where wire or board is."""
    out = np.zeros((SIDE, SIDE), np.float32)
    if rng.random() < 0.5:
        for k in range(-SIDE, 2 * SIDE, 32):
            cv2.line(out, (k, 0), (k + SIDE, SIDE), 255, 3, cv2.LINE_AA)
            cv2.line(out, (k, 0), (k - SIDE, SIDE), 255, 3, cv2.LINE_AA)
        return out
    out[:, (np.arange(SIDE) % 32) < int(rng.integers(6, 24))] = 255
    out[40:60] = out[200:220] = 255
    return out


def _edges(rng: Random) -> Floats:
    """255 at the rim of a face, 0 inside: where two walls meet it is darker."""
    near = np.minimum(np.arange(SIDE), SIDE - 1 - np.arange(SIDE)) / SIDE
    soft = np.exp(-near / rng.uniform(0.03, 0.09))
    return np.asarray(255 * (1 - (1 - soft)[:, None] * (1 - soft)[None]), np.float32)


def _pool(rng: Random) -> Floats:
    """255 in the middle, 0 at the rim: a spot of light, a soft shadow."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    return np.asarray(255 * np.clip(1.0 - np.hypot(x, y), 0, 1) ** rng.uniform(0.6, 1.5), np.float32)


def _panes(rng: Random) -> Floats:
    """255 where a window's glass is, 0 at its bars; a little soft."""
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    out = np.zeros((SIDE, SIDE), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * SIDE // rows + 9, j * SIDE // columns + 9
            out[top : (i + 1) * SIDE // rows - 9, left : (j + 1) * SIDE // columns - 9] = 255
    return np.asarray(cv2.GaussianBlur(out, (0, 0), 3), np.float32)


_MAKERS: dict[str, Callable[[Random], Floats]] = {
    "plaster": _plaster,
    "concrete": _concrete,
    "wood": _wood,
    "planks": _planks,
    "parquet": _parquet,
    "tiles": _tiles,
    "checks": _checks,
    "brick": _brick,
    "stones": _stones,
    "carpet": _carpet,
    "asphalt": _asphalt,
    "earth": _earth,
    "grass": _grass,
    "leaves": _leaves,
    "weave": _weave,
    "marble": _marble,
    "stripes": _stripes,
    "motifs": _motifs,
    "folds": _folds,
    "clouds": _clouds,
    "water": _water,
    "lattice": _lattice,
    "edges": _edges,
    "pool": _pool,
    "panes": _panes,
}
