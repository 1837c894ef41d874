"""Synthetic photographs of people, without end: number i is always the same one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrop import Backdrops
from pose_export.synthetic.body import make_character
from pose_export.synthetic.camera_effects import photograph
from pose_export.synthetic.cast import Cast
from pose_export.synthetic.labels import label
from pose_export.synthetic.light import Light
from pose_export.synthetic.makehuman import open_assets
from pose_export.synthetic.motion import open_motion, sample_pose
from pose_export.synthetic.render import Floor, Renderer, Rendering
from pose_export.synthetic.scene import Scene, sample_scene
from pose_export.synthetic.split import Split
from pose_export.training.record import Record
from pose_runtime.skeletons import SKELETONS

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

CAST_SIZE = 16
SCENES_PER_CAST = 48
"""Consecutive scenes share their characters; colours, poses and all else differ."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where synthetic people come from.

    Attributes:
        assets: a folder with makehuman/, motion/ and backgrounds/.
        backgrounds: the user's own pictures without people.
        seed: all else follows from it.
        split: "validation" holds back clothes, hair, motion and backdrops that "train" never shows.
        size_wh: of the pictures.
    """

    assets: Path
    backgrounds: Path | None = None
    seed: int = 0
    split: Split = "train"
    size_wh: tuple[int, int] = (384, 384)


class SyntheticPeople:
    """An endless sequence of Records."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._assets = open_assets(stage.assets / "makehuman")
        self._motion = open_motion(stage.assets / "motion")
        self._backdrops = Backdrops(
            panoramas=stage.assets / "backgrounds",
            folder=stage.backgrounds,
            held_out=stage.split == "validation",
        )
        self._renderer = Renderer(stage.size_wh)
        self._cast: tuple[int, Cast] | None = None

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    def __getitem__(self, index: int) -> Record:
        """Photograph number `index` and its labels."""
        stage = self.stage
        rng = self._generator(1, index)
        scene = sample_scene(self._cast_of(index // SCENES_PER_CAST), rng, stage.size_wh)
        backdrop = self._backdrops.draw(rng, scene.view, clear=scene.nearest + 1.5)
        rendering, image = develop(self._renderer, scene, backdrop.image, backdrop.light, backdrop.floor, rng)
        labels = label(scene.view, rendering, scene.figures)
        return Record(
            name=f"synthetic {stage.split} {stage.seed}/{index}",
            image=photograph(
                image,
                rng,
                quality=float(rng.beta(3.2, 1.2)),
                people=np.where(rendering.owner == 255, 0, rendering.owner),
            ),
            keypoints=labels.keypoints,
            boxes=labels.boxes,
            areas=labels.areas,
            ids=labels.ids,
            ignored=labels.ignored,
            skeleton=SKELETONS["coco17"],
        )

    def _generator(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.stage.seed, self.stage.split == "validation", *stream])

    def _cast_of(self, number: int) -> Cast:
        if self._cast is None or self._cast[0] != number:
            rng = self._generator(0, number)
            split = self.stage.split
            characters = tuple(make_character(self._assets, rng, split) for _ in range(CAST_SIZE))
            poses = partial(sample_pose, self._motion, split=split)
            self._cast = number, Cast(characters, poses)
        return self._cast[1]


def develop(
    renderer: Renderer, scene: Scene, backdrop: Image, light: Light, floor: bool, rng: np.random.Generator
) -> tuple[Rendering, Image]:
    """The scene before its backdrop, as an uint8 picture (B, G, R)."""
    ground = Floor(strength=0.25 + 0.55 * light.hardness * float(rng.uniform(0.5, 1)), contacts=scene.contacts)
    rendering = renderer.render(scene.view, scene.drawables, light, ground if floor else None)
    alpha = rendering.colour[:, :, 3:]
    colour = rendering.colour[:, :, 2::-1] / np.maximum(alpha, 1e-4)
    shown = srgb(colour * crevices(rendering.depth, scene.view.focal_px)[..., None])
    image = 255 * shown * alpha + backdrop * (1 - alpha)
    return rendering, np.clip(image + 0.5, 0, 255).astype(np.uint8)


def srgb(colour: Floats) -> Floats:
    """Linear light as it is shown, 0 to 1; highlights roll off from 0.8."""
    shown: Floats = _SHOWN[np.minimum(np.maximum(colour, 0) * 1023, 2047).astype(np.int32)]
    return shown


def _table() -> Floats:
    light = np.arange(2048) / 1023
    rolled = np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.35), light)
    return np.where(rolled < 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055).astype(np.float32)


_SHOWN = _table()


def crevices(depth: Floats, focal_px: float) -> Floats:
    """How much sky light reaches each pixel: less where a surface lies behind its surroundings. (H, W), 0.5 to 1."""
    solid = np.isfinite(depth)
    if not solid.any():
        return np.ones_like(depth)
    metres = np.where(solid, depth, 0).astype(np.float32)
    radius = float(np.clip(0.10 * focal_px / np.median(depth[solid]), 1.0, 24.0))
    weight = cv2.blur(solid.astype(np.float32), (2 * int(radius) + 1,) * 2)
    around = cv2.blur(metres, (2 * int(radius) + 1,) * 2) / np.maximum(weight, 1e-3)
    behind = np.where(solid, metres - around, 0)
    return (1 - np.clip(behind / 0.12, 0, 0.45)).astype(np.float32)
