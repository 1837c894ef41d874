"""Coordinates as classification: SimCC (Li et al. 2022, arXiv 2107.03332), RTMPose (Jiang et al. 2023, 2303.07399)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps
from pose_runtime.decode._common import PROBE_SIDE, Decoded, Grid
from pose_runtime.errors import DecodeError

MAX_SPLIT = 16


def simcc(xs: ArrayLike, ys: ArrayLike, *, split_ratio: float) -> FloatArray:
    """The most likely bin of each row, as RTMPose is deployed (MMPose's get_simcc_maximum, without softmax).

    Args:
        xs: (N, K, Wx) along x.
        ys: (N, K, Wy) along y.
        split_ratio: bins per input pixel.

    Returns:
        float32 (N, K, 3): x, y in input pixels, bin / split_ratio, and the lower of both rows' maxima; NaN, NaN, 0
        where that is not finite and above 0. Of equal bins the first counts; NaN is passed over.
    """
    along_x = as_maps("simcc x", xs, (None, None, None))
    along_y = as_maps("simcc y", ys, (*along_x.shape[:2], None))
    if not 0 < split_ratio <= MAX_SPLIT:
        raise DecodeError(f"split_ratio: got {split_ratio}, wanted above 0, at most {MAX_SPLIT}")
    out = np.empty((*along_x.shape[:2], 3), np.float32)
    native.simcc(along_x, along_y, split_ratio, out)
    return out


class SimccDecoder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="simcc"):
    """Decoder of one person per crop; the person's score is the mean of the scores above `min_score`.

    Needs role `simcc` twice: (K, Wx) along x, then (K, Wy) along y, with `split_ratio` bins per input pixel. A keypoint
    whose score is not above `min_score` is missing; a person without keypoints is not returned.
    """

    split_ratio: Annotated[float, Meta(gt=0, le=MAX_SPLIT)]
    min_score: Annotated[float, Meta(ge=0, le=1e6)]
    grid: Grid

    def probe_shape(self, role: str, index: int, count: int, joints: int) -> tuple[int, ...]:  # noqa: ARG002
        """A small shape of an output, without the batch, for an input of `PROBE_SIDE` pixels.

        Args:
            role, index: its role, and its place among those of that role.
            count: channels that the manifest gives it.
            joints: of the skeleton.
        """
        return count, self.bins(PROBE_SIDE)

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """The person in one network input, in input pixels."""
        xs, ys = self.rows(outputs, input_wh)
        return self.person(simcc(xs[None], ys[None], split_ratio=self.split_ratio))

    def rows(self, outputs: Mapping[str, Sequence[Any]], input_wh: tuple[int, int]) -> tuple[Any, Any]:
        """The outputs along x and y, checked; anything with a shape."""
        arrays = outputs.get("simcc", ())
        if len(arrays) != 2:
            raise DecodeError(f"outputs: got {len(arrays)} of role 'simcc', wanted 2: along x, along y")
        for array, size, axis in zip(arrays, input_wh, "xy", strict=True):
            bins = self.bins(size)
            if len(array.shape) != 2 or array.shape[1] != bins or array.shape[0] != arrays[0].shape[0]:
                wanted = f"(K, {bins}) for {size} pixels and split_ratio {self.split_ratio:g}"
                raise DecodeError(f"simcc {axis}: got shape {array.shape}, wanted {wanted}")
        return arrays[0], arrays[1]

    def bins(self, size: int) -> int:
        """Of a side of the input, as the authors count them."""
        return int(size * self.split_ratio)

    def person(self, points: FloatArray) -> Decoded:
        """The person of points (1, K, 3), input pixels; they are overwritten."""
        missing = ~(points[..., 2] > self.min_score)
        points[missing] = (np.nan, np.nan, 0)
        found = points[~missing]
        if not len(found):
            return Decoded(points[:0], np.zeros(0, np.float32))
        return Decoded(points, np.array([found[:, 2].mean()], np.float32))
