"""The light of a scene: one lamp or sun that casts shadows, and all the rest as spherical harmonics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

_LUMA = np.array([0.2126, 0.7152, 0.0722])
# Convolution of radiance with the clamped cosine, divided by pi (Ramamoorthi & Hanrahan 2001, eq. 8): 1, 2/3, 1/4.
_COSINE = np.array([1, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4])


@dataclass(frozen=True, kw_only=True)
class Light:
    """What falls on a matt white surface; linear R, G, B, where 1 is the white of the picture.

    The colour of a matt surface of albedo a and normal n is
    `a * (basis(n) @ ambient + colour * max(0, n @ direction) * visible)`.

    Attributes:
        direction: float32 (3,), unit, from the scene to the lamp or sun; axes of `View` (x right, y up).
        colour: float32 (3,), what the lamp or sun adds to a surface that faces it.
        ambient: float32 (9, 3), coefficients of `basis`, of all light but the lamp's; the cosine is folded in.
        hardness: 0 soft light without clear shadows to 1 a clear sun.
    """

    direction: Array
    colour: Array
    ambient: Array
    hardness: float

    def shade(self, normals: Array) -> Array:
        """What unit normals (n, 3) receive where nothing stands in the way: float32 (n, 3), R, G, B."""
        facing = np.maximum(normals @ self.direction, 0)[:, None]
        shaded: Array = np.maximum(basis(normals) @ self.ambient, 0) + facing * self.colour
        return shaded


def basis(normals: Array) -> Array:
    """The nine real spherical harmonics up to degree 2: float32 (n, 9) for unit vectors (n, 3).

    Order 1, y, z, x, xy, yz, 3z²-1, xz, x²-y², with the factors of Ramamoorthi & Hanrahan 2001, eq. 3.
    """
    x, y, z = np.asarray(normals, np.float32).T
    one = np.full_like(x, 0.282095)
    linear = (0.488603 * y, 0.488603 * z, 0.488603 * x)
    square = (1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z)
    return np.stack([one, *linear, *square, 0.546274 * (x * x - y * y)], axis=-1).astype(np.float32)


def simple(direction: ArrayLike, colour: ArrayLike, above: ArrayLike, below: ArrayLike, hardness: float) -> Light:
    """A lamp, and ambient light that goes from `above` (received by surfaces that face up) to `below`."""
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = (np.asarray(above) + np.asarray(below)) / 2 / 0.282095
    ambient[1] = (np.asarray(above) - np.asarray(below)) / 2 / 0.488603
    towards = np.asarray(direction, np.float64)
    unit = towards / np.linalg.norm(towards)
    return Light(
        direction=unit.astype(np.float32), colour=np.asarray(colour, np.float32), ambient=ambient, hardness=hardness
    )


def directions(height: int, width: int, yaw: float) -> Array:
    """float32 (height, width, 3): where the pixels of a panorama point when column `yaw` (0 to 1) is straight ahead."""
    longitude = ((np.arange(width) + 0.5) / width - yaw) * 2 * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    level = np.cos(latitude)[:, None]
    x, z = level * np.sin(longitude), -level * np.cos(longitude)
    y = np.broadcast_to(np.sin(latitude)[:, None], x.shape)
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def from_radiance(radiance: Array, yaw: float, exposure: float) -> Light:
    """The light of a panorama.

    Args:
        radiance: linear R, G, B, float32 (h, w, 3), equirectangular, row 0 is up.
        yaw: share of the width that is straight ahead of the camera.
        exposure: radiance times this is 1 at the picture's white.
    """
    height, width = radiance.shape[:2]
    towards = directions(height, width, yaw).reshape(-1, 3)
    rows = np.cos((0.5 - (np.arange(height) + 0.5) / height) * np.pi)
    solid = np.repeat(rows, width) * (2 * np.pi / width) * (np.pi / height)
    flux = radiance.reshape(-1, 3).astype(np.float64) * solid[:, None] * exposure
    direction, lamp = _lamp(flux, towards)
    rest = flux[~lamp]
    ambient = basis(towards[~lamp]).T @ rest * _COSINE[:, None]
    total = max(float(flux.sum(axis=0) @ _LUMA), 1e-9)
    colour = (towards[lamp] @ direction).clip(0) @ flux[lamp] / np.pi
    return Light(
        direction=direction,
        colour=colour.astype(np.float32),
        ambient=ambient.astype(np.float32),
        hardness=float(min(1.0, 1.5 * (flux[lamp].sum(axis=0) @ _LUMA) / total)),
    )


def _lamp(flux: NDArray[np.float64], towards: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The direction of the brightest spot, and which pixels belong to it: far brighter than most, within 25 degrees."""
    bright = flux @ _LUMA
    peak = towards[int(bright.argmax())]
    near = towards @ peak > np.cos(np.radians(25))
    lamp = near & (bright > 4 * max(float(bright.mean()), 1e-12))
    if not lamp.any():
        return peak.astype(np.float32), lamp
    mean = (towards * bright[:, None])[lamp].sum(axis=0)
    return (mean / np.linalg.norm(mean)).astype(np.float32), lamp
