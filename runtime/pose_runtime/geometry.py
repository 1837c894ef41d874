"""How a frame becomes a network input, and how keypoints find back.

A resize rule (part of the manifest) plans a Geometry for one frame; the native pre-processing samples along it, and
`Geometry.to_source` maps decoded keypoints back. Coordinates are x, y, centre of the first pixel at (0, 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct

from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.decode._common import Grid
from pose_runtime.errors import FrameError

Interpolation = Literal["bilinear", "bicubic"]
Convention = Literal["hrnet", "dark", "udp"]
Pad = Annotated[float, Meta(ge=0, le=255)]
Box = tuple[float, float, float, float]
"""x, y, width, height in source pixels."""

MAX_INPUT_SIDE = 16384
"""Longest side of a network input, in pixels; a frame of absurd shape would want more from `ShortSide`."""


class Stretch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="stretch"):
    """The whole frame to the whole input, aspect not kept (as cv2.resize).

    round_pixels: sampled values are rounded to whole grey levels and clamped to 0..255 before mean and std, as where
    the authors resize uint8 images.
    """

    interpolation: Interpolation
    round_pixels: bool


class Letterbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="letterbox"):
    """The whole frame inside the input, aspect kept exactly, the rest `pad` (grey level before mean and std).

    anchor: `centre` and `top_left` resize (as cv2.resize with one factor for both axes) and pad on both sides, the
    odd pixel right and below, or right and below only. `origin` warps instead: pixel (0, 0) stays in place and indices
    are scaled (as cv2.warpAffine, OpenPose), every tap outside the frame being `pad`.
    """

    interpolation: Interpolation
    round_pixels: bool
    pad: Pad
    anchor: Literal["centre", "top_left", "origin"]


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
    convention: Convention
    round_pixels: bool


Resize = Stretch | Letterbox | ShortSide | Crop


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The way between one frame and one network input.

    Attributes:
        inverse: float64 (2, 3); source pixel = inverse · (input x, input y, 1), between pixel centres.
        size_wh: of the network input.
        inner: left, top, right, bottom (exclusive) of the input pixels that show the frame; the others are `pad`.
        resized: True where the rule resizes an image (its corners meet), False where it warps pixel indices.
        interpolation, pad, round_pixels: of the rule.
        replicate: taps outside the frame repeat its edge pixels (cv2.resize); otherwise they are `pad`
            (cv2.warpAffine).
    """

    inverse: Float64Array
    size_wh: tuple[int, int]
    inner: tuple[int, int, int, int]
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


def plan(rule: Resize, source_wh: tuple[int, int], input_wh: tuple[int, int], box: Box | None = None) -> Geometry:
    """The way of one frame (or one box of it) into the network input.

    Args:
        rule: of the bundle.
        source_wh: of the frame.
        input_wh: of the network; (0, 0) for a `ShortSide` graph, whose size follows from the frame.
        box: the person, for `Crop` only; None is the whole frame.

    Raises:
        FrameError: sizes that are not positive or absurd, a box that is empty or not finite, or one without a crop.
    """
    _check_size("frame size", source_wh)
    if box is not None and not isinstance(rule, Crop):
        raise FrameError(f"box: got one, but the rule {type(rule).__name__} shows whole frames; use a crop rule")
    if isinstance(rule, ShortSide):
        return _short_side(rule, source_wh, input_wh)
    _check_size("input size", input_wh)
    if isinstance(rule, Crop):
        whole = (0.0, 0.0, float(source_wh[0]), float(source_wh[1]))
        centre, size = crop_frame(rule, whole if box is None else box, input_wh)
        inverse = crop_inverse(rule.convention, centre, size, input_wh)
        return _warp(inverse, input_wh, "bilinear", rule.round_pixels, 0.0)
    if isinstance(rule, Letterbox):
        return _letterbox(rule, source_wh, input_wh)
    step_x, step_y = source_wh[0] / input_wh[0], source_wh[1] / input_wh[1]
    return _resize(rule, (step_x, step_y), input_wh, (0, 0, *input_wh), 0.0)


def _check_size(what: str, size_wh: tuple[int, int]) -> None:
    if not all(0 < n <= MAX_INPUT_SIDE for n in size_wh):
        raise FrameError(f"{what}: got {size_wh[0]} x {size_wh[1]}, wanted 1 to {MAX_INPUT_SIDE} pixels each way")


def _resize(
    rule: Stretch | Letterbox,
    step: tuple[float, float],
    size_wh: tuple[int, int],
    inner: tuple[int, int, int, int],
    pad: float,
) -> Geometry:
    """As cv2.resize into `inner`; `step` is source pixels per input pixel."""
    x, y = (0.5 * s - 0.5 - s * start for s, start in zip(step, inner[:2], strict=True))
    inverse = np.array([[step[0], 0, x], [0, step[1], y]])
    return Geometry(inverse, size_wh, inner, True, rule.interpolation, rule.round_pixels, pad, True)


def _warp(
    inverse: Float64Array, size_wh: tuple[int, int], interpolation: Interpolation, round_pixels: bool, pad: float
) -> Geometry:
    """As cv2.warpAffine."""
    return Geometry(inverse, size_wh, (0, 0, *size_wh), False, interpolation, round_pixels, pad, False)


def _letterbox(rule: Letterbox, source_wh: tuple[int, int], input_wh: tuple[int, int]) -> Geometry:
    (width, height), (input_width, input_height) = source_wh, input_wh
    step = max(width / input_width, height / input_height)
    if rule.anchor == "origin":
        inverse = np.array([[step, 0, 0], [0, step, 0]])
        return _warp(inverse, input_wh, rule.interpolation, rule.round_pixels, rule.pad)
    shown_w, shown_h = (min(max(round(n / step), 1), most) for n, most in zip(source_wh, input_wh, strict=True))
    left, top = 0, 0
    if rule.anchor == "centre":
        left, top = (input_width - shown_w) // 2, (input_height - shown_h) // 2
    return _resize(rule, (step, step), input_wh, (left, top, left + shown_w, top + shown_h), rule.pad)


# ---- HigherHRNet ---------------------------------------------------------------------------------------------


class InputSize(NamedTuple):
    """HigherHRNet's input for one frame: its size, and the centre and size of what it shows, source pixels."""

    size_wh: tuple[int, int]
    centre: tuple[int, int]
    shown_wh: tuple[float, float]


def _ceil64(value: float) -> int:
    """The authors' way up to a multiple of 64; a fraction above one is cut (512.5 gives 512)."""
    return int((value + 63) // 64 * 64)


def short_side_size(source_wh: tuple[int, int], base: int, scale: float = 1.0, smallest: float = 1.0) -> InputSize:
    """HigherHRNet's test size, with the authors' truncations.

    Args:
        source_wh: of the frame.
        base: short side at scale 1, before rounding up to 64.
        scale: this run's scale of a multi-scale test.
        smallest: the smallest scale of the test.
    """
    width, height = source_wh
    short_side = _ceil64(smallest * base)
    portrait = width < height
    short, long = (width, height) if portrait else (height, width)
    fixed = int(short_side * scale / smallest)
    other = int(_ceil64(short_side / short * long) * scale / smallest)
    shown = short * other / fixed
    centre = (int(width / 2 + 0.5), int(height / 2 + 0.5))
    if portrait:
        return InputSize((fixed, other), centre, (short, shown))
    return InputSize((other, fixed), centre, (shown, short))


def _short_side(rule: ShortSide, source_wh: tuple[int, int], input_wh: tuple[int, int]) -> Geometry:
    size_wh, centre, shown_wh = short_side_size(source_wh, rule.base)
    _check_size("input size for this frame", size_wh)
    if input_wh not in ((0, 0), size_wh):
        raise FrameError(f"input size: got {input_wh}, the frame needs {size_wh}; use a graph that takes any size")
    inverse = crop_inverse("hrnet", centre, shown_wh, size_wh)
    return _warp(inverse, size_wh, "bilinear", rule.round_pixels, 0.0)


# ---- crops ---------------------------------------------------------------------------------------------------


def crop_frame(rule: Crop, box: Box, input_wh: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centre (x, y) and size (width, height), source pixels, of what a crop of `box` shows.

    The box grows to the input's aspect around its centre, then by `enlarge`. The authors' "scale" is the size / 200.
    """
    x, y, width, height = box
    if not (all(map(math.isfinite, box)) and 0 < width < 1e6 and 0 < height < 1e6 and max(abs(x), abs(y)) < 1e6):
        raise FrameError(f"box: got {box}, wanted finite x, y and a positive width and height below 1e6 pixels")
    edge = 1 if rule.convention == "dark" else 0  # DarkPose's centre lies between the first and the last pixel
    centre = (x + (width - edge) / 2, y + (height - edge) / 2)
    aspect = input_wh[0] / input_wh[1]
    width, height = max(width, aspect * height), max(height, width / aspect)
    return centre, (width * rule.enlarge, height * rule.enlarge)


def crop_inverse(
    convention: Convention,
    centre: tuple[float, float],
    shown_wh: tuple[float, float],
    input_wh: tuple[int, int],
    rotation: float = 0.0,
) -> Float64Array:
    """float64 (2, 3): from input pixels to source pixels.

    Args:
        convention: `hrnet` maps sizes onto sizes with one factor, that of the width; `dark` sizes minus one onto sizes
            minus one, also by the width; `udp` the shown size onto the input's size minus one, each axis by itself.
        centre: x, y of the source pixel that falls on the middle of the input.
        shown_wh: size of what is shown, source pixels (200 · the authors' scale).
        input_wh: of the network.
        rotation: degrees; the image turns by it anticlockwise, as the authors' affine does.
    """
    width, height = input_wh
    last = (max(width - 1, 1), max(height - 1, 1))  # a side of one pixel has no extent; keep the map finite
    if convention == "hrnet":
        step_x = step_y = shown_wh[0] / width
        middle = (width / 2, height / 2)
    else:
        middle = ((width - 1) / 2, (height - 1) / 2)
        step_x, step_y = shown_wh[0] / last[0], shown_wh[1] / last[1]
        if convention == "dark":
            step_x = step_y = (shown_wh[0] - 1) / last[0]
    if not (step_x > 0 and step_y > 0):
        raise FrameError(f"box: got {shown_wh[0]:.3g} pixels after enlarging, wanted over 1; leave out tiny boxes")
    angle = math.radians(rotation)
    sin, cos = math.sin(angle), math.cos(angle)
    turn = np.array([[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]])
    return np.column_stack([turn, np.array(centre) - turn @ np.array(middle)])
