"""Where on the body a point is, as a tailor says it: how far down, how far along the arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.rig import BONE_NAMES

NECK, WAIST, HIP, KNEE, ANKLE, SOLE = -2.0, -1.0, 0.0, 1.0, 2.0, 2.4
"""Values of `down`."""

SHOULDER, ELBOW, WRIST = 0.0, 1.0, 2.0
"""Values of `arm`."""


@dataclass(frozen=True)
class Measures:
    """Of the vertices of the base mesh, whatever shape it takes.

    Attributes:
        down: float32 (V,), linear between NECK, WAIST, HIP, KNEE, ANKLE and SOLE; of torso and legs.
        arm: float32 (V,), 0 on torso, legs and head; from SHOULDER over ELBOW to WRIST, above 2 on the hand.
    """

    down: NDArray[np.float32]
    arm: NDArray[np.float32]


def measure(
    base: NDArray[np.float32], joints: Mapping[str, NDArray[np.float32]], shares: NDArray[np.float32]
) -> Measures:
    """Measure the base mesh (V, 3), given the heads of the rig's bones and the shares (V, B) of the moving bones."""
    names = ("neck01", "spine03", "upperleg01.L", "lowerleg01.L", "foot.L")
    heights = [*(joints[name][1] for name in names), base[:, 1].min()]
    down = np.interp(-base[:, 1], -np.array(heights), (NECK, WAIST, HIP, KNEE, ANKLE, SOLE))
    above = (base[:, 1] - heights[0]) / (heights[0] - heights[1])
    down -= above.clip(0)
    arm = np.zeros(len(base))
    for side in "LR":
        chain = [f"{part}.{side}" for part in ("upperarm01", "lowerarm01", "wrist")]
        share = shares[:, [BONE_NAMES.index(name) for name in chain]].sum(axis=1)
        shoulder, elbow, wrist = (joints[name] for name in chain)
        along = _along(base, shoulder, elbow).clip(0.02, 1) + _along(base, elbow, wrist).clip(0, 1.5)
        arm = np.where(share > 0.4, along, arm)
    return Measures(down.astype(np.float32), arm.astype(np.float32))


def _along(points: NDArray[np.float32], start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
    way = end - start
    return np.asarray((points - start) @ way / (way @ way))
