"""Boxes and lamps for tests of the renderer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pose_export.synthetic.device import open_context
from pose_export.synthetic.light import Light, simple
from pose_export.synthetic.looks import Look
from pose_export.synthetic.render import THING, Drawable, Renderer
from pose_export.synthetic.shapes import block, surface
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError

SIZE = (96, 96)


def skip_without_opengl() -> None:
    """Skips the whole file; the reason says what to install."""
    try:
        open_context().release()
    except ExportError as error:
        pytest.skip(str(error), allow_module_level=True)


def renderers(size_wh: tuple[int, int] = SIZE) -> Iterator[Renderer]:
    """For fixtures: a renderer that is closed in the end."""
    renderer = Renderer(size_wh)
    yield renderer
    renderer.close()


def camera(size_wh: tuple[int, int] = SIZE, focal: float = 80.0, pitch: float = 0.0, height: float = 1.0) -> View:
    return View(size_wh, focal, pitch, height)


def lamp(direction: tuple[float, float, float] = (0.2, 1.0, 0.6)) -> Light:
    return simple(direction, (1.0, 1.0, 1.0), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), 1.0)


def box(centre: tuple[float, float, float], size: tuple[float, float, float], owner: int = THING) -> Drawable:
    """A white box in the world."""
    still = np.eye(3, 4, dtype=np.float32)[None]
    look = Look(material="plain", colours=np.full((8, 3), 0.8, np.float32))
    return Drawable(surface=surface("box", [block(centre, size)]), look=look, transforms=still, owner=owner)
