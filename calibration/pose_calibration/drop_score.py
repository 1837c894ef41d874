"""How sure a decoder is of a person, beside the score below which it drops people.

Somebody near that score may be there in one run and gone in the next by the smallest change of the network's numbers,
so comparisons of graphs count only people clearly above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.decode import Decoder, EmbeddingDecoder, PafDecoder, VectorDecoder
from pose_runtime.manifest import Manifest
from pose_runtime.oks import present
from pose_runtime.poses import Poses

SURE = 1.2
"""Times the drop score: whoever is above it counts."""


@dataclass(frozen=True, slots=True)
class DropScore:
    """The score below which a decoder drops people.

    Attributes:
        score: of a person. paf: the least mean of parts and limbs (trt_pose drops nobody: 0); embedding: the least
            score of a peak, since only peaks start people; heatmap, offset: the least score of a keypoint; vector: 0.
        by_parts: the decoder reports this mean times parts and parts - 1 (the lightweight profile, for COCO).
    """

    score: float
    by_parts: bool = False

    def sure(self, poses: Poses) -> AnyArray:
        """Who is clearly above it: bool (N,)."""
        return np.asarray(self._strength(poses) >= SURE * self.score)

    def _strength(self, poses: Poses) -> Float64Array:
        """float64 (N,): scores in the unit of `score`."""
        scores = poses.scores.astype(np.float64)
        if not self.by_parts:
            return scores
        parts = present(poses.keypoints).sum(axis=1)
        return np.asarray(scores / np.maximum(parts * (parts - 1), 1))


def drop_score(manifest: Manifest) -> DropScore:
    """The drop score of a bundle's decoder."""
    decoder: Decoder = manifest.decoder
    if isinstance(decoder, PafDecoder):
        dropped = 0.0 if decoder.profile == "trt_pose" else max(decoder.min_score, 0.0)
        return DropScore(dropped, by_parts=decoder.profile == "lightweight")
    if isinstance(decoder, EmbeddingDecoder):
        return DropScore(decoder.threshold)
    return DropScore(0.0 if isinstance(decoder, VectorDecoder) else max(decoder.min_score, 0.0))
