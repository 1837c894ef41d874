"""Fine maps in windows around coarse peaks: Tompson et al. 2015, arXiv 1411.4280."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps
from pose_runtime.decode._common import Decoded, Grid, only
from pose_runtime.errors import DecodeError


def window(fine: ArrayLike, windows: ArrayLike, *, stride: float = 1.0) -> FloatArray:
    """Each joint where its window's fine map is highest: the corner of the window plus the way from there.

    The paper adds the offset from the window's middle to the coarse peak that the window is around, which is the same.

    Args:
        fine: (N, K, h, w) maps, one per window.
        windows: (N, K, 2) x, y of each window's first pixel, pixels of the network's input; may lie outside of it.
        stride: input pixels per pixel of `fine`.

    Returns:
        float32 (N, K, 3): x, y in input pixels and the map's height there. NaN, NaN, 0 where a map has no finite
        positive maximum.
    """
    maps = as_maps("fine", fine, (None, None, None, None))
    corners = as_maps("windows", windows, (*maps.shape[:2], 2))
    if not 0 < stride < np.inf:
        raise DecodeError(f"stride: got {stride}, wanted a positive number of input pixels")
    out = np.empty((*maps.shape[:2], 3), np.float32)
    native.window(maps, corners, stride, out)
    return out


class WindowDecoder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="window"):
    """Decoder of one person per input by coarse and fine maps; the person's score is the mean of the keypoints'.

    Needs roles `windows`, 2K values x1, y1, x2, y2, … in pixels of the input, and `fine` (K, h, w), one of whose
    pixels is `stride` pixels of the input. A keypoint whose score is not above `min_score` is missing; a person
    without keypoints is not returned.
    """

    stride: Annotated[float, Meta(gt=0, le=8192)]
    min_score: Annotated[float, Meta(ge=-1e6, le=1e6)]

    @property
    def grid(self) -> Grid:
        """Keypoints are pixels of the input already."""
        return "centre"

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:  # noqa: ARG002
        """The person in one network input, in input pixels."""
        fine, windows = only(outputs, "fine"), only(outputs, "windows")
        if fine.ndim != 3 or windows.shape != (2 * len(fine),):
            raise DecodeError(
                f"windows: got shape {windows.shape} for fine maps {fine.shape}, wanted (2K,) and (K, h, w)"
            )
        return self.person(window(fine[None], windows.reshape(1, -1, 2), stride=self.stride))

    def person(self, points: FloatArray) -> Decoded:
        """The person of points (1, K, 3), input pixels; they are overwritten."""
        missing = ~(points[..., 2] > self.min_score)
        points[missing] = (np.nan, np.nan, 0)
        found = points[~missing]
        if not len(found):
            return Decoded(points[:0], np.zeros(0, np.float32))
        return Decoded(points, np.array([found[:, 2].mean()], np.float32))
