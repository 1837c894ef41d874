"""Backdrops without a floor: posters, heaps of shapes, limb-like bars, studio paper and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops import sheets
from pose_export.synthetic.backdrops.base import Backdrop, Image, Random
from pose_export.synthetic.backdrops.textures import Texture, colour, fractal, texture, tint, warm
from pose_export.synthetic.light import Light, simple
from pose_export.synthetic.view import View

_NAMES = (
    "plaster", "concrete", "wood", "planks", "brick", "tiles", "stones", "carpet", "earth", "grass", "leaves", "weave",
    "marble", "stripes", "motifs", "folds", "checks",
)  # fmt: skip


def posters(rng: Random, view: View, clear: float) -> Backdrop:
    """A wall covered with posters, signs and writing."""
    del clear
    width, height = view.size_wh
    wall = _covered(rng, width, height)
    for _ in range(int(rng.integers(3, 14))):
        sheet = sheets.poster(rng)[0]
        size = rng.uniform(0.12, 0.6) * max(width, height)
        _stick(wall, sheet, rng.uniform(-0.1, 0.9, 2) * (width, height), size, rng.normal(0, 0.06), rng)
    if rng.random() < 0.5:
        sheets.write(wall, rng, int(rng.integers(1, 6)))
    return Backdrop(image=_uneven(wall, rng), light=_soft_light(rng), floor=False)


def heap(rng: Random, view: View, clear: float) -> Backdrop:
    """Textured shapes that hide each other, of all sizes: dead leaves (Lee, Mumford & Huang 2001)."""
    del clear
    width, height = view.size_wh
    picture = _covered(rng, width, height)
    count = int(rng.integers(25, 60))
    sizes = np.sort(1 / rng.uniform(1 / 0.5, 1 / 0.05, count))[::-1] * max(width, height)
    for size in sizes:
        _drop(picture, rng, rng.uniform(0, 1, 2) * (width, height), float(size))
    if rng.random() < 0.7:
        limbs(picture, rng, int(rng.integers(2, 12)))
    soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 1.2)))
    return Backdrop(image=_uneven(np.asarray(soft, np.uint8), rng), light=_soft_light(rng), floor=False)


def bars(rng: Random, view: View, clear: float) -> Backdrop:
    """Tubes, poles and chains of tapering pieces in the colours of skin and cloth: like limbs, yet nobody's."""
    del clear
    width, height = view.size_wh
    picture = _covered(rng, width, height)
    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1, 6))), np.uint8)
    limbs(picture, rng, int(rng.integers(6, 30)))
    return Backdrop(image=_uneven(np.asarray(picture, np.uint8), rng), light=_soft_light(rng), floor=False)


def studio(rng: Random, view: View, clear: float) -> Backdrop:
    """Paper that sweeps from the wall to the floor."""
    del clear
    width, height = view.size_wh
    paint = np.full(3, rng.uniform(120, 255)) if rng.random() < 0.5 else colour(rng, value=(0.1, 1), vivid=0.4)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cx, cy = rng.uniform(0.2, 0.8) * width, rng.uniform(0.1, 0.7) * height
    fall = np.exp(-(((x - cx) / width) ** 2 + ((y - cy) / height) ** 2) * rng.uniform(0, 1.6))
    bend = np.clip((y - view.horizon - rng.uniform(0.05, 0.4) * height) / (0.12 * height), 0, 1)
    shade = fall * (1 + (rng.uniform(0.85, 1.15) - 1) * bend)
    grain = (_spread(texture(rng, "concrete"), width, height)[..., None] - 175.0) * rng.uniform(0, 0.4)
    image = np.clip(shade[..., None] * paint.astype(np.float32) + grain, 0, 255).astype(np.uint8)
    return Backdrop(image=image, light=_soft_light(rng), floor=bool(rng.random() < 0.7))


def noise(rng: Random, view: View, clear: float) -> Backdrop:
    """Fractal noise in colours: no shape at all."""
    del clear
    width, height = view.size_wh
    exponent = float(rng.uniform(0.6, 2.2))
    layers = np.stack([fractal(rng, exponent, side=128) for _ in range(3)], axis=2)
    mixed = layers @ rng.normal(0, 1, (3, 3)).astype(np.float32) * rng.uniform(10, 45)
    picture = cv2.resize(mixed.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.clip(picture + colour(rng, value=(0.2, 0.8)).astype(np.float32), 0, 255).astype(np.uint8)
    return Backdrop(image=image, light=_soft_light(rng), floor=False)


def limbs(picture: NDArray[np.uint8], rng: Random, count: int) -> None:
    """Shaded tubes, in place: straight, or bent two or three times, some of them tapering."""
    height, width = picture.shape[:2]
    scale = max(height, width)
    for _ in range(count):
        at = rng.uniform(0, 1, 2) * (width, height)
        angle, thick = rng.uniform(0, 2 * np.pi), float(rng.uniform(0.006, 0.055)) * scale
        paint = _flesh(rng) if rng.random() < 0.4 else colour(rng)
        for _ in range(int(rng.integers(1, 4))):
            end = at + np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.08, 0.5) * scale
            thin = thick * rng.uniform(0.6, 1.0)
            _tube(picture, at, end, (thick, thin), paint)
            at, thick, angle = end, thin, angle + rng.normal(0, 0.9)


def _flesh(rng: Random) -> NDArray[np.float64]:
    return np.array([110.0, 145, 200]) * rng.uniform(0.3, 1.2)


def _tube(
    picture: NDArray[np.uint8],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    radii: tuple[float, float],
    paint: NDArray[np.float64],
) -> None:
    """One tapering piece, lit from the upper left, round at both ends."""
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
    across = np.array([-along[1], along[0]])
    if across @ (-0.5, -0.8) < 0:
        across = -across
    for step in np.linspace(0, 1, 5):
        shade = tuple(np.minimum(paint * (0.5 + 0.65 * step), 255).tolist())
        r = [radius * (1 - 0.85 * step) for radius in radii]
        pa, pb = a + across * radii[0] * step * 0.45, b + across * radii[1] * step * 0.45
        quad = np.array([pa + across * r[0], pb + across * r[1], pb - across * r[1], pa - across * r[0]])
        cv2.fillConvexPoly(picture, np.rint(quad * 16).astype(np.int32), shade, cv2.LINE_AA, 4)
        for p, radius in ((pa, r[0]), (pb, r[1])):
            centre = int(p[0] * 16), int(p[1] * 16)
            cv2.circle(picture, centre, max(1, int(radius * 16)), shade, -1, cv2.LINE_AA, 4)


def _covered(rng: Random, width: int, height: int) -> NDArray[np.uint8]:
    """A surface of one material."""
    paint = warm(rng) if rng.random() < 0.4 else colour(rng)
    grey = _spread(texture(rng, str(rng.choice(_NAMES))), width, height)
    return np.asarray(cv2.applyColorMap(grey, tint(paint, float(rng.uniform(0.4, 1.0)))), np.uint8)


def _spread(levels: Texture, width: int, height: int) -> NDArray[np.uint8]:
    """A grey texture over the whole picture, repeated as needed."""
    grey = levels[0]
    return np.ascontiguousarray(
        np.tile(grey, (-(-height // grey.shape[0]), -(-width // grey.shape[1])))[:height, :width]
    )


def _stick(
    wall: NDArray[np.uint8], sheet: NDArray[np.uint8], at: NDArray[np.float64], size: float, turn: float, rng: Random
) -> None:
    """A sheet on the wall, a little turned, with its shadow."""
    factor = size / max(sheet.shape[:2])
    c, s = factor * np.cos(turn), factor * np.sin(turn)
    matrix = np.array([[c, -s, at[0]], [s, c, at[1]]])
    width_height = wall.shape[1], wall.shape[0]
    shape = np.full(sheet.shape[:2], 255, np.uint8)
    mask = cv2.warpAffine(shape, matrix, width_height, flags=cv2.INTER_LINEAR)
    shadow = cv2.blur(np.roll(mask, 3, axis=(0, 1)), (7, 7))
    wall[:] = cv2.multiply(wall, cv2.merge([255 - shadow // 3] * 3), scale=1 / 255)
    laid = cv2.warpAffine(sheet, matrix, width_height, flags=cv2.INTER_AREA)
    cv2.copyTo(cv2.convertScaleAbs(laid, alpha=float(rng.uniform(0.7, 1.05))), mask, wall)


def _drop(picture: NDArray[np.uint8], rng: Random, at: NDArray[np.float64], size: float) -> None:
    """One textured shape with a lit and a dark side, in place."""
    height, width = picture.shape[:2]
    n = int(rng.integers(3, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n)) if rng.random() < 0.5 else np.linspace(0, 2 * np.pi, 24)
    reach = size * (rng.uniform(0.5, 1, len(angles)) if len(angles) < 24 else np.ones(24))
    squeeze, turn = rng.uniform(0.3, 1), rng.uniform(0, np.pi)
    points = np.stack([np.cos(angles) * reach, np.sin(angles) * reach * squeeze], axis=1)
    c, s = np.cos(turn), np.sin(turn)
    points = points @ np.array([[c, s], [-s, c]]) + at
    low = np.maximum(points.min(axis=0).astype(int) - 1, 0)
    high = np.minimum(points.max(axis=0).astype(int) + 2, (width, height))
    if (high - low < 2).any():
        return
    w, h = (int(v) for v in high - low)
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [np.rint((points - low) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    skin = _covered(rng, w, h)
    slope = np.linspace(-1, 1, w)[None] * rng.normal(0, 0.25) + np.linspace(-1, 1, h)[:, None] * rng.normal(0, 0.25) + 1
    skin = np.asarray(cv2.multiply(skin, cv2.merge([slope.astype(np.float32)] * 3), dtype=cv2.CV_8U), np.uint8)
    part = picture[low[1] : high[1], low[0] : high[0]]
    opaque = mask.astype(np.float32) * np.float32(1 / 255)
    part[:] = cv2.blendLinear(skin, np.ascontiguousarray(part), opaque, 1 - opaque)


def _uneven(picture: Image, rng: Random) -> Image:
    """Light that falls off to one side."""
    height, width = picture.shape[:2]
    gx, gy = rng.uniform(-0.35, 0.35, 2)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    gain = cv2.resize((1 + gx * x + gy * y).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(picture, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)


def _soft_light(rng: Random) -> Light:
    level, share, warmth = rng.uniform(0.6, 1.0), rng.uniform(0.1, 0.7), rng.normal(0.03, 0.08)
    rgb = np.array([1 + warmth, 1, 1 - warmth]) * level
    direction = np.array([rng.normal(0, 0.8), rng.uniform(0.2, 1.2), rng.uniform(0.2, 1.0)])
    return simple(direction, rgb * share, rgb * (1 - share), rgb * (1 - share) * rng.uniform(0.4, 0.9), float(share))
