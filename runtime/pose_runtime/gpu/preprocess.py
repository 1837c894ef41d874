"""The launch that makes a network input from a frame in device memory."""

from __future__ import annotations

from collections.abc import Sequence

from pose_runtime._native import native
from pose_runtime.errors import FrameError
from pose_runtime.frame import PixelFormat
from pose_runtime.geometry import Geometry
from pose_runtime.gpu.launch import Launch
from pose_runtime.preprocess import FORMATS, Colour, Triple, preprocess_params


def plan_preprocess(
    format: PixelFormat,  # noqa: A002
    size_wh: tuple[int, int],
    strides: Sequence[int],
    planes: Sequence[int],
    geometry: Geometry,
    *,
    colour: Colour,
    mean: Triple,
    std: Triple,
    out: int,
    half: bool,
) -> Launch:
    """Plan one launch; it does on the GPU what `pose_runtime.preprocess.preprocess` does.

    Args:
        format, size_wh, strides: of the frame, as a `Frame` has them.
        planes: device address of each plane; nv12 has two.
        geometry: planned for size_wh.
        colour, mean, std: as for `preprocess`.
        out: device address of the network input (3, H, W), or (1, H, W) for gray.
        half: it is float16, not float32.

    Raises:
        FrameError: planes, strides and size that do not fit the format, a null address, unknown colours.
    """
    wanted = 2 if format == "nv12" else 1
    if format not in FORMATS or len(planes) != wanted or len(strides) != wanted:
        got = f"{format!r} with {len(planes)} planes and {len(strides)} strides"
        raise FrameError(f"frame: got {got}, wanted one of {', '.join(FORMATS)} with 1 of each, or nv12 with 2")
    params = preprocess_params(geometry, colour=colour, mean=mean, std=std)
    addresses, rows = (planes[0], planes[-1]), (strides[0], strides[-1])
    try:
        return Launch(*native.plan_preprocess(params, addresses, rows, FORMATS[format], size_wh, out, half))
    except ValueError as error:
        raise FrameError(f"frame of {size_wh[0]} x {size_wh[1]} {format}: {error}") from error
