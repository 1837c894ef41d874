"""From network outputs to people. One module per family; every function also stands alone.

Arrays are C-contiguous float32 (others are copied); coordinates are x, y with the centre of the first pixel at
(0, 0). A missing keypoint has score 0 and NaN coordinates; nobody found is N = 0.
"""

from __future__ import annotations

from pose_runtime.decode._common import Decoded, Grid
from pose_runtime.decode.heatmap import HeatmapDecoder, gaussian_kernel, heatmap
from pose_runtime.decode.offset import OffsetDecoder, offset
from pose_runtime.decode.vector import VectorDecoder, cascade_boxes, vector

__all__ = [
    "Decoded",
    "Decoder",
    "Grid",
    "HeatmapDecoder",
    "OffsetDecoder",
    "VectorDecoder",
    "cascade_boxes",
    "gaussian_kernel",
    "heatmap",
    "offset",
    "vector",
]

Decoder = HeatmapDecoder | OffsetDecoder | VectorDecoder
"""Any family's decoder; a new family adds its struct to this union."""
