"""People as boxes: a map of centres and distances to the sides ("Objects as Points", arXiv 1904.07850)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.boxes import focal_loss, giou_loss, side_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.boxes import box_targets
from pose_export.training.targets.places import learnt, map_size


class BoxesMethod(BaseMethod, frozen=True, kw_only=True, tag="boxes"):
    """Everybody's box, whatever keypoints they have.

    Outputs: (N, 1, H/s, W/s) logits of centres, and (N, 4, H/s, W/s) distances from a cell's centre to the box's left,
    top, right and bottom side, in strides.

    Attributes:
        skeleton: of boxes.
        stride: input pixels per cell.
        giou_weight, side_weight: of the two losses of the distances; 0 and 0.1 are published (of sizes there).
    """

    skeleton: str = "box2"
    stride: Annotated[int, Meta(ge=1)] = 8
    giou_weight: Annotated[float, Meta(ge=0)] = 1.0
    side_weight: Annotated[float, Meta(ge=0)] = 0.1

    def targets(self, record: Record) -> Targets:
        """What the detector learns from a picture.

        Returns:
            `heatmaps` float32 (1, h, w); `boxes` float16 (4, h, w); `weights` float32 (h, w), of the boxes; `mask`
            bool (h, w), True where the centres' loss counts: not in crowds and other ignored regions.
        """
        map_wh = map_size(input_size(record), self.stride)
        heat, distances, weights, centres = box_targets(record.boxes, map_wh, self.stride)
        mask = learnt(record.ignored, map_wh) | centres
        return {"heatmaps": heat[None], "boxes": distances.astype(np.float16), "weights": weights, "mask": mask}

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms `heatmaps` (focal, per person), `giou` and `sides`."""
        heat, boxes, weights = targets["heatmaps"], targets["boxes"], targets["weights"]
        wanted_outputs(outputs, [tuple(heat.shape), tuple(boxes.shape)])
        people = (heat == 1).sum().clamp(min=1)
        return {
            "heatmaps": focal_loss(outputs[0], heat, targets["mask"]) / people,
            "giou": self.giou_weight * giou_loss(outputs[1], boxes, weights),
            "sides": self.side_weight * side_loss(outputs[1], boxes, weights),
        }
