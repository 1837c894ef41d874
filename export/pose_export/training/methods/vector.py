"""Coordinates of one person: DeepPose (Toshev & Szegedy, CVPR 2014, arXiv 1312.4659) and later regressors."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.vector import coordinate_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, the_person, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.vector import normalise
from pose_runtime.decode import Grid
from pose_runtime.decode.vector import Origin


class VectorMethod(BaseMethod, frozen=True, kw_only=True, tag="vector"):
    """One person per record; the defaults are DeepPose's first stage.

    Outputs: (N, 2K): x and y of the first joint, and so on, in units of the input's size.

    Attributes:
        skeleton: the K keypoints.
        origin, grid: of the decoder.
        kind: `l2` is DeepPose's, `huber` mmpose's SmoothL1.
        weight: of the loss.
    """

    origin: Origin = "centre"
    grid: Grid = "centre"
    kind: Literal["l2", "l1", "huber"] = "l2"
    weight: Annotated[float, Meta(gt=0)] = 1.0

    def targets(self, record: Record) -> Targets:
        """What DeepPose learns from one person's crop.

        Returns:
            `values` float32 (2K,), 0 where not labelled; `weights` float32 (K,), 0 there and 1 elsewhere.
        """
        xy, labelled = the_person(record, self.skeleton)
        first, less = (-0.5 if self.grid == "centre" else 0.0), int(self.grid == "aligned")
        width, height = (size - less for size in input_size(record))
        box = [[first + width / 2, first + height / 2, width, height]]
        values = np.where(labelled[:, None], normalise(xy[None], box, origin=self.origin)[0], 0)
        return {"values": values.ravel().astype(np.float32), "weights": labelled.astype(np.float32)}

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Term `values`: sum over the labelled joints, mean over the batch."""
        wanted_outputs(outputs, [tuple(targets["values"].shape)])
        found, wanted = (values.reshape(len(values), -1, 2) for values in (outputs[0], targets["values"]))
        return {"values": self.weight * coordinate_loss(found, wanted, targets["weights"], kind=self.kind).mean()}
