"""Gardens, meadows and woods."""

from __future__ import annotations

import cv2
import numpy as np

from pose_export.synthetic.backdrops import outdoors, sheets
from pose_export.synthetic.backdrops.base import Backdrop, Image, Random
from pose_export.synthetic.backdrops.painter import Painter
from pose_export.synthetic.backdrops.textures import green, ramp, texture, tint, warm
from pose_export.synthetic.view import View


def draw(rng: Random, view: View, clear: float) -> Backdrop:
    """A meadow with hedges and trees, a wood, a beach; at times far out of focus."""
    weather = outdoors.day(rng)
    painter = Painter(view)
    painter.haze = weather.horizon, float(rng.uniform(40, 250))
    outdoors.sky(painter, rng, weather)
    leaves = sheets.foliage_ramp(rng)
    name, base, metres = _GROUNDS[int(rng.choice(len(_GROUNDS), p=[0.55, 0.2, 0.15, 0.1]))]
    blades = green(rng) if base is None else np.array(base) * rng.uniform(0.7, 1.15)
    outdoors.ground(painter, rng, name, tint(blades, 1.0), metres, weather.bright)
    if name == "water":
        _shore(painter, rng, clear, weather.bright)
    else:
        _plants(painter, rng, clear, sheets.foliage_ramp(rng) if rng.random() < 0.3 else leaves, weather.bright)
    image = painter.finished(rng)
    if rng.random() < 0.3:
        image = _out_of_focus(image, rng)
    return Backdrop(image=image, light=outdoors.light(rng, weather), floor=True)


_GROUNDS: tuple[tuple[str, tuple[float, float, float] | None, float], ...] = (
    ("grass", None, 1.2),
    ("earth", (70, 95, 125), 2.0),
    ("earth", (135, 175, 200), 2.5),
    ("water", (150, 120, 70), 6.0),
)


def _shore(painter: Painter, rng: Random, clear: float, bright: float) -> None:
    """Sand in front of water."""
    sand, end = tint(np.array([140.0, 180, 205]) * rng.uniform(0.8, 1.1), 0.8), -clear - rng.uniform(1, 6)
    foam = ramp((200, 200, 200), (255, 255, 255))
    painter.quad(
        (-60, 0, end),
        (120, 0, 0),
        (0, 0, -rng.uniform(0.5, 1.5)),
        texture(rng, "clouds"),
        foam,
        repeat=(20, 1.01),
        alpha=texture(rng, "clouds"),
    )
    painter.quad((-60, 0, 2), (120, 0, 0), (0, 0, end - 2), texture(rng, "earth"), sand, repeat=(50, 6), shade=bright)
    painter.tone((-60, 0, end + 0.8), (120, 0, 0), (0, 0, -0.9), texture(rng, "pool"), 0.75)


def _plants(painter: Painter, rng: Random, clear: float, leaves: np.ndarray, bright: float) -> None:
    far = -clear - float(rng.uniform(2, 40))
    if rng.random() < 0.5:
        outdoors.hedge(painter, rng, far - 40, float(rng.uniform(5, 12)), leaves, bright * 0.9)
    outdoors.hedge(painter, rng, far, float(rng.uniform(1.5, 7)), leaves, bright * rng.uniform(0.6, 1.0))
    if rng.random() < 0.5:
        _wood(painter, rng, clear, far, bright)
    for z in sorted(rng.uniform(far, -clear, int(rng.integers(0, 7)))):
        x = float(rng.uniform(-1, 1) * (abs(z) * 0.7 + 2))
        outdoors.tree(painter, rng, x, z, float(rng.uniform(1.5, 8)), leaves, bright)
    for _ in range(int(rng.integers(0, 3))):  # near the edges of the picture
        side = float(rng.choice([-1, 1]))
        crown, alpha = sheets.bush(rng)
        z = -clear * rng.uniform(0.7, 1.2)
        x = side * (abs(z) * 0.5 * painter.view.size_wh[0] / painter.view.focal_px + rng.uniform(0.2, 1))
        size = rng.uniform(0.8, 3)
        painter.sprite((x, 0, z), size, size, crown, alpha, leaves, bright)


def _wood(painter: Painter, rng: Random, clear: float, far: float, bright: float) -> None:
    """Trunks, ever nearer, with light between."""
    bark = warm(rng, value=(0.15, 0.5))
    for z in sorted(rng.uniform(min(far * 1.5, -clear - 4), -clear - 0.3, int(rng.integers(8, 26)))):
        x, thick = float(rng.uniform(-1, 1) * abs(z)), float(rng.uniform(0.12, 0.5))
        lean = float(rng.normal(0, 0.4))
        painter.tone((x - thick, 0.01, z + thick), (thick * 3, 0, 0), (0, 0, -thick * 2), texture(rng, "pool"), 0.4)
        shade = bright * rng.uniform(0.6, 1.1)
        round_ = tint(bark, 1.0)
        painter.quad(
            (x, 0, z), (thick, 0, 0), (lean, 9, 0), texture(rng, "earth"), round_, repeat=(0.25, 4), shade=shade
        )
        painter.tone((x + thick * 0.55, 0, z + 0.01), (thick * 0.45, 0, 0), (lean, 9, 0), texture(rng, "pool"), 0.5)
        painter.tone((x, 0, z + 0.01), (thick * 0.25, 0, 0), (lean, 9, 0), texture(rng, "pool"), 0.7)


def _out_of_focus(image: Image, rng: Random) -> Image:
    """As behind a portrait: discs of light."""
    height, width = image.shape[:2]
    radius = float(rng.uniform(2, 7)) * max(height, width) / 384
    small = cv2.resize(image, (max(2, width // 2), max(2, height // 2)), interpolation=cv2.INTER_AREA)
    reach = max(1, round(radius / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)).astype(np.float32)
    strong = cv2.LUT(small, ((np.arange(256) / 255) ** 3).astype(np.float32))
    blurred = cv2.filter2D(strong, -1, disc / disc.sum())
    wide = cv2.resize(cv2.pow(np.maximum(blurred, 0), 1 / 3), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(wide, alpha=255), np.uint8)
