"""From light to a picture: a rendered scene before its backdrop."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops.base import Backdrop
from pose_export.synthetic.render import Floor, Renderer, Rendering
from pose_export.synthetic.scene import Scene

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def develop(renderer: Renderer, scene: Scene, backdrop: Backdrop, rng: np.random.Generator) -> tuple[Rendering, Image]:
    """The scene before its backdrop, as an uint8 picture (B, G, R), and what is known of each pixel."""
    ground = Floor(strength=0.25 + 0.55 * backdrop.light.hardness * float(rng.uniform(0.5, 1)), contacts=scene.contacts)
    rendering = renderer.render(scene.view, scene.drawables, backdrop.light, ground if backdrop.floor else None)
    alpha = rendering.colour[:, :, 3:]
    colour = np.asarray(rendering.colour[:, :, 2::-1] / np.maximum(alpha, 1e-4), np.float32)
    shown = srgb(colour * crevices(rendering.depth, scene.view.focal_px)[..., None])
    image = 255 * shown * alpha + backdrop.image * (1 - alpha)
    return rendering, np.clip(image + 0.5, 0, 255).astype(np.uint8)


def srgb(colour: Floats) -> Floats:
    """Linear light as it is shown, 0 to 1; highlights roll off from 0.8, and NaN is black."""
    shown: Floats = _SHOWN[np.fmin(np.fmax(colour, 0) * 1023, 2047).astype(np.int32)]
    return shown


def _table() -> Floats:
    light = np.arange(2048) / 1023
    rolled = np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.35), light)
    return np.where(rolled < 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055).astype(np.float32)


_SHOWN = _table()


def crevices(depth: Floats, focal_px: float) -> Floats:
    """How much sky light reaches each pixel: less where a surface lies behind its surroundings. (H, W), 0.55 to 1.

    The shading of Luft, Colditz and Deussen, "Image Enhancement by Unsharp Masking the Depth Buffer", 2006.
    """
    solid = np.isfinite(depth)
    if not solid.any():
        return np.ones_like(depth)
    metres = np.where(solid, depth, 0).astype(np.float32)
    side = 2 * int(np.clip(0.10 * focal_px / np.median(depth[solid]), 1, 24)) + 1
    weight = cv2.blur(solid.astype(np.float32), (side, side))
    around = cv2.blur(metres, (side, side)) / np.maximum(weight, 1e-3)
    behind = np.where(solid, metres - around, 0)
    return (1 - np.clip(behind / 0.12, 0, 0.45)).astype(np.float32)
