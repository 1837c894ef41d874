"""Associative embedding: HigherHRNet and its kind, heatmaps at several resolutions and tags at the first."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.embedding import Variant, tag_loss
from pose_export.training.losses.heatmap import emphasis, map_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, labelled_points, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.embedding import tag_places
from pose_export.training.targets.heatmap import Peak, heatmaps, hourglass_peak
from pose_export.training.targets.places import learnt, map_size, to_map


class EmbeddingMethod(BaseMethod, frozen=True, kw_only=True, tag="embedding"):
    """Heatmaps by mean squared error, tags by pull and push; the defaults are HigherHRNet's but for `centre`.

    Outputs: (N, 2K, H/s, W/s) with K heatmaps, then K tags, at the first stride; (N, K, H/s, W/s) heatmaps at each
    further one.

    Attributes:
        skeleton: the K keypoints.
        strides: input pixels per map pixel, the tags' first.
        sigma: of the peaks, map pixels at every stride.
        centre: `truncated`, as published; or `exact`: around the real-valued point, half a map pixel up and left of
            it, where a truncated one is on average, so that the same decoder fits. It then finds ideal maps' keypoints
            to 0.14 input pixels instead of 0.63 (root mean square, strides 4 and 2).
        max_people: whose tags are learnt; the largest in the picture.
        tags: which pull and push, see `losses.embedding`.
        pull_weight, push_weight: in the loss.
        foreground: how much more peaks count than emptiness, see `losses.heatmap.emphasis`.
    """

    strides: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)] = (4, 2)
    sigma: Annotated[float, Meta(gt=0)] = 2.0
    centre: Literal["truncated", "exact"] = "exact"
    max_people: Annotated[int, Meta(ge=1)] = 30
    tags: Variant = "exp"
    pull_weight: Annotated[float, Meta(ge=0)] = 1e-3
    push_weight: Annotated[float, Meta(ge=0)] = 1e-3
    foreground: Annotated[float, Meta(ge=0, le=1000)] = 0.0

    def targets(self, record: Record) -> Targets:
        """What HigherHRNet learns from a record.

        Returns:
            `heatmaps_i` float16 (K, h, w) and `mask_i` bool (h, w), True where the loss counts, for every stride i;
            `joints` int32 (max_people, K, 2): index into the flattened tag maps, and 1 where there is a joint.
        """
        input_wh = input_size(record)
        xy, labelled = labelled_points(record, self.skeleton)
        made: Targets = {}
        for i, stride in enumerate(self.strides):
            map_wh = map_size(input_wh, stride)
            points = to_map(xy, input_wh, map_wh, "corner")
            drawn_at = points - 0.5 if self.centre == "exact" else points
            made[f"heatmaps_{i}"], _ = heatmaps(drawn_at, labelled, map_wh, self._peak(), dtype=np.float16)
            made[f"mask_{i}"] = learnt(record.ignored, map_wh)
            if i == 0:
                order = np.argsort(-record.areas, kind="stable")
                made["joints"] = tag_places(points[order], labelled[order], map_wh, max_people=self.max_people)
        return made

    def _peak(self) -> Peak:
        published = hourglass_peak(self.sigma)
        if self.centre == "truncated":
            return published
        return Peak(sigma=self.sigma, centre="exact", radius=published.radius, keep="all")

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms `heatmaps_i`, `pull`, `push`: means over the batch."""
        wanted = [targets[f"heatmaps_{i}"] for i in range(len(self.strides))]
        shapes = [tuple(maps.shape) for maps in wanted]
        batch, joints, *size = shapes[0]
        wanted_outputs(outputs, [(batch, 2 * joints, *size), *shapes[1:]])
        found = (outputs[0][:, :joints], *outputs[1:])
        terms = {}
        for i in range(len(found)):
            mask = emphasis(targets[f"mask_{i}"], wanted[i], self.foreground)
            terms[f"heatmaps_{i}"] = map_loss(found[i], wanted[i], mask=mask).mean()
        tags = tag_loss(outputs[0][:, joints:].reshape(batch, -1), targets["joints"], variant=self.tags)
        return {**terms, "pull": self.pull_weight * tags.pull.mean(), "push": self.push_weight * tags.push.mean()}
