"""The user's own pictures as backdrops: random cuts."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from pose_export.synthetic.backdrops.base import Backdrop, Image, Random, held_out
from pose_export.synthetic.light import Light, simple
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError, SourceError
from pose_runtime.sources.images import in_folder, read_image

_LOG = logging.getLogger(__name__)
_LONG_SIDE = 768  # pixels; pictures are kept no larger
_KEPT_BYTES = 1 << 28


class Pictures:
    """The images of one folder, which should show no people; read when first wanted.

    Args:
        folder: of the images.
        wanted_held_out: the images of validation (every eighth) instead of those of training.

    Raises:
        SourceError: the folder cannot be read or has no images.
    """

    def __init__(self, folder: Path, wanted_held_out: bool = False) -> None:
        self.folder = folder
        self.files = held_out(in_folder(folder), wanted_held_out)
        self._kept: dict[Path, Image | None] = {}
        self._bytes = 0

    def draw(self, rng: Random, view: View, clear: float) -> Backdrop:
        """A random cut of a random picture, mirrored or not.

        An image that cannot be read is named in a warning once, and another is taken.

        Raises:
            ExportError: none can be read.
        """
        del clear
        for index in rng.permutation(len(self.files)):
            picture = self._read(self.files[int(index)])
            if picture is not None:
                image = _cut(picture, rng, view.size_wh)
                return Backdrop(image=image, light=_light(image, rng), floor=False)
        raise ExportError(f"{self.folder}: none of the {len(self.files)} images can be read; see the warnings")

    def _read(self, file: Path) -> Image | None:
        if file in self._kept:
            return self._kept[file]
        try:
            picture: Image | None = _shrunk(read_image(file))
        except SourceError as error:
            _LOG.warning("backdrop skipped: %s", error)
            picture = None
        size = 0 if picture is None else picture.nbytes
        if self._bytes + size <= _KEPT_BYTES:
            self._kept[file] = picture
            self._bytes += size
        return picture


def _shrunk(picture: Image) -> Image:
    factor = _LONG_SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cut(picture: Image, rng: Random, size_wh: tuple[int, int]) -> Image:
    height, width = picture.shape[:2]
    share = float(rng.uniform(0.5, 1.0)) * min(width / size_wh[0], height / size_wh[1])
    w, h = max(1, min(width, round(size_wh[0] * share))), max(1, min(height, round(size_wh[1] * share)))
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    part = picture[top : top + h, left : left + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    shrinks = w > size_wh[0]
    return np.asarray(
        cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def _light(image: Image, rng: Random) -> Light:
    """A guess: from the brighter half of the picture, in its mean colour."""
    tiny = (cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255) ** 2.2
    luma = tiny.mean(axis=2)
    side = float(luma[:, 4:].mean() - luma[:, :4].mean()) / max(float(luma.mean()), 1e-3)
    direction = np.array([np.clip(2 * side, -1, 1) + rng.normal(0, 0.4), rng.uniform(0.4, 1.5), rng.uniform(-0.6, 1)])
    level = np.clip(luma.mean() * 2.2, 0.45, 1.1)
    tint = tiny.mean(axis=(0, 1)) / max(float(luma.mean()), 1e-3)
    colour = level * (0.5 + 0.5 * tint)
    share = rng.uniform(0.2, 0.6)
    return simple(direction, colour * share, colour * (1 - share) * 1.1, colour * (1 - share) * 0.6, float(share))
