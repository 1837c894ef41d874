"""Scenes by chance: who stands where, how they hold themselves, what is around them, and where the camera is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from pose_export.synthetic.cast import Cast
from pose_export.synthetic.furniture import Furniture
from pose_export.synthetic.handheld import Held
from pose_export.synthetic.labels import Figure
from pose_export.synthetic.looks import Look, choose_looks, thing
from pose_export.synthetic.props import furniture, handheld, seat
from pose_export.synthetic.render import THING, Drawable
from pose_export.synthetic.rig import posed_keypoints, skin
from pose_export.synthetic.surface import Character
from pose_export.synthetic.view import View

Floats = NDArray[np.float32]
Random = np.random.Generator

KINDS = 200
"""Different pieces of furniture, seats and things to hold; making one takes longer than drawing it."""


MAX_PEOPLE = 12
"""In one scene."""
LARGEST = 3.0
"""How tall somebody may be shown, in heights of the picture."""
Share = Annotated[float, Meta(ge=0, le=1)]
Shares = Annotated[tuple[Share, ...], Meta(min_length=1, max_length=MAX_PEOPLE + 1)]


class Direction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What scenes are like.

    Attributes:
        people: shares of scenes with 0, 1, 2 … people.
        tall: smallest and largest height of somebody 1.7 m tall who stands, as shares of the picture's height.
        close_up: share of scenes that show the first person larger than that, up to three times the picture.
        edge: share of scenes whose first person is at a side of the picture, and of those where the camera is tilted so
            that heads or feet are outside.
        holds: share of people who hold something.
        before, around: shares of scenes with furniture before somebody, and elsewhere.
    """

    people: Shares = (0.03, 0.32, 0.25, 0.18, 0.11, 0.06, 0.05)
    tall: tuple[float, float] = (0.17, 1.4)
    close_up: Share = 0.18
    edge: Share = 0.1
    holds: Share = 0.25
    before: Share = 0.35
    around: Share = 0.45

    def __post_init__(self) -> None:
        """Refuses with ValueError what the types alone let through."""
        if not sum(self.people) > 0:
            raise ValueError("people: wanted a share above 0")
        low, high = self.tall
        if not 0.02 <= low < high <= LARGEST:
            raise ValueError(f"tall: got {low} and {high}, wanted two growing heights from 0.02 to {LARGEST}")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that is in front of the backdrop.

    Attributes:
        view: the camera.
        drawables: people, what they hold, sit on and stand among.
        figures: one per person, for the labels.
        contacts: float32 (n, 4): x, z, radius, darkness of what touches the floor.
        nearest: metres from the camera to the nearest person's depth.
    """

    view: View
    drawables: list[Drawable]
    figures: list[Figure]
    contacts: Floats
    nearest: float


def sample_scene(cast: Cast, rng: Random, size_wh: tuple[int, int], direction: Direction) -> Scene:
    """A scene for one picture; the same generator state gives the same scene."""
    view, distance = sample_view(rng, size_wh, direction)
    shares = np.array(direction.people)
    count = int(rng.choice(len(shares), p=shares / shares.sum()))
    drawables: list[Drawable] = []
    figures: list[Figure] = []
    contacts: list[Floats] = []
    for owner, (x, z) in enumerate(places(rng, view, distance, count, direction), start=1):
        actor = cast.actor(rng)
        stood = placed(actor.transforms, turn(sample_yaw(rng)), np.array([x, 0, z], np.float32))
        if actor.pose.family == "sit":
            drawables += _seat(rng, actor.character, stood)
        drawables += dressed(actor.character, choose_looks(actor.character, rng), stood, owner)
        if rng.random() < direction.holds:
            drawables += held(actor.character, stood, rng)
        figures.append(figure(actor.character, stood, owner))
        contacts.append(touching(figures[-1].outline))
    drawables += _surroundings(rng, view, direction, [figure.keypoints.mean(0) for figure in figures])
    return Scene(
        view=view,
        drawables=drawables,
        figures=figures,
        contacts=np.concatenate(contacts) if contacts else np.zeros((0, 4), np.float32),
        nearest=distance,
    )


def sample_view(rng: Random, size_wh: tuple[int, int], direction: Direction) -> tuple[View, float]:
    """A camera, and the distance of the person that it was pointed at, metres."""
    width, height = size_wh
    fov = np.exp(rng.uniform(np.log(28), np.log(85)))
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    tall = np.exp(rng.uniform(*np.log(direction.tall))) * height  # pixels of somebody 1.7 m tall
    close = rng.random() < direction.close_up
    if close:
        tall = np.exp(rng.uniform(np.log(direction.tall[1]), np.log(LARGEST))) * height
    distance = float(np.clip(focal * 1.7 / tall, 0.55 if close else 1.2, 25))
    style = rng.choice(3, p=[0.6, 0.15, 0.25])
    level = (rng.uniform(1.1, 1.8), rng.uniform(0.3, 1.0), rng.uniform(1.9, 4.5))[style]
    level = float(min(level, 1.0 + 0.9 * distance))
    aim = rng.uniform(0.9, 1.6) if close else rng.uniform(0.4, 1.3)
    pitch = np.arctan2(aim - level, distance) + rng.normal(0, 0.04)
    if rng.random() < direction.edge:  # head or feet outside
        pitch += float(rng.choice([-1, 1])) * np.arctan2(rng.uniform(0.2, 0.5) * height, focal)
    pitch = float(np.clip(pitch, -1.1, 0.6))
    return View(size_wh, float(focal), pitch, level), distance


def sample_yaw(rng: Random) -> float:
    """Radians; 0 faces the camera. More often towards it than away."""
    return float(rng.normal(0, 0.7) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi))


def places(rng: Random, view: View, distance: float, count: int, direction: Direction) -> list[tuple[float, float]]:
    """Where `count` people stand, x and z; the first at `distance`. Some are left out where there is no room."""
    style = rng.choice(["row", "scatter", "close"], p=[0.3, 0.45, 0.25])
    found: list[tuple[float, float]] = []
    apart = 0.3 if style == "close" else 0.42
    side = float(rng.choice([-1, 1]))
    nearest = min(distance, view.focal_px * 1.7 / (direction.tall[1] * view.size_wh[1])) * 0.95
    furthest = max(distance, view.focal_px * 1.7 / (direction.tall[0] * view.size_wh[1]))
    first = float(rng.uniform(-0.02, 0.06)) if rng.random() < direction.edge else float(rng.uniform(0.15, 0.85))
    first = first if rng.random() < 0.5 else 1 - first
    for i in range(count):
        for _ in range(12):
            if i == 0:
                spot = _spot(view, first, distance)
            elif style == "row":
                x, z = found[-1 if rng.random() < 0.7 else 0]
                spot = x + side * rng.uniform(0.42, 0.85), z + rng.normal(0, 0.18)
                side = side if rng.random() < 0.8 else -side
            elif style == "close":
                x, z = found[int(rng.integers(len(found)))]
                angle, reach = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 0.75)
                spot = x + reach * np.cos(angle), z + reach * np.sin(angle)
            else:
                further = distance * float(np.exp(rng.uniform(-0.4, 1.0)))
                spot = _spot(view, float(rng.uniform(-0.05, 1.05)), further)
            if nearest <= -spot[1] <= furthest and all(np.hypot(spot[0] - x, spot[1] - z) > apart for x, z in found):
                found.append((float(spot[0]), float(spot[1])))
                break
    return found


def _spot(view: View, across: float, distance: float) -> tuple[float, float]:
    """The place `distance` ahead that is seen `across` (0 to 1) the picture."""
    return (across - 0.5) * view.size_wh[0] / view.focal_px * distance, -distance


def turn(yaw: float) -> Floats:
    """Rotation about y, (3, 3)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def placed(transforms: Floats, rotation: Floats, shift: Floats) -> Floats:
    """Transforms (B, 3, 4) followed by a rotation and a shift."""
    moved: Floats = np.einsum("ij,bjk->bik", rotation, transforms).astype(np.float32)
    moved[:, :, 3] += shift
    return moved


def dressed(character: Character, looks: list[Look], transforms: Floats, owner: int) -> list[Drawable]:
    """A posed person's surfaces, each with its look."""
    return [
        Drawable(surface=surface, look=look, transforms=transforms, owner=owner)
        for surface, look in zip(character.surfaces, looks, strict=True)
    ]


def figure(character: Character, transforms: Floats, owner: int) -> Figure:
    """What labels need to know of a posed person."""
    return Figure(
        owner=owner,
        keypoints=posed_keypoints(character, transforms),
        radii=character.radii,
        outline=skin(character.contacts, transforms),
    )


def touching(outline: Floats) -> Floats:
    """Where a body is near the floor: up to four spots, (n, 4): x, z, radius, darkness."""
    low = outline[outline[:, 1] < 0.12]
    spots: list[tuple[float, float, float, float]] = []
    while len(low) and len(spots) < 4:
        x, _, z = low[low[:, 1].argmin()]
        near = np.hypot(low[:, 0] - x, low[:, 2] - z) < 0.22
        middle = low[near].mean(0)
        spots.append((float(middle[0]), float(middle[2]), 0.17, 0.55))
        low = low[~near]
    return np.array(spots, np.float32).reshape(-1, 4)


def _seat(rng: Random, character: Character, transforms: Floats) -> list[Drawable]:
    """Something under whoever sits off the floor, as high as they sit."""
    keypoints = posed_keypoints(character, transforms)
    hips = keypoints[11:13].mean(0)
    top = float(hips[1]) - 0.085
    if not 0.25 < top < 0.75 or rng.random() < 0.12:
        return []
    below = _seats(int(rng.integers(KINDS)))
    tall = top / float(below.seat or 0.45)
    rotation = transforms[0, :, :3] @ character.aligned[0].T
    yaw = float(np.arctan2(rotation[0, 2], rotation[2, 2]))
    base = turn(yaw) @ np.diag([1, tall, 1]).astype(np.float32)
    return _things(below, base, np.array([hips[0], 0, hips[2]], np.float32), rng)


def _things(item: Furniture, rotation: Floats, shift: Floats, rng: Random) -> list[Drawable]:
    transform = np.concatenate([rotation, shift[:, None]], axis=1)[None].astype(np.float32)
    return [Drawable(surface=surface, look=thing(rng), transforms=transform, owner=THING) for surface in item.surfaces]


def held(character: Character, transforms: Floats, rng: Random) -> list[Drawable]:
    """Something in one hand, as the fingers would hold it."""
    side = int(rng.integers(2))
    bone = character.hand_bones[side]
    out_of_t_pose = transforms[bone, :, :3] @ character.aligned[bone].T
    # in the T-pose the thumb looks ahead (+z) and the palm down (-y)
    grip = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
    spot = transforms[bone, :, :3] @ character.hands[side] + transforms[bone, :, 3]
    palm = spot + out_of_t_pose @ np.array([0, -0.03, 0], np.float32)
    transform = np.concatenate([out_of_t_pose @ grip, palm[:, None]], axis=1)[None].astype(np.float32)
    return [
        Drawable(surface=surface, look=thing(rng), transforms=transform, owner=THING)
        for surface in _handheld(int(rng.integers(KINDS)))
    ]


def _surroundings(rng: Random, view: View, direction: Direction, people: list[Floats]) -> list[Drawable]:
    """Furniture in front of people, beside and behind them."""
    drawables: list[Drawable] = []
    if people and rng.random() < direction.before:
        x, _, z = people[int(rng.integers(len(people)))]
        share = rng.uniform(0.45, 0.88)
        x, z = share * x + rng.normal(0, 0.25), share * z
        if z < -0.7:
            drawables += _standing(rng, float(x), float(z), people, apart=0.55)
    if rng.random() < direction.around:
        for _ in range(int(rng.integers(1, 4))):
            away = float(np.exp(rng.uniform(np.log(2.0), np.log(9.0))))
            x, z = _spot(view, float(rng.uniform(0, 1)), away)
            drawables += _standing(rng, x, z, people, apart=0.7)
    return drawables


def _standing(rng: Random, x: float, z: float, people: list[Floats], *, apart: float) -> list[Drawable]:
    """A piece of furniture at a place; nothing where it would touch somebody."""
    if any(np.hypot(x - person[0], z - person[2]) <= apart for person in people):
        return []
    item = _furniture(int(rng.integers(KINDS)))
    return _things(item, turn(float(rng.uniform(-np.pi, np.pi))), np.array([x, 0, z], np.float32), rng)


@lru_cache(maxsize=KINDS)
def _furniture(number: int) -> Furniture:
    return furniture(np.random.default_rng([1, number]))


@lru_cache(maxsize=KINDS)
def _seats(number: int) -> Furniture:
    return seat(np.random.default_rng([2, number]))


@lru_cache(maxsize=KINDS)
def _handheld(number: int) -> Held:
    return handheld(np.random.default_rng([3, number]))
