"""How a frame becomes a network input, and how keypoints find back.

A resize rule (part of the manifest) plans a Geometry for one frame; the native pre-processing samples along it, and
`Geometry.to_source` maps decoded keypoints back. Coordinates are x, y, centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.decode._common import Grid

Interpolation = Literal["bilinear", "bicubic"]
Pad = Annotated[float, Meta(ge=0, le=255)]
Box = tuple[float, float, float, float]
"""x, y, width, height in source pixels."""


class Stretch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="stretch"):
    """The whole frame to the whole input, aspect not kept (as cv2.resize).

    round_pixels: sampled values are rounded to whole grey levels and clamped to 0..255 before mean and std, as where
    the authors resize uint8 images.
    """

    interpolation: Interpolation
    round_pixels: bool


class Letterbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="letterbox"):
    """The whole frame inside the input, aspect kept, the rest `pad` (grey level before mean and std)."""

    interpolation: Interpolation
    round_pixels: bool
    pad: Pad
    anchor: Literal["centre", "top_left"]


class ShortSide(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="short_side"):
    """HigherHRNet's test size: short side to `base` (a multiple of 64), long side to the multiple of 64 that fits.

    For graphs that take any size; black margins.
    """

    base: Annotated[int, Meta(ge=64, le=4096)]
    round_pixels: bool


class Crop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="crop"):
    """One person's box, extended to the input's aspect and enlarged, warped bilinearly; black outside the frame.

    convention: `hrnet` (SimpleBaseline, HRNet), `dark` (DarkPose) or `udp` (unbiased data processing): whether the
    scale is between sizes or between sizes minus one.
    """

    enlarge: Annotated[float, Meta(gt=0, le=4)]
    convention: Literal["hrnet", "dark", "udp"]
    round_pixels: bool


Resize = Stretch | Letterbox | ShortSide | Crop


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The way between one frame and one network input.

    Attributes:
        inverse: float64 (2, 3); source pixel = inverse · (input x, input y, 1), between pixel centres.
        size_wh: of the network input.
        resized: True where the rule resizes an image (its corners meet), False where it warps pixel indices.
        interpolation, pad, round_pixels: of the rule.
        replicate: taps outside the frame repeat its edge pixels inside the frame's area and are `pad` beyond it
            (cv2.resize and a border); otherwise each tap outside is `pad` (cv2.warpAffine).
    """

    inverse: Float64Array
    size_wh: tuple[int, int]
    resized: bool
    interpolation: Interpolation
    round_pixels: bool
    pad: float
    replicate: bool

    def to_source(self, keypoints: FloatArray, grid: Grid) -> None:
        """Map x and y of keypoints (..., 3) from input pixels to source pixels, in place (see `decode.Grid`)."""
        matrix = self.inverse.copy()
        if self.resized and grid == "corner":  # the authors scale without the half pixels of a resize
            matrix[:, 2] += 0.5 - 0.5 * matrix[:, :2].sum(axis=1)
        x, y = keypoints[..., 0].astype(float), keypoints[..., 1].astype(float)
        keypoints[..., 0] = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
        keypoints[..., 1] = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
