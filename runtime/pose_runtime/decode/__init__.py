"""From network outputs to people. One module per family; every function also stands alone.

Arrays are C-contiguous float32 (others are copied); coordinates are x, y with the centre of the first pixel at
(0, 0). A missing keypoint has score 0 and NaN coordinates; nobody found is N = 0.
"""

from __future__ import annotations

from pose_runtime.decode._common import Decoded, Grid
from pose_runtime.decode.heatmap import HeatmapDecoder, gaussian_kernel, heatmap, merge_flipped
from pose_runtime.decode.paf import (
    BODY25_LIMBS,
    COCO18_LIMBS,
    MPI15_LIMBS,
    TRT_POSE_LIMBS,
    PafDecoder,
    PafParts,
    paf,
    paf_parts,
    paf_sample,
)

__all__ = [
    "BODY25_LIMBS",
    "COCO18_LIMBS",
    "MPI15_LIMBS",
    "TRT_POSE_LIMBS",
    "Decoded",
    "Decoder",
    "Grid",
    "HeatmapDecoder",
    "PafDecoder",
    "PafParts",
    "gaussian_kernel",
    "heatmap",
    "merge_flipped",
    "paf",
    "paf_parts",
    "paf_sample",
]

Decoder = HeatmapDecoder | PafDecoder
"""Any family's decoder; a new family adds its struct to this union."""
