"""Synthetic photographs of people, without end: number i is always the same one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from pose_export.synthetic.backdrop import Backdrops
from pose_export.synthetic.body import make_character
from pose_export.synthetic.camera_effects import photograph
from pose_export.synthetic.cast import Cast
from pose_export.synthetic.darkroom import develop
from pose_export.synthetic.labels import label
from pose_export.synthetic.makehuman import open_assets
from pose_export.synthetic.motion import Motion, open_motion, sample_pose
from pose_export.synthetic.render import THING, Renderer
from pose_export.synthetic.scene import sample_scene
from pose_export.synthetic.simple_body import simple_character
from pose_export.synthetic.simple_motion import simple_motion
from pose_export.synthetic.stage import Stage
from pose_export.synthetic.surface import Character
from pose_export.training.record import Record
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS

CAST_SIZE = 16
SCENES_PER_CAST = 48
"""Consecutive scenes share their characters; colours, poses and all else differ."""

Random = np.random.Generator


class SyntheticPeople:
    """The photographs of a stage.

    Args:
        stage: which.
        assets: a folder with makehuman/, motion/ and, if wanted, backgrounds/; None takes simple bodies and motion
            made here.
        backgrounds: the user's own pictures without people.

    Raises:
        ExportError: assets that cannot be used, or no OpenGL.
    """

    def __init__(self, stage: Stage, assets: Path | None = None, backgrounds: Path | None = None) -> None:
        self.stage = stage
        self.motion, self.make_character = _company(stage, assets)
        panoramas = None if assets is None else assets / "backgrounds"
        self.backdrops = Backdrops(
            panoramas=panoramas if panoramas is not None and panoramas.is_dir() else None,
            folder=backgrounds,
            held_out=stage.split == "validation",
        )
        self.renderer = Renderer(stage.size_wh)
        self._cast: tuple[int, Cast] | None = None

    def close(self) -> None:
        """Release the renderer."""
        self.renderer.close()

    def __getitem__(self, index: int) -> Record:
        """Photograph number `index`, from 0, and its labels."""
        stage = self.stage
        rng = self.generator(1, index)
        scene = sample_scene(self._cast_of(index // SCENES_PER_CAST), rng, stage.size_wh, stage.direction)
        backdrop = self.backdrops.draw(rng, scene.view, clear=scene.nearest + 1.5)
        rendering, image = develop(self.renderer, scene, backdrop, rng)
        labels = label(scene.view, rendering, scene.figures)
        people = np.where(rendering.owner == THING, 0, rendering.owner)
        return Record(
            name=f"synthetic {stage.split} {stage.seed}/{index}",
            image=photograph(image, rng, quality=float(rng.beta(3.2, 1.2)), people=people),
            keypoints=labels.keypoints,
            boxes=labels.boxes,
            areas=labels.areas,
            ids=labels.ids,
            ignored=labels.ignored,
            skeleton=SKELETONS["coco17"],
        )

    def generator(self, *stream: int) -> Random:
        """Random numbers that depend on the stage's seed and split, and on `stream`, alone."""
        return np.random.default_rng([self.stage.seed, self.stage.split == "validation", *stream])

    def _cast_of(self, number: int) -> Cast:
        if self._cast is None or self._cast[0] != number:
            rng = self.generator(0, number)
            characters = tuple(self.make_character(rng) for _ in range(CAST_SIZE))
            self._cast = number, Cast(characters, partial(sample_pose, self.motion, split=self.stage.split))
        return self._cast[1]


def _company(stage: Stage, assets: Path | None) -> tuple[Motion, Callable[[Random], Character]]:
    """Motion, and what makes characters."""
    if assets is None:
        return simple_motion(), simple_character
    if not (assets / "makehuman").is_dir() or not (assets / "motion").is_dir():
        raise ExportError(f"{assets}: wanted a folder with makehuman/ and motion/")
    wardrobe = open_assets(assets / "makehuman")
    return open_motion(assets / "motion"), lambda rng: make_character(wardrobe, rng, stage.split)
