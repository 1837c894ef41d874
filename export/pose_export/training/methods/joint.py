"""Several methods at once, for a network with a head for each."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from torch import Tensor

from pose_export.training.methods._base import BaseMethod, Targets
from pose_export.training.methods.embedding import EmbeddingMethod
from pose_export.training.methods.heatmap import HeatmapMethod
from pose_export.training.methods.paf import PafMethod
from pose_export.training.record import Record
from pose_runtime.errors import ExportError


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One head.

    Attributes:
        method: how it learns.
        outputs: how many of the network's outputs, in order, are its own.
        weight: of its loss.
    """

    method: EmbeddingMethod | HeatmapMethod | PafMethod
    outputs: Annotated[int, Meta(ge=1, le=64)]
    weight: Annotated[float, Meta(gt=0)] = 1.0


class JointMethod(BaseMethod, frozen=True, kw_only=True, tag="joint"):
    """The sum of the losses of several heads on the same pictures.

    Attributes:
        skeleton: of no meaning here; each part has its own.
        parts: in the order of the network's outputs.
    """

    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=16)]

    def targets(self, record: Record) -> Targets:
        """Those of every part, with its number before their names: `0.mask`."""
        return {
            f"{i}.{name}": value
            for i, part in enumerate(self.parts)
            for name, value in part.method.targets(record).items()
        }

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of every part, with its number before their names.

        Raises:
            ExportError: the network has more or fewer outputs than the parts want, or they do not fit.
        """
        wanted = sum(part.outputs for part in self.parts)
        if len(outputs) != wanted:
            raise ExportError(f"outputs: got {len(outputs)}, the parts of the method want {wanted}")
        terms: dict[str, Tensor] = {}
        start = 0
        for i, part in enumerate(self.parts):
            mine = {name.removeprefix(f"{i}."): value for name, value in targets.items() if name.startswith(f"{i}.")}
            found = part.method.loss(outputs[start : start + part.outputs], mine)
            terms |= {f"{i}.{name}": part.weight * term for name, term in found.items()}
            start += part.outputs
        return terms
