"""A camera frame becomes a network input: sampling, colours, normalisation and layout in one native pass."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pose_runtime._native import native
from pose_runtime.errors import FrameError
from pose_runtime.frame import Frame, PixelFormat
from pose_runtime.geometry import Geometry

Colour = Literal["rgb", "bgr", "gray"]
Triple = tuple[float, float, float]

FORMATS: dict[str, int] = {name: i for i, name in enumerate(get_args(PixelFormat))}
_COLOURS: dict[str, int] = {name: i for i, name in enumerate(get_args(Colour))}


def preprocess(
    frame: Frame,
    geometry: Geometry,
    *,
    colour: Colour,
    mean: Triple,
    std: Triple,
    out: NDArray[np.float32] | NDArray[np.float16],
) -> None:
    """Write the network input of one frame.

    Each output pixel samples the frame along `geometry` in floating point; taps are converted to the network's colours
    before they are blended, as where an image is converted first (YUV and grey as cv2.cvtColor, bit by bit). Then
    value = (pixel - mean) / std.

    Args:
        frame: any format; grey frames fill every channel.
        geometry: planned for this frame's size.
        colour: channel order of the network; `gray` has one channel and takes the first of mean and std.
        mean: per channel of `colour`, grey levels 0..255.
        std: per channel of `colour`, not 0.
        out: C-contiguous float32 or float16 (3, H, W), or (1, H, W) for gray; overwritten whole.

    Raises:
        FrameError: an `out` of another size, dtype or layout, an unknown colour, a std of 0.
    """
    params = preprocess_params(geometry, colour=colour, mean=mean, std=std)
    wanted = (1 if colour == "gray" else 3, geometry.size_wh[1], geometry.size_wh[0])
    if out.shape != wanted:
        raise FrameError(f"network input: got shape {out.shape}, wanted {wanted}")
    if out.dtype not in (np.float32, np.float16) or not out.flags.c_contiguous or not out.flags.writeable:
        raise FrameError(f"network input: got {out.dtype}, wanted a writeable C-contiguous float32 or float16 array")
    first, second = frame.planes[0].reshape(-1), frame.planes[-1].reshape(-1)
    half = out.dtype == np.float16
    (native.preprocess_half if half else native.preprocess)(
        params,
        first,
        second,
        (frame.strides[0], frame.strides[-1]),
        FORMATS[frame.format],
        frame.size_wh,
        out.view(np.uint16) if half else out,
    )


def preprocess_params(geometry: Geometry, *, colour: Colour, mean: Triple, std: Triple) -> Any:
    """The native parameters; arguments and errors as of `preprocess`."""
    if colour not in _COLOURS:
        raise FrameError(f"colour: got {colour!r}, wanted one of {', '.join(_COLOURS)}")
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and all(std)):
        raise FrameError(f"mean and std: got {mean} and {std}, wanted finite numbers and no std of 0")
    return native.preprocess_params(
        geometry.inverse,
        geometry.size_wh,
        geometry.inner,
        geometry.interpolation == "bicubic",
        geometry.round_pixels,
        geometry.replicate,
        _COLOURS[colour],
        geometry.pad,
        mean,
        std,
    )
