"""Rendered people before their backdrop."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def over(backdrop: NDArray[np.uint8], people: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """People over their backdrop, with edges as soft as a lens draws them.

    Args:
        backdrop: uint8 (H, W, 3), B, G, R.
        people: uint8 (n H, n W, 3), B, G, R, not multiplied by alpha: rendered n times as large as wanted, n >= 1.
        alpha: uint8 (n H, n W), 255 where somebody is. Each pixel averages its n x n: colours by their alpha, so that
            the black of the empty render does not show as a rim.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: sizes that do not fit together.
    """
    height, width = backdrop.shape[:2]
    n = alpha.shape[0] // height
    if n < 1 or alpha.shape != (n * height, n * width) or people.shape != (*alpha.shape, 3):
        got = f"people {people.shape}, alpha {alpha.shape}"
        raise ValueError(f"{got}: wanted whole multiples of the backdrop's {height} x {width}")
    share = alpha.astype(np.float32) * np.float32(1 / 255)
    colours = people * share[..., None]
    if n > 1:
        share = cv2.resize(share, (width, height), interpolation=cv2.INTER_AREA)
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(colours + backdrop * (1 - share[..., None]) + 0.5, 0, 255), np.uint8)
