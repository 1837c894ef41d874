"""Part affinity fields: OpenPose, Lightweight OpenPose and their kind."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.heatmap import emphasis, map_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, labelled_points, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.heatmap import background, heatmaps, openpose_peak
from pose_export.training.targets.paf import Divisor, part_affinity_fields
from pose_export.training.targets.places import learnt, map_size, to_map
from pose_runtime.decode import COCO18_LIMBS
from pose_runtime.decode.paf import Limb
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import skeleton


class PafMethod(BaseMethod, frozen=True, kw_only=True, tag="paf"):
    """Heatmaps and fields at every stage, squared errors; sizes as for Lightweight OpenPose.

    Outputs: for each stage (N, K + 1, H/s, W/s) heatmaps, the background last, then (N, C, H/s, W/s) fields.

    Attributes:
        skeleton: the K keypoints; COCO's 17 get OpenPose's neck between the shoulders.
        limbs: keypoints a and b, channels of the field in x and in y, as decoders and presets have them. C channels.
        stride: input pixels per map pixel.
        sigma: of the peaks, map pixels; 7 input pixels are published.
        combine: peaks of several people: `max` as the paper, which keeps near ones apart, or `sum` as the code.
        half_width: of the limbs, map pixels.
        overhang: of the limbs beyond both keypoints, map pixels; the paper has none, its code about the half-width,
            without which the short limbs of a small face have no field at all.
        divisor: of the fields where people overlap.
        foreground: how much more peaks and limbs count than emptiness, see `losses.heatmap.emphasis`.
    """

    skeleton: str = "openpose18"
    limbs: Annotated[tuple[Limb, ...], Meta(min_length=1)] = COCO18_LIMBS
    stride: Annotated[int, Meta(ge=1)] = 8
    sigma: Annotated[float, Meta(gt=0)] = 0.875
    combine: Literal["max", "sum"] = "max"
    half_width: Annotated[float, Meta(gt=0)] = 1.0
    overhang: Annotated[float, Meta(ge=0)] = 1.0
    divisor: Divisor = "present"
    foreground: Annotated[float, Meta(ge=0, le=1000)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        keypoints = len(skeleton(self.skeleton).names)
        if not all(0 <= end < keypoints for limb in self.limbs for end in limb[:2]):
            raise ExportError(f"limbs: got {self.limbs}, wanted keypoints 0 to {keypoints - 1} of {self.skeleton}")
        channels = sorted(channel for limb in self.limbs for channel in limb[2:])
        if channels != list(range(2 * len(self.limbs))):
            raise ExportError(f"limbs: got channels {channels}, wanted each of 0 to {2 * len(self.limbs) - 1} once")

    def targets(self, record: Record) -> Targets:
        """What OpenPose learns from a record.

        Returns:
            `heatmaps` float32 (K + 1, h, w), `pafs` float32 (C, h, w), `mask` bool (h, w), True where the loss counts.
        """
        input_wh = input_size(record)
        map_wh = map_size(input_wh, self.stride)
        xy, labelled = labelled_points(record, self.skeleton)
        points = to_map(xy, input_wh, map_wh, "centre")
        maps, _ = heatmaps(points, labelled, map_wh, openpose_peak(self.sigma, self.combine))
        pairs = [limb[:2] for limb in self.limbs]
        fields = part_affinity_fields(
            points, labelled, pairs, map_wh, half_width=self.half_width, overhang=self.overhang, divisor=self.divisor
        )
        ordered = np.empty_like(fields)
        ordered[[channel for limb in self.limbs for channel in limb[2:]]] = fields
        return {
            "heatmaps": np.concatenate([maps, background(maps)]),
            "pafs": ordered,
            "mask": learnt(record.ignored, map_wh),
        }

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms `heatmaps_t` and `pafs_t` of every stage t: half the sum over pixels, mean over the batch.

        Stages are summed, as published; Caffe's Euclidean loss has the half.
        """
        shapes = [tuple(targets[name].shape) for name in ("heatmaps", "pafs")]
        stages = max(len(outputs) // 2, 1)
        wanted_outputs(outputs, shapes * stages)
        terms = {}
        for stage in range(stages):
            for name, found in zip(("heatmaps", "pafs"), outputs[2 * stage :], strict=False):
                mask = emphasis(targets["mask"], targets[name], self.foreground)
                cost = map_loss(found, targets[name], mask=mask, reduce="sum")
                terms[f"{name}_{stage}"] = 0.5 * cost.mean()
        return terms
