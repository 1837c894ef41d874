"""What scenes under the sky share: the sky, the ground, trees, and the light of the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops import sheets
from pose_export.synthetic.backdrops.base import Random
from pose_export.synthetic.backdrops.painter import Painter
from pose_export.synthetic.backdrops.textures import Ramp, ramp, texture, tint, warm
from pose_export.synthetic.light import Light, simple

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """The weather.

    Attributes:
        zenith, horizon: B, G, R of the sky.
        cloudy: 0 clear to 1 covered.
        sunny: whether the sun throws shadows.
        bright: how bright lit things are.
    """

    zenith: Floats
    horizon: Floats
    cloudy: float
    sunny: bool
    bright: float


def day(rng: Random) -> Day:
    """Blue, white, grey or evening skies; seldom night."""
    kind = rng.random()
    if kind < 0.45:
        zenith = np.array([rng.uniform(170, 235), rng.uniform(110, 160), rng.uniform(50, 100)])
        return Day(zenith, np.array([245.0, 225, 205]) * rng.uniform(0.9, 1), rng.uniform(0, 0.9), True, 1.0)
    if kind < 0.82:
        white = np.array([238.0, 234, 230]) * rng.uniform(0.75, 1.05)
        return Day(
            white * rng.uniform(0.8, 1), np.minimum(white, 255), rng.uniform(0, 0.5), False, rng.uniform(0.75, 0.95)
        )
    if kind < 0.92:
        zenith = np.array([rng.uniform(120, 180), rng.uniform(90, 130), rng.uniform(90, 140)])
        horizon = np.array([rng.uniform(90, 170), rng.uniform(150, 195), rng.uniform(220, 250)])
        return Day(zenith, horizon, rng.uniform(0.1, 0.8), True, rng.uniform(0.6, 0.85))
    return Day(np.array([30.0, 20, 15]), np.array([70.0, 50, 40]), 0.3, False, rng.uniform(0.3, 0.45))


def sky(painter: Painter, rng: Random, weather: Day) -> None:
    """From the horizon to the zenith, with clouds that lie flat above the scene."""
    view = painter.view
    height = view.size_wh[1]
    rows = view.horizon - np.arange(height)
    share = (1 - np.exp(-np.maximum(rows, 0) / (0.45 * view.focal_px)))[:, None]
    column = weather.horizon * (1 - share) + weather.zenith * share
    painter.picture[:] = np.clip(column, 0, 255).astype(np.uint8)[:, None]
    if rng.random() < 0.75 * (weather.cloudy + 0.25):
        white = np.minimum(weather.horizon * rng.uniform(0.95, 1.15), 255)
        alpha = texture(rng, "clouds")
        far, side = 1500.0, float(rng.uniform(500, 1200))
        painter.quad(
            (-far, 120, -40),
            (2 * far, 0, 0),
            (0, 0, -far),
            texture(rng, "concrete"),
            tint(white, 0.25),
            repeat=(2 * far / side, far / side),
            alpha=alpha,
            opacity=weather.cloudy * 0.6 + 0.35,
        )


def ground(painter: Painter, rng: Random, name: str, colours: Ramp, metres: float, bright: float) -> None:
    """The floor to the horizon; `metres` is the size of the texture. Large patches keep it from repeating visibly."""
    wide, far = 120.0, 400.0
    repeat = 2 * wide / metres, far / metres
    painter.quad(
        (-wide, 0, 2), (2 * wide, 0, 0), (0, 0, -far), texture(rng, name), colours, repeat=repeat, shade=bright
    )
    for _ in range(int(rng.integers(1, 5))):
        w, d = rng.uniform(3, 14, 2)
        x, z = rng.uniform(-8, 8), rng.uniform(-25, 0)
        factor = float(rng.uniform(0.72, 1.2))
        painter.tone((x - w / 2, 0, z), (w, 0, 0), (0, 0, -d), texture(rng, "pool"), factor)


def tree(painter: Painter, rng: Random, x: float, z: float, height: float, leaves: Ramp, bright: float) -> None:
    """Trunk, crown and shadow."""
    width = height * rng.uniform(0.45, 0.8)
    trunk = height * rng.uniform(0.15, 0.4)
    painter.tone(
        (x - width / 2, 0.01, z + width * 0.4), (width * 1.1, 0, 0), (0, 0, -width * 0.8), texture(rng, "pool"), 0.35
    )
    thick = height * 0.035
    bark = tint(warm(rng, value=(0.2, 0.45)), 0.9)
    painter.quad(
        (x - thick / 2, 0, z), (thick, 0, 0), (0, trunk + height * 0.25, 0), texture(rng, "earth"), bark, shade=bright
    )
    crown, alpha = sheets.crown(rng)
    painter.sprite((x, trunk, z), width, height - trunk, crown, alpha, leaves, bright)


def hedge(painter: Painter, rng: Random, z: float, height: float, leaves: Ramp, bright: float) -> None:
    """A row of bushes or trees across the picture, overlapping."""
    x = -abs(z) * 1.2 - height
    while x < abs(z) * 1.2 + height:
        bush, alpha = sheets.bush(rng)
        tall = height * rng.uniform(0.6, 1.3)
        foot = (x, 0.0, z + rng.normal(0, 0.5))
        painter.sprite(foot, tall * rng.uniform(1, 1.9), tall, bush, alpha, leaves, bright * rng.uniform(0.75, 1.1))
        x += tall * rng.uniform(0.4, 0.8)


def pole(painter: Painter, rng: Random, x: float, z: float) -> None:
    """A lamp post or a post with a sign."""
    height, metal = rng.uniform(2.2, 6), ramp((40, 40, 40), (90, 90, 90), (190, 190, 190))
    painter.quad((x, 0, z), (0.09, 0, 0), (0, height, 0), texture(rng, "folds"), metal, repeat=(0.1, 1.01))
    if height < 3.2:
        size = rng.uniform(0.4, 0.8)
        painter.quad((x + 0.05 - size / 2, height - size, z + 0.02), (size, 0, 0), (0, size, 0), sheets.poster(rng))


def light(rng: Random, weather: Day) -> Light:
    """Of the sun or of the sky alone."""
    sky_rgb = (weather.horizon * 0.5 + weather.zenith * 0.5)[::-1] / 255
    sky_rgb = sky_rgb / max(float(sky_rgb.mean()), 1e-3)
    level = weather.bright * rng.uniform(0.85, 1.05)
    azimuth, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.5)
    direction = np.array([np.sin(azimuth), up, np.cos(azimuth)])
    if weather.sunny:
        evening = weather.horizon[2] > weather.horizon[0] + 30
        sun = np.array([1.0, 0.72, 0.45] if evening else [1.0, 0.96, 0.88])
        return simple(direction, sun * level * 0.85, sky_rgb * level * 0.5, sky_rgb * level * 0.25, 1.0)
    return simple(np.array([0.1, 1, 0.3]), sky_rgb * level * 0.15, sky_rgb * level * 0.85, sky_rgb * level * 0.45, 0.1)
