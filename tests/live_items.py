"""Results as a live run makes them."""

from __future__ import annotations

from time import monotonic

import numpy as np

import tiny
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.sources import Item

NAN = float("nan")
ONE = Poses(
    np.array([[(20, 20, 0.9), (100, 20, 0.8), (NAN, NAN, 0)]], np.float32), np.array([0.5], np.float32), tiny.SKELETON
)


def live_item(
    index: int = 0,
    time_s: float | None = None,
    *,
    name: str = "cam",
    captured_s: float | None = None,
    size_wh: tuple[int, int] = (128, 96),
) -> Item:
    """A frame of a camera, grey; of each index another shade, so that frames can be told apart."""
    image = np.full((size_wh[1], size_wh[0], 3), 60 + 7 * index % 128, np.uint8)
    return Item(name, index, time_s, Frame.from_image(image, time_s=monotonic() if captured_s is None else captured_s))
