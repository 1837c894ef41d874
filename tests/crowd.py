"""A crowd before one camera, with known identities: people who walk across each other, stop, leave and come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pose_export.synthetic.labels import Figure
from pose_export.synthetic.motion import Motion, Pose, sample_clip
from pose_export.synthetic.rig import bone_transforms
from pose_export.synthetic.scene import figure, placed, turn
from pose_export.synthetic.simple_body import simple_character
from pose_export.synthetic.simple_motion import simple_motion
from pose_export.synthetic.surface import Character
from pose_export.synthetic.view import View
from pose_runtime.skeletons import SKELETONS

FPS = 25
HIDDEN, VISIBLE = 1, 2
_SHRINK = 4  # of the picture in which is looked up who hides whom


@dataclass(frozen=True)
class Truth:
    """Who is where in one frame: keypoints (N, 17, 3) x, y, 1 hidden or 2 visible; all of everybody, in the picture or
    not, with their ids (N,), and whether they can be told (N,): three keypoints or more are seen."""

    keypoints: np.ndarray
    ids: np.ndarray
    told: np.ndarray


@dataclass(frozen=True)
class Walker:
    """One person of a crowd; of each frame the place (x, z) in metres, the yaw and the pose."""

    character: Character
    places: np.ndarray
    yaws: np.ndarray
    poses: list[Pose]

    def transforms(self, frame: int) -> np.ndarray:
        pose, (x, z) = self.poses[frame], self.places[frame]
        still = bone_transforms(self.character, pose.quaternions, pose.lift)
        return placed(still, turn(float(self.yaws[frame])), np.array([x, 0, z], np.float32))


class Crowd:
    """People who go from place to place before a camera, `fps` pictures a second; some only stand, sit or wave.

    Args:
        seed: all follows from it.
        people: how many.
        seconds: for how long.
        size_wh: of the picture.
        depths: metres from the camera at which people are, least and most.
    """

    def __init__(
        self,
        seed: int,
        people: int,
        seconds: float,
        size_wh: tuple[int, int] = (1280, 720),
        depths: tuple[float, float] = (3, 9),
    ) -> None:
        rng = np.random.default_rng([7, seed])
        self.count = round(seconds * FPS)
        self.view = View(size_wh, 0.8 * size_wh[0], -0.1, 1.7)
        motion = simple_motion()
        self.walkers = [self._walker(rng, motion, depths, walks=i % 4 != 3) for i in range(people)]

    def _walker(self, rng: np.random.Generator, motion: Motion, depths: tuple[float, float], walks: bool) -> Walker:
        while True:
            poses = sample_clip(motion, rng, self.count, FPS)
            if (poses[0].family == "walk") == walks:
                break
        places, yaws = _way(rng, self.count, depths, walks)
        return Walker(simple_character(rng), places, yaws, poses)

    def figures(self, frame: int) -> list[Figure]:
        """Of everybody."""
        return [figure(w.character, w.transforms(frame), i) for i, w in enumerate(self.walkers, start=1)]

    def __iter__(self) -> Iterator[Truth]:
        for frame in range(self.count):
            yield truth(self.view, self.figures(frame))


def _way(
    rng: np.random.Generator, count: int, depths: tuple[float, float], walks: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Places (count, 2) and yaws (count,) of somebody who goes to one place after another, with rests."""
    spot = np.array(_somewhere(rng, depths))
    places, yaws = np.repeat(spot[None], count, axis=0), np.full(count, rng.uniform(-np.pi, np.pi))
    frame = 0
    while walks and frame < count:
        goal, speed = np.array(_somewhere(rng, depths)), rng.uniform(0.6, 1.8)
        way = goal - spot
        steps = int(np.linalg.norm(way) / speed * FPS) + 1
        for i in range(min(steps, count - frame)):
            places[frame + i] = spot + way * (i + 1) / steps
        yaws[frame:] = np.arctan2(way[0], way[1])
        spot, frame = goal, frame + steps
        places[frame:] = spot
        frame += int(rng.uniform(0, 2) * FPS * (rng.random() < 0.4))
    return places, yaws


def _somewhere(rng: np.random.Generator, depths: tuple[float, float]) -> tuple[float, float]:
    """x, z, metres: mostly in the picture, sometimes beside it."""
    depth = float(rng.uniform(*depths))
    return float(rng.uniform(-0.75, 0.75)) * depth, -depth


def truth(view: View, figures: list[Figure]) -> Truth:
    """Keypoints of everybody; who stands before whom is drawn with thick limbs."""
    keypoints = np.zeros((len(figures), 17, 3), np.float32)
    depths = np.zeros((len(figures), 17))
    for i, one in enumerate(figures):
        keypoints[i, :, :2], depths[i] = view.project(one.keypoints.astype(np.float64))
    width, height = view.size_wh
    owner = np.zeros((height // _SHRINK, width // _SHRINK), np.uint8)
    order = np.argsort(-depths.mean(axis=1))
    for i in order:
        _draw(owner, keypoints[i, :, :2] / _SHRINK, view.focal_px / depths[i].mean() / _SHRINK, int(i) + 1)
    column, row = (np.floor(keypoints[..., c] / _SHRINK).astype(int) for c in (0, 1))
    inside = (column >= 0) & (column < owner.shape[1]) & (row >= 0) & (row < owner.shape[0])
    before = owner[np.clip(row, 0, owner.shape[0] - 1), np.clip(column, 0, owner.shape[1] - 1)]
    rank = np.zeros(len(figures) + 1, int)
    rank[order + 1] = np.arange(len(figures))
    seen = inside & (rank[before] <= rank[np.arange(len(figures)) + 1][:, None])
    keypoints[..., 2] = np.where(seen, VISIBLE, np.where(inside, HIDDEN, 0))
    ids = np.array([one.owner for one in figures], np.int64)
    return Truth(keypoints, ids, seen.sum(axis=1) >= 3)


def _draw(owner: np.ndarray, xy: np.ndarray, px_per_m: float, number: int) -> None:
    """A person as trunk, head and limbs."""
    points = np.clip(xy, -4000, 4000).round().astype(np.int32)
    for a, b in SKELETONS["coco17"].limbs:
        thick = 0.12 if min(a, b) >= 5 else 0.05
        cv2.line(owner, points[a].tolist(), points[b].tolist(), number, max(1, round(thick * px_per_m)))
    cv2.fillConvexPoly(owner, points[[5, 6, 12, 11]], number)
    cv2.circle(owner, points[0].tolist(), max(1, round(0.1 * px_per_m)), number, -1)


def pictures(crowd: Crowd, seed: int = 0) -> Iterator[tuple[np.ndarray, Truth]]:
    """Rendered pictures (H, W, 3) BGR of the crowd in a room, with the truth of each; needs OpenGL."""
    from pose_export.synthetic.darkroom import develop
    from pose_export.synthetic.looks import choose_looks
    from pose_export.synthetic.people import SyntheticPeople
    from pose_export.synthetic.scene import Scene, dressed, touching
    from pose_export.synthetic.stage import Stage

    people = SyntheticPeople(Stage(count=1, seed=seed, size_wh=crowd.view.size_wh))
    try:
        rng = people.generator(3, seed)
        backdrop = people.backdrops.draw(rng, crowd.view, clear=10, kind="room")
        looks = [choose_looks(walker.character, rng) for walker in crowd.walkers]
        for frame in range(crowd.count):
            figures = crowd.figures(frame)
            drawables = [
                drawable
                for i, (walker, look) in enumerate(zip(crowd.walkers, looks, strict=True), start=1)
                for drawable in dressed(walker.character, look, walker.transforms(frame), i)
            ]
            contacts = np.concatenate([touching(one.outline) for one in figures])
            scene = Scene(view=crowd.view, drawables=drawables, figures=figures, contacts=contacts, nearest=3.0)
            yield develop(people.renderer, scene, backdrop, np.random.default_rng(0))[1], truth(crowd.view, figures)
    finally:
        people.close()
