"""One heatmap per keypoint of one person: SimpleBaseline, HRNet, stacked hourglass, CPM and their kind."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from torch import Tensor

from pose_export.training.losses.heatmap import Kind, map_loss
from pose_export.training.methods._base import BaseMethod, Targets, input_size, the_person, wanted_outputs
from pose_export.training.record import Record
from pose_export.training.targets.heatmap import heatmaps, msra_peak, unbiased_peak
from pose_export.training.targets.places import learnt, map_size, to_map
from pose_runtime.decode import Grid


class HeatmapMethod(BaseMethod, frozen=True, kw_only=True, tag="heatmap"):
    """One person per record; the defaults are HRNet's but for `peak`.

    Outputs: (N, K, H/s, W/s) heatmaps, of one stage or of several, which are summed.

    Attributes:
        skeleton: the K keypoints.
        stride: input pixels per map pixel.
        sigma: of the peaks, map pixels.
        peak: `msra`, HRNet's: around the rounded point; `unbiased`, DARK's: around the real-valued one. Of ideal maps
            at stride 4 the quarter rule finds keypoints to 1.2 and 0.6 input pixels, DARK to 1.2 and 0.001.
        grid: of the decoder; `corner` for HRNet, `aligned` for DARK and UDP.
        kind: loss of a pixel; for `logistic` outputs are logits.
    """

    stride: Annotated[int, Meta(ge=1)] = 4
    sigma: Annotated[float, Meta(gt=0)] = 2.0
    peak: Literal["msra", "unbiased"] = "unbiased"
    grid: Grid = "corner"
    kind: Kind = "l2"

    def targets(self, record: Record) -> Targets:
        """What HRNet learns from one person's crop.

        Returns:
            `heatmaps` float32 (K, h, w); `weights` float32 (K,), 0 where the keypoint is not labelled or off the map;
            `mask` bool (h, w), True where the loss counts.
        """
        input_wh = input_size(record)
        map_wh = map_size(input_wh, self.stride)
        xy, labelled = the_person(record, self.skeleton)
        points = to_map(xy, input_wh, map_wh, self.grid)[None]
        maps, drawn = heatmaps(points, labelled[None], map_wh, msra_peak(self.sigma))
        if self.peak == "unbiased":  # of the joints that the usual rule keeps, as in DARK's code
            maps, _ = heatmaps(points, drawn, map_wh, unbiased_peak(self.sigma))
        return {"heatmaps": maps, "weights": drawn[0].astype("float32"), "mask": learnt(record.ignored, map_wh)}

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms `heatmaps_t` of every stage t: half the mean over joints, pixels and the batch."""
        wanted_outputs(outputs, [tuple(targets["heatmaps"].shape)] * max(len(outputs), 1))
        return {
            f"heatmaps_{stage}": 0.5
            * map_loss(
                found, targets["heatmaps"], mask=targets["mask"], weights=targets["weights"], kind=self.kind
            ).mean()
            for stage, found in enumerate(outputs)
        }
