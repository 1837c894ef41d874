"""Colours and fabrics of people and things, chosen at random the way people look and dress."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.surface import Character, Surface, Traits

Floats = NDArray[np.float32]
Generator = np.random.Generator

Material = Literal["skin", "eye", "hair", "cloth", "shoe", "plain"]
MATERIALS: tuple[Material, ...] = ("skin", "eye", "hair", "cloth", "shoe", "plain")

FABRICS = (
    "plain", "stripes", "checks", "tartan", "dots", "print", "camouflage", "denim", "emblem", "gradient", "blocks",
    "melange",
)  # fmt: skip
"""What `shade.frag` can weave; their places are its numbers."""


def _none(rows: int, columns: int) -> Floats:
    return np.zeros((rows, columns), np.float32)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one surface is coloured; the meaning of the numbers is `shade.frag`'s.

    Attributes:
        material: what it is made of.
        colours: float32 (8, 3), linear R, G, B.
        pattern: float32 (4, 4), per part of a garment: place in FABRICS, size in metres, angle, contrast.
        seed: shifts the noise.
        folds: strength of the folds, 0 to 1.
        gloss: strength of the shine, 0 to 1.
        cut: share of hair strips that are gaps.
        centre: float32 (3,), a place at rest that the material needs.
    """

    material: Material
    colours: Floats = field(default_factory=lambda: _none(8, 3))
    pattern: Floats = field(default_factory=lambda: _none(4, 4))
    seed: float = 0.0
    folds: float = 0.0
    gloss: float = 0.1
    cut: float = 0.0
    centre: Floats = field(default_factory=lambda: np.zeros(3, np.float32))


def linear(colour: object) -> Floats:
    """sRGB, 0 to 1, as linear light."""
    c = np.clip(np.asarray(colour, np.float64), 0, 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def hsv(hue: float, saturation: float, value: float) -> Floats:
    """Linear R, G, B of hue, saturation and value, 0 to 1 each."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return linear(value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


# sRGB of untanned skin from light to dark; a person lies between two of them.
_SKIN = np.array(
    [
        [0.93, 0.79, 0.71],
        [0.87, 0.69, 0.58],
        [0.79, 0.58, 0.45],
        [0.66, 0.46, 0.34],
        [0.49, 0.33, 0.25],
        [0.31, 0.21, 0.17],
    ]
)
_HAIR = {
    "black": (0.06, 0.05, 0.05), "dark": (0.13, 0.09, 0.07), "brown": (0.26, 0.17, 0.11), "light": (0.42, 0.30, 0.19),
    "blond": (0.70, 0.56, 0.35), "red": (0.48, 0.22, 0.11), "grey": (0.55, 0.54, 0.52), "white": (0.83, 0.82, 0.80),
}  # fmt: skip
_IRIS = ((0.22, 0.13, 0.07), (0.30, 0.20, 0.10), (0.35, 0.42, 0.50), (0.35, 0.42, 0.28), (0.12, 0.08, 0.06))


def skin_tone(traits: Traits, rng: Generator) -> Floats:
    """Linear R, G, B; darker with African ancestry, redder or yellower by chance."""
    place = 0.7 * traits.caucasian + 1.5 * traits.asian + 4.0 * traits.african + rng.normal(0, 0.55)
    place = float(np.clip(place, 0, len(_SKIN) - 1.001))
    low = int(place)
    tone = _SKIN[low] + (place - low) * (_SKIN[low + 1] - _SKIN[low])
    return linear(tone * rng.normal(1.0, 0.03, 3) * rng.normal(1.0, 0.05))


def hair_colour(traits: Traits, rng: Generator) -> Floats:
    """Linear R, G, B; greyer with age, seldom dyed."""
    if rng.random() < 0.03:
        return hsv(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.8))
    if rng.random() < np.clip((traits.age - 38) / 45, 0, 0.9):
        return linear(_HAIR[str(rng.choice(["grey", "white", "grey"]))])
    names = list(_HAIR)[:6]
    fair = traits.caucasian
    shares = np.array([1.6 - fair, 1.5, 0.5 + fair, 0.9 * fair, 0.9 * fair, 0.2 * fair]).clip(0.01)
    return linear(np.array(_HAIR[str(rng.choice(names, p=shares / shares.sum()))]) * rng.uniform(0.75, 1.25))


def cloth_colour(rng: Generator) -> Floats:
    """Linear R, G, B as clothes have them: many dark, white, grey and blue ones, some bright."""
    kind = rng.choice(5, p=[0.26, 0.16, 0.20, 0.22, 0.16])
    if kind == 0:  # black, charcoal, navy
        return hsv(rng.uniform(0.55, 0.7), rng.uniform(0, 0.45), rng.uniform(0.06, 0.26))
    if kind == 1:  # white, cream
        return hsv(rng.uniform(0.05, 0.18), rng.uniform(0, 0.10), rng.uniform(0.82, 0.97))
    if kind == 2:  # greys, beige, khaki, brown
        return hsv(rng.uniform(0.05, 0.17), rng.uniform(0, 0.45), rng.uniform(0.28, 0.78))
    if kind == 3:  # bright
        return hsv(rng.random(), rng.uniform(0.55, 0.95), rng.uniform(0.35, 0.92))
    return hsv(rng.random(), rng.uniform(0.15, 0.5), rng.uniform(0.45, 0.92))  # pastel


def _denim(rng: Generator) -> tuple[Floats, Floats]:
    hue, value = rng.uniform(0.57, 0.64), rng.uniform(0.12, 0.6)
    return hsv(hue, rng.uniform(0.35, 0.7), value), hsv(hue, 0.25, min(1.0, value + 0.3))


def _weave(rng: Generator, *, upper: bool) -> tuple[list[Floats], Floats]:
    """Three colours and a row of `pattern` for one part of a garment."""
    colours = [cloth_colour(rng) for _ in range(3)]
    if upper:
        shares = [0.40, 0.11, 0.05, 0.06, 0.03, 0.08, 0.02, 0.03, 0.12, 0.02, 0.04, 0.04]
    else:
        shares = [0.52, 0.02, 0.02, 0.03, 0.01, 0.04, 0.03, 0.29, 0.0, 0.01, 0.01, 0.02]
    kind = int(rng.choice(len(FABRICS), p=np.array(shares) / sum(shares)))
    name = FABRICS[kind]
    size = float(np.exp(rng.uniform(np.log(0.025), np.log(0.12))))
    angle = float(rng.choice([0.0, np.pi / 2], p=[0.7, 0.3])) if name in ("stripes", "checks", "tartan") else 0.0
    if name == "denim":
        colours[0], colours[1] = _denim(rng)
    if name == "emblem":
        size, angle = float(rng.uniform(0.05, 0.13)), float(rng.uniform(0, 3))
    if name == "gradient":
        size = float(rng.uniform(0.1, 0.3))
    if name in ("print", "camouflage"):
        size = float(rng.uniform(0.03, 0.16))
    return colours, np.array([kind, size, angle, rng.uniform(0.45, 1.0)], np.float32)


def dress(surface: Surface, rng: Generator) -> Look:
    """A garment of up to three parts."""
    upper, row0 = _weave(rng, upper=True)
    lower, row1 = _weave(rng, upper=False)
    accent, row2 = _weave(rng, upper=False)
    if rng.random() < 0.12:  # a suit, an overall
        lower, row1 = upper, row0
    colours = np.stack([*upper, *lower, *accent[:2]])
    pattern = np.stack([row0, row1, row2, row2])
    pattern[2:, 0] = 0
    folds = float(rng.uniform(0.25, 0.75))
    if "elegant" in surface.name:  # suits shine a little and fold less
        folds *= 0.6
    return Look(
        material="cloth",
        colours=colours,
        pattern=pattern,
        seed=float(rng.uniform(0, 90)),
        folds=folds,
        gloss=float(rng.choice([0.02, 0.06, 0.3], p=[0.6, 0.3, 0.1])),
    )


def _skin(character: Character, rng: Generator, hair: Floats) -> Look:
    traits = character.traits
    tone = skin_tone(traits, rng)
    flushed = tone * np.array([1.08, 0.80, 0.78], np.float32)
    lips = tone * np.array([0.88, 0.58, 0.58], np.float32)
    if traits.male < 0.5 and rng.random() < 0.3:  # lipstick
        lips = hsv(rng.uniform(-0.04, 0.02) % 1, rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.8))
    grown = traits.male > 0.5 and traits.age > 18
    beard = float(rng.choice([0.12, 0.45, 0.95], p=[0.6, 0.22, 0.18])) if grown else 0.0
    colours = np.zeros((8, 3), np.float32)
    colours[:4] = tone, flushed, lips, hair
    colours[4] = beard, traits.scalp_hair, rng.uniform(0.5, 0.95)
    eyes = character.keypoints[1:3].mean(0)
    return Look(
        material="skin",
        colours=colours,
        seed=float(rng.uniform(0, 90)),
        gloss=float(rng.uniform(0.15, 0.5)),
        centre=np.array([0.0, eyes[1], eyes[2]], np.float32),
    )


def _eyes(surface: Surface, rng: Generator, dark: float) -> Look:
    left = surface.positions[surface.positions[:, 0] > 0]
    low, high = left.min(0), left.max(0)
    colours = np.zeros((8, 3), np.float32)
    colours[0] = linear((0.80, 0.78, 0.76))
    colours[1] = linear(_IRIS[0] if rng.random() < dark else _IRIS[int(rng.integers(len(_IRIS)))])
    centre = (low + high) / 2
    centre[2] = (high - low)[1] / 2
    return Look(material="eye", colours=colours, gloss=0.6, centre=centre.astype(np.float32))


def _hair(surface: Surface, rng: Generator, colour: Floats) -> Look:
    colours = np.zeros((8, 3), np.float32)
    colours[0], colours[1] = colour, np.clip(colour * rng.uniform(1.3, 1.9), 0, 1)
    gaps = 0.0 if surface.name.startswith(("afro01", "short01", "short02", "long01", "ponytail01")) else 0.3
    gloss = float(rng.uniform(0.1, 0.45))
    return Look(material="hair", colours=colours, seed=float(rng.uniform(0, 90)), gloss=gloss, cut=gaps)


def _shoes(surface: Surface, rng: Generator) -> Look:
    colours = np.zeros((8, 3), np.float32)
    colours[:3] = [cloth_colour(rng) for _ in range(3)]
    if rng.random() < 0.4:
        colours[0] = hsv(0.07, rng.uniform(0, 0.6), rng.uniform(0.05, 0.3))
    colours[3] = hsv(0.1, rng.uniform(0, 0.3), rng.choice([0.9, 0.12, 0.4]))
    pattern = np.zeros((4, 4), np.float32)
    pattern[0] = rng.choice([0, 0, 5]), 0.08, 0, 0.8
    low = np.array([0, surface.positions[:, 1].min(), 0], np.float32)
    return Look(
        material="shoe", colours=colours, pattern=pattern, gloss=float(rng.choice([0.05, 0.15, 0.6])), centre=low
    )


def thing(rng: Generator) -> Look:
    """Wood, metal, plastic: furniture and what people hold."""
    colours = np.zeros((8, 3), np.float32)
    wood = rng.random() < 0.35
    colours[0] = (
        hsv(rng.uniform(0.04, 0.11), rng.uniform(0.3, 0.75), rng.uniform(0.2, 0.8)) if wood else cloth_colour(rng)
    )
    colours[1] = colours[0] * rng.uniform(0.4, 0.8) if wood else cloth_colour(rng)
    pattern = np.zeros((4, 4), np.float32)
    pattern[0] = 2 if wood else rng.choice([0, 1]), 0.1, 0, rng.uniform(0.3, 0.9)
    gloss = float(rng.choice([0.02, 0.2, 0.7]))
    return Look(material="plain", colours=colours, pattern=pattern, seed=float(rng.uniform(0, 90)), gloss=gloss)


def choose_looks(character: Character, rng: Generator) -> list[Look]:
    """One Look per surface of the character, in their order."""
    traits = character.traits
    hair = hair_colour(traits, rng)
    dark_eyes = 0.9 if traits.caucasian < 0.5 else 0.35
    looks = []
    for surface in character.surfaces:
        if surface.kind == "skin":
            look = _skin(character, rng, hair)
        elif surface.kind == "eye":
            look = _eyes(surface, rng, dark_eyes)
        elif surface.kind in ("brow", "lash", "hair"):
            look = _hair(surface, rng, hair if surface.kind == "hair" else hair * 0.6)
            if surface.kind != "hair":
                look = replace(look, cut=0.0)
        elif surface.kind == "teeth":
            look = Look(material="plain", colours=np.full((8, 3), linear(0.85)[()], np.float32), gloss=0.4)
        elif surface.kind == "cloth":
            look = dress(surface, rng)
        elif surface.kind == "shoe":
            look = _shoes(surface, rng)
        else:
            look = thing(rng)
        looks.append(look)
    return looks


SAME_PART = 0.12
"""Pieces of a garment whose middles differ less in height, metres, are alike: both sleeves, both legs."""


def parts_of(surface: Surface) -> NDArray[np.float32]:
    """Which part of a garment each vertex belongs to: 0 the highest big piece, 1 the next, 2 small ones. (n,)"""
    count = len(surface.positions)
    if surface.kind != "cloth":
        return np.zeros(count, np.float32)
    label = _pieces(surface)
    names, inverse, sizes = np.unique(label, return_inverse=True, return_counts=True)
    big = np.flatnonzero(sizes >= 0.12 * count)
    heights = [surface.positions[inverse == i, 1].mean() for i in big]
    part = np.full(len(names), 2, np.float32)
    place, above = 0, max(heights, default=0.0)
    for height, i in sorted(zip(heights, big, strict=True), reverse=True):
        if above - height > SAME_PART:
            place, above = place + 1, height
        part[i] = min(place, 2)
    if len(big) == 1 and heights[0] < -0.05:  # trousers or a skirt alone
        part[big[0]] = 1
    chosen: Floats = part[inverse]
    return chosen


def _pieces(surface: Surface) -> NDArray[np.int64]:
    """A label per vertex, equal for vertices that triangles connect, or that lie at one place across a seam."""
    _, label = np.unique(np.round(surface.positions, 5), axis=0, return_inverse=True)
    label = label.reshape(-1).astype(np.int64)
    triangles = surface.triangles.astype(np.int64)
    lowest = np.arange(label.max() + 1)
    corners = label[triangles]
    while True:
        least = lowest[corners].min(1)
        before = lowest.copy()
        for i in range(3):
            np.minimum.at(lowest, corners[:, i], least)
        lowest = lowest[lowest]
        if np.array_equal(before, lowest):
            return lowest[label]
