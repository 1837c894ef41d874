"""Heatmaps of disks with offset fields: G-RMI (Papandreou et al. 2017, arXiv 1701.01779)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps, as_out
from pose_runtime.decode._common import Decoded, Grid, only, to_input
from pose_runtime.errors import DecodeError

_MAX_PIXELS = 1 << 22


def offset(
    heatmaps: ArrayLike,
    offsets: ArrayLike,
    *,
    radius: float,
    logits: bool,
    fused: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Hough voting: each pixel votes, with its probability, for the place that its offset points at.

    Args:
        heatmaps: (K, H, W) probabilities that a pixel lies in the joint's disk, at most 2^22 pixels each; clamped to
            0..1, NaN votes nothing.
        offsets: (K, 2, H, W) from each pixel to the joint: x, y in map pixels. Votes off the map are dropped.
        radius: of the disks that the heatmaps were trained with, map pixels; votes are divided by its area.
        logits: the heatmaps hold logits; their sigmoid is taken.
        fused: float32 (K, H, W), overwritten with the votes; made where None.

    Returns:
        keypoints float32 (1, K, 3): x, y of the highest pixel in map pixels and its votes; NaN, NaN, 0 where nothing
        was voted for. Scores float32 (1,): the mean of the K heights.
    """
    heat = as_maps("heatmaps", heatmaps, (None, None, None))
    shape = heat.shape
    if shape[1] * shape[2] > _MAX_PIXELS:
        raise DecodeError(f"heatmaps: got {shape[1]} x {shape[2]}, wanted at most {_MAX_PIXELS} pixels")
    vectors = as_maps("offsets", offsets, (shape[0], 2, *shape[1:]))
    if not 0 < radius < math.inf:
        raise DecodeError(f"radius: got {radius}, wanted a positive number of map pixels")
    fused = as_out("fused", fused, shape)
    points = np.empty((shape[0], 3), np.float32)
    native.offset(heat, vectors, logits, radius, fused, points)
    return points[None], _scores(points[None])


def _scores(points: FloatArray) -> FloatArray:
    """The mean height of each person's peaks (N, K, 3)."""
    scores: FloatArray = points[..., 2].mean(axis=1)
    return scores


class OffsetDecoder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="offset"):
    """Decoder of one person per input by Hough voting; the person's score is the mean height of all K peaks.

    Needs roles `heatmaps` (K, H, W) and `offsets` (2K, H, W), x and y of the first joint first, map pixels. A keypoint
    whose score is not above `min_score` is missing; a person without keypoints is not returned.
    """

    radius: Annotated[float, Meta(gt=0)]
    logits: bool
    min_score: Annotated[float, Meta(ge=-1e6, le=1e6)]
    grid: Grid

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """The person in one network input, in input pixels."""
        heat, offsets = only(outputs, "heatmaps"), only(outputs, "offsets")
        if offsets.shape != (2 * heat.shape[0], *heat.shape[1:]):
            raise DecodeError(f"offsets: got shape {offsets.shape} for heatmaps {heat.shape}, wanted (2K, H, W)")
        pairs = offsets.reshape(heat.shape[0], 2, *heat.shape[1:])
        points, _ = offset(heat, pairs, radius=self.radius, logits=self.logits)
        return self.person(points, (heat.shape[2], heat.shape[1]), input_wh)

    def person(self, points: FloatArray, map_wh: tuple[int, int], input_wh: tuple[int, int]) -> Decoded:
        """The person whose peaks are points (1, K, 3), map pixels; they are overwritten."""
        scores = _scores(points)
        points[~(points[..., 2] > self.min_score)] = (np.nan, np.nan, 0)
        if not points[..., 2].any():
            return Decoded(points[:0], scores[:0])
        to_input(points, map_wh, input_wh, self.grid)
        return Decoded(points, scores)
