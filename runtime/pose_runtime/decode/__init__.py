"""From network outputs to people. One module per family; every function also stands alone.

Arrays are C-contiguous float32 (others are copied); coordinates are x, y with the centre of the first pixel at
(0, 0). A missing keypoint has score 0 and NaN coordinates; nobody found is N = 0.
"""

from __future__ import annotations

from pose_runtime.decode._common import Decoded, Grid
from pose_runtime.decode.embedding import (
    COCO_ORDER,
    CROWDPOSE_ORDER,
    Embedded,
    EmbeddingDecoder,
    Pass,
    aggregate,
    embedding,
    embedding_outputs,
)
from pose_runtime.decode.heatmap import HeatmapDecoder, gaussian_kernel, heatmap, merge_flipped
from pose_runtime.decode.offset import OffsetDecoder, offset
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
from pose_runtime.decode.vector import VectorDecoder, cascade_boxes, vector
from pose_runtime.decode.window import WindowDecoder, window

__all__ = [
    "BODY25_LIMBS",
    "COCO18_LIMBS",
    "COCO_ORDER",
    "CROWDPOSE_ORDER",
    "MPI15_LIMBS",
    "TRT_POSE_LIMBS",
    "Decoded",
    "Decoder",
    "Embedded",
    "EmbeddingDecoder",
    "Grid",
    "HeatmapDecoder",
    "OffsetDecoder",
    "PafDecoder",
    "PafParts",
    "Pass",
    "VectorDecoder",
    "WindowDecoder",
    "aggregate",
    "cascade_boxes",
    "embedding",
    "embedding_outputs",
    "gaussian_kernel",
    "heatmap",
    "merge_flipped",
    "offset",
    "paf",
    "paf_parts",
    "paf_sample",
    "vector",
    "window",
]

Decoder = HeatmapDecoder | PafDecoder | EmbeddingDecoder | OffsetDecoder | VectorDecoder | WindowDecoder
"""Any family's decoder; a new family adds its struct to this union."""
