"""The one result type of every network: the people of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pose_runtime.arrays import FloatArray, IntArray
from pose_runtime.skeletons import Skeleton


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """The people found in one frame; nobody is N = 0.

    Attributes:
        keypoints: float32 (N, K, 3): x, y, score; pixels of the source frame, centre of the first pixel at (0, 0).
            A missing keypoint has score 0 and x = y = NaN.
        scores: float32 (N,), one per person; what it means is the decoder's (see its docstring).
        skeleton: names and limbs of the K keypoints.
        ids: int64 (N,) identities over time, or None where nothing tracks.
    """

    keypoints: FloatArray
    scores: FloatArray
    skeleton: Skeleton
    ids: IntArray | None = None

    def __post_init__(self) -> None:
        n, k = len(self.scores), len(self.skeleton.names)
        if self.keypoints.shape != (n, k, 3):
            raise ValueError(f"keypoints: got shape {self.keypoints.shape}, wanted ({n}, {k}, 3)")
        if self.ids is not None and self.ids.shape != (n,):
            raise ValueError(f"ids: got shape {self.ids.shape}, wanted ({n},)")

    @classmethod
    def empty(cls, skeleton: Skeleton) -> Poses:
        """Nobody."""
        return cls(np.zeros((0, len(skeleton.names), 3), np.float32), np.zeros(0, np.float32), skeleton)

    def __len__(self) -> int:
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: `{"people": [{"score", "keypoints": [[x, y, score] or None, ...], "id"?}]}`.

        Coordinates are rounded to 1/100 pixel, scores to 4 decimals.
        """
        people = []
        for i, (score, keypoints) in enumerate(zip(self.scores, self.keypoints, strict=True)):
            person: dict[str, Any] = {
                "score": round(float(score), 4),
                "keypoints": [
                    [round(float(x), 2), round(float(y), 2), round(float(s), 4)] if s > 0 else None
                    for x, y, s in keypoints
                ],
            }
            if self.ids is not None:
                person["id"] = int(self.ids[i])
            people.append(person)
        return {"people": people}
