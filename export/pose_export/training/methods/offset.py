"""Disks and offsets of one person: G-RMI (Papandreou et al., CVPR 2017, arXiv 1701.01779)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.heatmap import map_loss
from pose_export.training.losses.offset import offset_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, labelled_points, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.offset import disks_and_offsets
from pose_export.training.targets.places import learnt, map_size, to_map
from pose_runtime.decode import Grid
from pose_runtime.errors import ExportError


class OffsetMethod(BaseMethod, frozen=True, kw_only=True, tag="offset"):
    """The record's first person is learnt; the disks of others are not, neither as disk nor as nothing.

    Outputs: (N, K, H/s, W/s) logits, and (N, 2K, H/s, W/s) offsets in map pixels, x and y of the first joint first.

    Attributes:
        skeleton: the K keypoints.
        stride: input pixels per map pixel; the paper enlarges its maps to the input's size, 1.
        radius: of the disks, map pixels.
        grid: of the decoder.
        heatmap_weight, offset_weight: in the loss; 4 and 1 in the paper.
    """

    stride: Annotated[int, Meta(ge=1)] = 1
    radius: Annotated[float, Meta(gt=0)] = 25.0
    grid: Grid = "centre"
    heatmap_weight: Annotated[float, Meta(ge=0)] = 4.0
    offset_weight: Annotated[float, Meta(ge=0)] = 1.0

    def targets(self, record: Record) -> Targets:
        """What G-RMI learns from one person's crop.

        Returns:
            `disks` bool (K, h, w); `offsets` float16 (2K, h, w), to 0.01 pixels; `mask` bool (K, h, w), True where the
            disks' loss counts: not in others' disks, not for keypoints that are not labelled.
        """
        input_wh = input_size(record)
        map_wh = map_size(input_wh, self.stride)
        xy, labelled = labelled_points(record, self.skeleton)
        if not len(xy):
            raise ExportError(f"{record.name}: got nobody, wanted a person; crop the picture around each person")
        points = to_map(xy, input_wh, map_wh, self.grid)
        disks, offsets = disks_and_offsets(points[0], labelled[0], map_wh, radius=self.radius, dtype=np.float16)
        mask = np.repeat(learnt(record.ignored, map_wh)[None], len(disks), axis=0)
        for i in range(1, len(xy)):
            mask &= ~disks_and_offsets(points[i], labelled[i], map_wh, radius=self.radius)[0]
        mask |= disks
        return {
            "disks": disks,
            "offsets": offsets.reshape(-1, map_wh[1], map_wh[0]),
            "mask": mask & labelled[0, :, None, None],
        }

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms `heatmaps` (logistic) and `offsets` (Huber): sums over joints and pixels, means over the batch."""
        disks, offsets = targets["disks"], targets["offsets"]
        wanted_outputs(outputs, [tuple(disks.shape), tuple(offsets.shape)])
        heat = map_loss(outputs[0], disks, mask=targets["mask"], kind="logistic", reduce="sum")
        batch, joints, *size = disks.shape
        pairs = [maps.reshape(batch, joints, 2, *size) for maps in (outputs[1], offsets)]
        move = offset_loss(pairs[0], pairs[1], disks)
        return {"heatmaps": self.heatmap_weight * heat.mean(), "offsets": self.offset_weight * move.mean()}
