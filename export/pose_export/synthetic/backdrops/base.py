"""What every kind of backdrop gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.light import Light
from pose_export.synthetic.view import View

Image = NDArray[np.uint8]
Random = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """What stands behind people.

    Attributes:
        image: uint8 (H, W, 3), B, G, R.
        light: that it was taken in, axes of `View`.
        floor: whether it shows a floor at y = 0 that agrees with the view, so that people can stand there.
    """

    image: Image
    light: Light
    floor: bool


Draw = Callable[[Random, View, float], Backdrop]
"""(rng, view, clear): nothing stands within `clear` metres ahead of the camera, save the floor."""


def held_out(files: list[Path], wanted: bool) -> list[Path]:
    """Every eighth file, which validation sees and training never; or all the others. `files` are in order."""
    return [file for i, file in enumerate(files) if (i % 8 == 7) == wanted]
