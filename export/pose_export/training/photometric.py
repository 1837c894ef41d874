"""What cameras do to a picture: light, colours, blur, noise, compression; and things in front of people."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta, Struct
from numpy.random import Generator

from pose_export.training.affine import drop_people
from pose_export.training.record import HIDDEN, VISIBLE, Record
from pose_runtime.arrays import ByteArray, Float64Array

Chance = Annotated[float, Meta(ge=0, le=1)]
Strength = Annotated[float, Meta(ge=0, le=10)]

_LUMA = np.array([0.114, 0.587, 0.299])  # B, G, R (ITU-R BT.601)
_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)


class Photometric(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far each thing goes, and how often it happens.

    Attributes:
        colour: chance of all changes of light and colour together.
        brightness: added, at most, as a share of full white.
        contrast, gamma, saturation, white_balance: at most this factor or its inverse is exp(±value).
        hue: degrees, at most.
        grey: chance of a picture without colour.
        blur: chance; `blur_sigma`: largest, pixels. Half of the blurs go along a line, as where somebody moves.
        noise: chance; `noise_sigma`: largest, grey levels.
        jpeg: chance; `jpeg_quality`: lowest and highest.
        occluders: chance of 1 to 3 rectangles; `occluder_sides`: shortest and longest, as shares of the short side.
    """

    colour: Chance = 0.9
    brightness: Strength = 0.12
    contrast: Strength = 0.35
    gamma: Strength = 0.35
    saturation: Strength = 0.5
    white_balance: Strength = 0.12
    hue: Annotated[float, Meta(ge=0, le=180)] = 12.0
    grey: Chance = 0.05
    blur: Chance = 0.2
    blur_sigma: Strength = 1.8
    noise: Chance = 0.35
    noise_sigma: Annotated[float, Meta(ge=0, le=64)] = 12.0
    jpeg: Chance = 0.3
    jpeg_quality: tuple[Annotated[int, Meta(ge=1, le=100)], Annotated[int, Meta(ge=1, le=100)]] = (30, 90)
    occluders: Chance = 0.2
    occluder_sides: tuple[Chance, Chance] = (0.05, 0.25)

    def __post_init__(self) -> None:
        for name in ("jpeg_quality", "occluder_sides"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: got {low} to {high}, wanted the lower one first")


def photometric(image: ByteArray, settings: Photometric, rng: Generator) -> ByteArray:
    """A changed copy of the picture, uint8 (H, W, 3), B, G, R."""
    if rng.random() < settings.colour:
        image = _recolour(image, settings, rng)
    if rng.random() < settings.blur:
        image = _blur(image, settings, rng)
    if rng.random() < settings.noise:
        image = _add_noise(image, rng.uniform(0, settings.noise_sigma), rng)
    if rng.random() < settings.jpeg:
        image = _compress(image, settings, rng)
    return image


def colour_matrix(saturation: float, hue: float) -> Float64Array:
    """float64 (3, 3) for B, G, R columns: the hue turns around the grey axis, keeping grey grey.

    Args:
        saturation: 0 is grey, 1 leaves it.
        hue: degrees.
    """
    angle = math.radians(hue)
    axis = np.ones((3, 3)) / 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * axis + math.sin(angle) * cross
    grey = np.tile(_LUMA, (3, 1))
    return np.asarray((saturation * np.eye(3) + (1 - saturation) * grey) @ turn)


def _recolour(image: ByteArray, settings: Photometric, rng: Generator) -> ByteArray:
    saturation = 0.0 if rng.random() < settings.grey else _factor(settings.saturation, rng)
    matrix = colour_matrix(saturation, rng.uniform(-settings.hue, settings.hue))
    levels = np.linspace(0, 1, 256) ** _factor(settings.gamma, rng)
    levels = (levels - 0.5) * _factor(settings.contrast, rng) + 0.5
    levels += rng.uniform(-settings.brightness, settings.brightness)
    gains = [_factor(settings.white_balance, rng) for _ in range(3)]
    table = np.clip(255 * levels[:, None] * gains + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.transform(image, matrix), table[None]), np.uint8)


def _factor(strength: float, rng: Generator) -> float:
    return math.exp(rng.uniform(-strength, strength))


def _blur(image: ByteArray, settings: Photometric, rng: Generator) -> ByteArray:
    sigma = rng.uniform(0.3, max(settings.blur_sigma, 0.3))
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    angle, side = rng.uniform(0, math.pi), 2 * math.ceil(2 * sigma) + 1
    middle, reach = side // 2, 2 * sigma
    offset = np.array([math.cos(angle), math.sin(angle)]) * reach
    ends = [tuple(np.round((middle + sign * offset) * 16).astype(int).tolist()) for sign in (-1, 1)]
    kernel = np.zeros((side, side), np.uint8)
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, shift=4)
    return np.asarray(cv2.filter2D(image, -1, kernel.astype(np.float32) / max(int(kernel.sum()), 1)), np.uint8)


def _add_noise(image: ByteArray, sigma: float, rng: Generator) -> ByteArray:
    """Normal noise, independent for each value; random bytes pick from its 256 quantiles, which is fast."""
    quantiles = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    noise = cv2.LUT(quantiles, np.rint(_NORMAL * sigma).astype(np.int16))
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def _compress(image: ByteArray, settings: Photometric, rng: Generator) -> ByteArray:
    low, high = settings.jpeg_quality
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(low, high + 1))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


# ---- things in front -----------------------------------------------------------------------------------------


def occlude(record: Record, settings: Photometric, rng: Generator) -> Record:
    """The record with 1 to 3 random rectangles, at the chance of the settings.

    Joints behind one become hidden; areas stay. People of whom no visible joint is left are dropped and their boxes
    ignored.
    """
    if rng.random() >= settings.occluders:
        return record
    image, keypoints = record.image.copy(), record.keypoints.copy()
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        sides = np.maximum(rng.uniform(*settings.occluder_sides, 2) * min(width, height), 1).astype(int)
        w, h = int(min(sides[0], width)), int(min(sides[1], height))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        image[y : y + h, x : x + w] = _texture(w, h, rng)
        xy = keypoints[..., :2] + 0.5
        behind = ((xy >= (x, y)) & (xy < (x + w, y + h))).all(axis=-1)
        keypoints[..., 2][behind & (keypoints[..., 2] == VISIBLE)] = HIDDEN
    was_visible = (record.keypoints[..., 2] == VISIBLE).any(axis=1)
    is_visible = (keypoints[..., 2] == VISIBLE).any(axis=1)
    return drop_people(replace(record, image=image, keypoints=keypoints), is_visible | ~was_visible)


def _texture(width: int, height: int, rng: Generator) -> ByteArray:
    """From one colour to coarse noise."""
    cells = int(rng.integers(1, 9))
    spread = rng.uniform(0, 80)
    coarse = np.clip(rng.uniform(0, 255, 3) + rng.normal(0, spread, (cells, cells, 3)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
