"""Drawn check frames, for bundles whose maker gives no pictures: simple lit human figures before varied backgrounds.

They exercise a network and pin its numbers, no more: real pictures (`--check-images`) show people as the camera will.
Everything follows from a fixed seed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_runtime.arrays import ByteArray

FRAMES = 8
SIZE_WH = (320, 240)
_SCALE = 2  # drawn larger, then shrunk: smooth edges
_LIGHT = np.array([-0.45, -0.6])  # where the light comes from, x and y

Colour = tuple[float, float, float]
Point = NDArray[np.float64]

_SKIN: tuple[Colour, ...] = ((150, 185, 230), (110, 150, 205), (70, 100, 150), (45, 65, 95))
_CLOTH: tuple[Colour, ...] = (
    (180, 90, 50), (60, 60, 190), (70, 140, 70), (50, 50, 50), (200, 200, 205), (40, 150, 200), (120, 60, 120),
)  # fmt: skip


def drawn_frames() -> list[ByteArray]:
    """The eight frames, uint8 (240, 320, 3) in B, G, R order."""
    return [_frame(np.random.default_rng(2024 + i), i) for i in range(FRAMES)]


def _frame(random: np.random.Generator, index: int) -> ByteArray:
    width, height = SIZE_WH[0] * _SCALE, SIZE_WH[1] * _SCALE
    canvas = _background(random, width, height, index)
    people = (1, 1, 2, 3)[index % 4]
    for i in range(people):
        tall = height * (0.86 if people == 1 else random.uniform(0.5, 0.72))
        feet = np.array([width * (i + 0.5 + random.uniform(-0.1, 0.1)) / people, height * random.uniform(0.94, 0.97)])
        _figure(canvas, random, feet, tall)
    canvas += random.normal(0, 3, canvas.shape).astype(np.float32)  # a sensor's noise
    small = cv2.resize(canvas, SIZE_WH, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _background(random: np.random.Generator, width: int, height: int, index: int) -> NDArray[np.float32]:
    """A wall with a gradient, a floor, and some of: stripes, boxes, soft blobs."""
    wall, floor = random.uniform(60, 210, 3), random.uniform(50, 150, 3)
    shade = np.linspace(1.15, 0.75, width)[None, :, None] * np.linspace(1.05, 0.9, height)[:, None, None]
    canvas: NDArray[np.float32] = np.ascontiguousarray(wall * shade, dtype=np.float32)
    horizon = int(height * random.uniform(0.6, 0.8))
    canvas[horizon:] = floor * np.linspace(0.8, 1.2, height - horizon)[:, None, None]
    if index % 3 == 0:
        for x in range(0, width, int(random.uniform(40, 90))):
            cv2.line(canvas, (x, 0), (x, horizon), _scaled(wall, 0.85), 4)
    if index % 3 == 1:
        for _ in range(6):
            x, y, w, h = (int(v) for v in random.uniform(0.05, 0.9, 4) * (width, horizon, width / 4, horizon / 2))
            cv2.rectangle(canvas, (x, y), (x + w, y + h), tuple(random.uniform(40, 220, 3).tolist()), -1)
    if index % 3 == 2:
        for _ in range(14):
            centre = (int(random.uniform(0, width)), int(random.uniform(0, horizon)))
            cv2.circle(canvas, centre, int(random.uniform(10, 60)), _scaled(wall, random.uniform(0.6, 1.3)), -1)
        canvas = cv2.GaussianBlur(canvas, (0, 0), 9).astype(np.float32)
    return canvas


def _figure(canvas: NDArray[np.float32], random: np.random.Generator, feet: Point, tall: float) -> None:
    """One standing or striding person, `tall` pixels from head to foot; lengths are shares of the body height."""
    skin = _SKIN[random.integers(len(_SKIN))]
    shirt, trousers = (_CLOTH[i] for i in random.choice(len(_CLOTH), 2, replace=False))
    hip = feet + tall * np.array([0, -0.49])
    chest = hip + tall * np.array([random.uniform(-0.02, 0.02), -0.30])
    shadow = (int(feet[0] + 0.12 * tall), int(feet[1]))
    cv2.ellipse(canvas, shadow, (int(0.28 * tall), int(0.035 * tall)), 0, 0, 360, (35, 35, 35), -1, cv2.LINE_AA)
    sides = (1, -1) if random.random() < 0.5 else (-1, 1)
    for side in sides:  # the far leg and arm first
        knee = hip + tall * np.array([side * random.uniform(0.05, 0.10), 0.245])
        ankle = knee + tall * np.array([side * random.uniform(-0.01, 0.05), 0.235])
        _limb(canvas, hip + tall * np.array([side * 0.05, 0]), knee, 0.060 * tall, 0.045 * tall, trousers)
        _limb(canvas, knee, ankle, 0.045 * tall, 0.030 * tall, trousers)
        _limb(canvas, ankle, ankle + tall * np.array([side * 0.05, 0.012]), 0.022 * tall, 0.018 * tall, (30, 30, 35))
    for side in sides:
        shoulder = chest + tall * np.array([side * 0.105, 0.005])
        elbow = shoulder + 0.16 * tall * _direction(random.uniform(0.05, 0.9), side)
        wrist = elbow + 0.14 * tall * _direction(random.uniform(-0.2, 2.6), side)
        _limb(canvas, shoulder, elbow, 0.036 * tall, 0.030 * tall, shirt)
        _limb(canvas, elbow, wrist, 0.028 * tall, 0.020 * tall, skin)
        _limb(canvas, wrist, wrist + 0.15 * (wrist - elbow), 0.023 * tall, 0.020 * tall, skin)
    _limb(canvas, chest, hip, 0.115 * tall, 0.085 * tall, shirt)
    neck = chest + tall * np.array([0, -0.09])
    _limb(canvas, chest, neck, 0.040 * tall, 0.036 * tall, skin)
    _head(canvas, neck + tall * np.array([0, -0.055]), tall, skin, tuple(random.uniform(15, 90, 3).tolist()))


def _direction(angle: float, side: int) -> Point:
    """Unit vector `angle` away from straight down, outwards."""
    return np.array([side * np.sin(angle), np.cos(angle)])


def _head(canvas: NDArray[np.float32], centre: Point, tall: float, skin: Colour, hair: Colour) -> None:
    _ellipse(canvas, centre - tall * np.array([0, 0.016]), (0.058 * tall, 0.072 * tall), hair)
    _ellipse(canvas, centre, (0.048 * tall, 0.064 * tall), skin)
    for side in (-1, 1):
        _ellipse(canvas, centre + tall * np.array([side * 0.051, 0.004]), (0.008 * tall, 0.016 * tall), skin)
        eye = centre + tall * np.array([side * 0.019, -0.008])
        _ellipse(canvas, eye, (0.009 * tall, 0.006 * tall), (235, 235, 235))
        _ellipse(canvas, eye, (0.004 * tall, 0.005 * tall), (30, 30, 30))
    _ellipse(canvas, centre + tall * np.array([0, 0.012]), (0.007 * tall, 0.013 * tall), _scaled(skin, 0.85))
    _ellipse(canvas, centre + tall * np.array([0, 0.038]), (0.018 * tall, 0.005 * tall), (80, 80, 165))


def _limb(canvas: NDArray[np.float32], a: Point, b: Point, radius_a: float, radius_b: float, colour: Colour) -> None:
    """A tapered tube, darker at its rim and lighter towards the light."""
    steps = max(2, int(np.hypot(*(b - a)) / 2))
    for inset, gain in ((1.0, 0.62), (0.82, 0.85), (0.6, 1.0), (0.3, 1.18)):
        for t in np.linspace(0, 1, steps):
            radius = (1 - t) * radius_a + t * radius_b
            centre = (1 - t) * a + t * b + (1 - inset) * radius * _LIGHT
            place = (round(centre[0]), round(centre[1]))
            cv2.circle(canvas, place, max(1, round(inset * radius)), _scaled(colour, gain), -1, cv2.LINE_AA)


def _ellipse(canvas: NDArray[np.float32], centre: Point, radii: tuple[float, float], colour: Colour) -> None:
    place = (round(centre[0]), round(centre[1]))
    for inset, gain in ((1.0, 0.75), (0.8, 1.0)):
        axes = (max(1, round(inset * radii[0])), max(1, round(inset * radii[1])))
        cv2.ellipse(canvas, place, axes, 0, 0, 360, _scaled(colour, gain), -1, cv2.LINE_AA)


def _scaled(colour: Colour | NDArray[np.float64], gain: float) -> Colour:
    b, g, r = (min(255.0, float(c) * gain) for c in colour)
    return b, g, r
