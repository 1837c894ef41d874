"""Where a network is quantised: one plan, two graphs."""

from pose_calibration.placement.candidates import candidates
from pose_calibration.placement.cpu import cpu_graph, cpu_share
from pose_calibration.placement.fp16 import fp16_graph
from pose_calibration.placement.tensorrt import tensorrt_graph
from pose_calibration.placement.weighted import Weighted, blocks, int8_share, weighted

__all__ = [
    "Weighted",
    "blocks",
    "candidates",
    "cpu_graph",
    "cpu_share",
    "fp16_graph",
    "int8_share",
    "tensorrt_graph",
    "weighted",
]
