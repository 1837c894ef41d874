"""Videos of synthetic people: the same people in the same clothes, moving smoothly, before one camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_export.files import check_folder
from pose_export.synthetic.darkroom import develop
from pose_export.synthetic.labels import Labels, label
from pose_export.synthetic.looks import choose_looks
from pose_export.synthetic.motion import Pose, sample_clip
from pose_export.synthetic.people import SyntheticPeople
from pose_export.synthetic.rig import bone_transforms
from pose_export.synthetic.scene import Scene, dressed, figure, placed, sample_yaw, touching, turn
from pose_export.synthetic.stage import Stage
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError
from pose_runtime.sinks.save import VIDEO_SUFFIXES

FPS = 25
SPREAD = 1.1
"""Metres between people who stand in a row."""
ROAM = 1.2
TRIES = 12


def frames(people: SyntheticPeople, count: int, company: int) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
    """`count` pictures at `FPS` of `company` people who move; `Labels.ids` say who is who."""
    rng = people.generator(2, 0)
    width, height = people.stage.size_wh
    distance = 2.6 + 0.9 * company
    view = View((width, height), 0.95 * max(width, height), -0.06, 1.35)
    backdrop = people.backdrops.draw(rng, view, clear=distance + 3, kind="room")
    characters = [people.make_character(rng) for _ in range(company)]
    looks = [choose_looks(character, rng) for character in characters]
    clips = [_nearby(people, rng, count) for _ in characters]
    yaws = [sample_yaw(rng) for _ in characters]
    places = [(SPREAD * (i - (company - 1) / 2), -distance + rng.uniform(-0.5, 0.5)) for i in range(company)]
    for i in range(count):
        drawables, figures, contacts = [], [], []
        for owner, (character, clip) in enumerate(zip(characters, clips, strict=True), start=1):
            pose, yaw, (x, z) = clip[i], turn(yaws[owner - 1]), places[owner - 1]
            walked = yaw @ np.array([pose.travel[0], 0, pose.travel[1]], np.float32)
            shift = np.array([x, 0, z], np.float32) + walked
            stood = placed(bone_transforms(character, pose.quaternions, pose.lift), yaw, shift)
            drawables += dressed(character, looks[owner - 1], stood, owner)
            figures.append(figure(character, stood, owner))
            contacts.append(touching(figures[-1].outline))
        scene = Scene(
            view=view, drawables=drawables, figures=figures, contacts=np.concatenate(contacts), nearest=distance
        )
        rendering, image = develop(people.renderer, scene, backdrop, np.random.default_rng(0))
        yield image, label(view, rendering, figures)


def _nearby(people: SyntheticPeople, rng: np.random.Generator, count: int) -> list[Pose]:
    """A clip in which nobody walks further than `ROAM` from where they began; the best of some."""
    tries = [sample_clip(people.motion, rng, count, FPS, people.stage.split) for _ in range(TRIES)]
    reach = [max(float(np.abs(pose.travel).max()) for pose in clip) for clip in tries]
    return next((clip for clip, far in zip(tries, reach, strict=True) if far < ROAM), tries[int(np.argmin(reach))])


def write_clip(
    path: Path, stage: Stage, assets: Path | None, backgrounds: Path | None, *, seconds: float, people: int
) -> None:
    """A clip as H.264 in the container that the file's name asks for; needs PyAV.

    Raises:
        ExportError: as `SyntheticPeople`; PyAV is missing, a name that is no video's.
        SinkError: a file that cannot be written.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ExportError(f"{path}: wanted a name that ends in {', '.join(VIDEO_SUFFIXES)}")
    check_folder(path)
    try:
        from pose_runtime.video import VideoWriter
    except ImportError as error:
        raise ExportError(f"{error.name or error} is missing; pip install 'jetpose[live]'") from error
    writer = VideoWriter(path, float(FPS))
    try:
        company = SyntheticPeople(stage, assets, backgrounds)
        try:
            for i, (image, _) in enumerate(frames(company, max(1, round(seconds * FPS)), people)):
                writer.write(image, i, i / FPS)
        finally:
            company.close()
        writer.close()
    finally:
        writer.abandon()  # what is closed stays
