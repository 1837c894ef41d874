"""Fine detail for pictures that were enlarged."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.backdrops.base import Image, Random

_DETAIL = 512  # side of the detail that is cut from, pixels
_STRONGEST = 12  # greys; what stands out more is an edge, no texture


@lru_cache(maxsize=1)
def _detail_bank() -> NDArray[np.float32]:
    """Fine structure, float32 (3, side, side) of deviation 1: grain, blotches, fibres."""
    rng = np.random.default_rng(9)
    layers = []
    for sigma in ((0.6, 0.6), (1.1, 1.1), (0.6, 2.2)):
        white = rng.normal(0, 1, (_DETAIL, _DETAIL)).astype(np.float32)
        fine = cv2.GaussianBlur(white, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])
        fine = cv2.subtract(fine, cv2.GaussianBlur(fine, (0, 0), 3))
        layers.append(fine / fine.std())
    return np.asarray(layers, np.float32)


def with_detail(picture: Image, rng: Random, *, sharpened: float = 0.0) -> Image:
    """Detail as strong as the coarser structure around it, so that flat walls and sky stay flat, and edges clean.

    `sharpened` is how much of the difference to a blurred picture is added.
    """
    height, width = picture.shape[:2]
    bank = _detail_bank()
    layer = bank[int(rng.integers(len(bank)))]
    top, left = (int(v) for v in rng.integers(0, _DETAIL, 2))
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(luma, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    activity = np.minimum(cv2.absdiff(small, cv2.blur(small, (3, 3))), _STRONGEST)
    activity = cv2.resize(cv2.blur(activity, (7, 7)), (width, height)).astype(np.float32)
    rows, columns = np.arange(top, top + height) % _DETAIL, np.arange(left, left + width) % _DETAIL
    detail = layer[rows][:, columns] * (activity * np.float32(rng.uniform(0.5, 1.3)) + np.float32(0.6))
    if sharpened:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.3)
        picture = np.asarray(cv2.addWeighted(picture, 1 + sharpened, soft, -sharpened, 0), np.uint8)
    return np.asarray(cv2.add(picture, cv2.merge([detail] * 3), dtype=cv2.CV_8U), np.uint8)
