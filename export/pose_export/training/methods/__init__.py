"""How networks learn: for each family what to make of a record (`targets`) and what an answer costs (`loss`).

method = msgspec.convert({"method": "embedding"}, AnyMethod)
targets = method.targets(record)
loss = sum(method.loss(outputs, batch).values())
"""

from __future__ import annotations

from pose_export.training.methods._base import Method, Targets
from pose_export.training.methods.boxes import BoxesMethod
from pose_export.training.methods.embedding import EmbeddingMethod
from pose_export.training.methods.heatmap import HeatmapMethod
from pose_export.training.methods.joint import JointMethod
from pose_export.training.methods.offset import OffsetMethod
from pose_export.training.methods.paf import PafMethod
from pose_export.training.methods.vector import VectorMethod

__all__ = [
    "AnyMethod",
    "BoxesMethod",
    "EmbeddingMethod",
    "HeatmapMethod",
    "JointMethod",
    "Method",
    "OffsetMethod",
    "PafMethod",
    "Targets",
    "VectorMethod",
]

AnyMethod = BoxesMethod | EmbeddingMethod | HeatmapMethod | JointMethod | OffsetMethod | PafMethod | VectorMethod
"""Any family's method; a new family adds its struct to this union."""
