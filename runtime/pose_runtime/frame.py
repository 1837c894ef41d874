"""One image as a camera or a file gives it, before any conversion."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Literal

import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import FrameError

PixelFormat = Literal["bgr8", "rgb8", "gray8", "nv12", "yuyv"]
MAX_SIDE = 16384
"""Longest side that is taken, in pixels: above 8K and 16K cameras, below what could exhaust memory."""

# format -> (bytes per pixel of the first plane, number of planes)
_LAYOUT: dict[str, tuple[int, int]] = {"bgr8": (3, 1), "rgb8": (3, 1), "gray8": (1, 1), "nv12": (1, 2), "yuyv": (2, 1)}
_MAX_STRIDE = 1 << 30


def _integers(what: str, values: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Exactly `count` whole numbers, as plain ints."""
    try:
        numbers = tuple(index(v) for v in values)
    except TypeError:
        numbers = ()
    if len(numbers) != count:
        raise FrameError(f"{what}: got {values!r}, wanted {count} whole numbers")
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image; nothing is copied.

    Attributes:
        planes: one uint8 array per plane, 1-D or of any shape, C-contiguous: rows of `strides[i]` bytes. The last row
            may end with its last pixel. nv12 has two: luma, then half-height interleaved U, V.
        format: bgr8, rgb8, gray8, nv12 (4:2:0) or yuyv (4:2:2); YUV is BT.601 in video range, as OpenCV converts it.
        size_wh: width, height in pixels; nv12 needs both even, yuyv an even width.
        strides: bytes from one row to the next, one per plane.
        time_s: capture time of a monotonic clock, or None.
    """

    planes: tuple[ByteArray, ...]
    format: PixelFormat
    size_wh: tuple[int, int]
    strides: tuple[int, ...]
    time_s: float | None = None

    def __post_init__(self) -> None:
        if self.format not in _LAYOUT:
            raise FrameError(f"frame format: got {self.format!r}, wanted one of {', '.join(_LAYOUT)}")
        pixel_bytes, planes = _LAYOUT[self.format]
        width, height = _integers("frame size", self.size_wh, 2)
        object.__setattr__(self, "size_wh", (width, height))
        object.__setattr__(self, "strides", _integers("frame strides", self.strides, planes))
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise FrameError(f"frame size: got {width} x {height}, wanted 1 to {MAX_SIDE} pixels each way")
        if (self.format in ("nv12", "yuyv") and width % 2) or (self.format == "nv12" and height % 2):
            raise FrameError(f"frame size: got {width} x {height}, {self.format} needs even sizes")
        if len(self.planes) != planes:
            raise FrameError(f"frame planes: got {len(self.planes)}, {self.format} has {planes}")
        row_bytes = width * pixel_bytes
        for i, (plane, stride, needed) in enumerate(zip(self.planes, self.strides, self.plane_bytes, strict=True)):
            if not isinstance(plane, np.ndarray) or plane.dtype.name != "uint8":
                raise FrameError(f"frame plane {i}: got {getattr(plane, 'dtype', type(plane))}, wanted a uint8 array")
            if not plane.flags.c_contiguous:
                raise FrameError(f"frame plane {i}: wanted a C-contiguous array; copy it, or give its base and stride")
            if not row_bytes <= stride <= _MAX_STRIDE:
                raise FrameError(f"frame plane {i}: got stride {stride}, wanted {row_bytes} to {_MAX_STRIDE} bytes")
            if plane.size < needed:
                raise FrameError(f"frame plane {i}: got {plane.size} bytes, wanted {needed}")

    @property
    def plane_bytes(self) -> tuple[int, ...]:
        """Bytes of each plane from its first pixel to its last."""
        (width, height), (pixel_bytes, _) = self.size_wh, _LAYOUT[self.format]
        heights = (height, height // 2)
        return tuple(
            (rows - 1) * stride + width * pixel_bytes for rows, stride in zip(heights, self.strides, strict=False)
        )

    @classmethod
    def from_image(cls, image: ByteArray, format: PixelFormat = "bgr8", time_s: float | None = None) -> Frame:  # noqa: A002
        """A frame over a uint8 image (H, W, 3) or, for gray8, (H, W); copied only where it is not contiguous."""
        if not isinstance(image, np.ndarray) or image.dtype.name != "uint8":
            raise FrameError(f"image: got {getattr(image, 'dtype', type(image))}, wanted a uint8 array")
        if format in ("bgr8", "rgb8") and image.ndim == 3 and image.shape[2] == 3:
            channels = 3
        elif format == "gray8" and image.ndim == 2:
            channels = 1
        else:
            raise FrameError(f"image: got shape {image.shape}, wanted (H, W, 3) for bgr8 and rgb8, (H, W) for gray8")
        image = image if image.flags.c_contiguous else image.copy(order="C")
        height, width = image.shape[:2]
        return cls((image,), format, (width, height), (width * channels,), time_s)
