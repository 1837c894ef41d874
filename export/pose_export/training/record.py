"""One labelled picture, wherever it comes from: COCO files and synthetic scenes look the same from here on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_runtime.skeletons import Skeleton

NOT_LABELLED, HIDDEN, VISIBLE = 0, 1, 2
"""Values of v in keypoints, as COCO has them."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A picture and the N people in it.

    Attributes:
        name: what an error message calls it: a file, or a recipe and a number.
        image: uint8 (H, W, 3), BGR.
        keypoints: float32 (N, K, 3): x, y in pixels, centre of the first pixel at (0, 0), and v: 0 not labelled
            (x and y mean nothing), 1 labelled but hidden, 2 visible.
        boxes: float32 (N, 4): x, y of the top left corner, width, height.
        areas: float32 (N,): of the visible surface, in square pixels; the s² of OKS.
        ids: int64 (N,): annotation or identity, unique within the picture.
        ignored: bool (H, W), True where nothing may be learnt (crowds, people without keypoints); None is nowhere.
        skeleton: what the K keypoints are.
    """

    name: str
    image: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.float32]
    ids: NDArray[np.int64]
    ignored: NDArray[np.bool_] | None
    skeleton: Skeleton
