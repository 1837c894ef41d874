"""The camera that backdrops and people share."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin, tan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A pinhole camera without roll that stands at (0, height, 0) and looks along -z; x is right, y up, metres.

    Attributes:
        size_wh: pixels; the optical axis meets the middle of the picture, ((width - 1) / 2, (height - 1) / 2).
        focal_px: focal length, pixels.
        pitch: radians, above 0 looks up.
        height: of the camera above the floor y = 0, metres.
    """

    size_wh: tuple[int, int]
    focal_px: float
    pitch: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Where the optical axis meets the picture: x, y, pixels."""
        return (self.size_wh[0] - 1) / 2, (self.size_wh[1] - 1) / 2

    @property
    def horizon(self) -> float:
        """Row of the horizon, pixels; may lie outside the picture."""
        return self.centre[1] + self.focal_px * tan(self.pitch)

    def axes(self) -> Floats:
        """(3, 3): rows right, up and forward of the camera, in world axes."""
        c, s = cos(self.pitch), sin(self.pitch)
        return np.array([[1, 0, 0], [0, c, s], [0, s, -c]], np.float64)

    def matrix(self) -> Floats:
        """(3, 3): takes a world vector from the camera to homogeneous pixels; the third coordinate is the depth."""
        cx, cy = self.centre
        pinhole = np.array([[self.focal_px, 0, cx], [0, -self.focal_px, cy], [0, 0, 1]], np.float64)
        return pinhole @ self.axes()

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """World points (n, 3) as pixels (n, 2) and depths (n,) in metres; pixels mean nothing where depth <= 0."""
        homogeneous = (np.asarray(points, np.float64) - (0, self.height, 0)) @ self.matrix().T
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.where(depth == 0, 1e-9, depth)[:, None], depth

    def rays(self) -> NDArray[np.float32]:
        """float32 (H, W, 3): the direction that every pixel sees, in world axes, not of unit length."""
        width, height = self.size_wh
        cx, cy = self.centre
        x = (np.arange(width, dtype=np.float32) - cx) / self.focal_px
        y = (cy - np.arange(height, dtype=np.float32)) / self.focal_px
        c, s = cos(self.pitch), sin(self.pitch)
        rays = np.empty((height, width, 3), np.float32)
        rays[..., 0] = x
        rays[..., 1] = (y * c + s)[:, None]
        rays[..., 2] = (y * s - c)[:, None]
        return rays
