"""Launches that make network inputs from a frame in device memory: one input, or one crop for each person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    frame = _frame(format, size_wh, strides, planes)
    params = preprocess_params(geometry, colour=colour, mean=mean, std=std)
    try:
        return Launch(*native.plan_preprocess(params, *frame, out, half))
    except ValueError as error:
        raise FrameError(f"frame of {size_wh[0]} x {size_wh[1]} {format}: {error}") from error


def crops_bytes(geometries: Sequence[Geometry], room: int, *, colour: Colour, mean: Triple, std: Triple) -> bytes:
    """What must lie at `crops` of `plan_crops` before a run: the crops' parameters. New crops need no new launch.

    Args:
        geometries: one per crop, all of one input size, at most `room`.
        room: as for `plan_crops`; the inputs of crops that are not there are left as they are.
        colour, mean, std: as for `preprocess`.

    Raises:
        FrameError: too many crops, or of several sizes.
    """
    crops = [preprocess_params(geometry, colour=colour, mean=mean, std=std) for geometry in geometries]
    try:
        data: bytes = native.preprocess_crops(crops, room)
    except ValueError as error:
        raise FrameError(f"{len(crops)} crops, room for {room}: {error}") from error
    return data


def plan_crops(
    format: PixelFormat,  # noqa: A002
    size_wh: tuple[int, int],
    strides: Sequence[int],
    planes: Sequence[int],
    *,
    input_wh: tuple[int, int],
    room: int,
    crops: int,
    out: int,
    half: bool,
) -> Launch:
    """Plan one launch for several crops of one frame, such as one for each person.

    Args:
        format, size_wh, strides, planes: as for `plan_preprocess`.
        input_wh: size of each crop in the network's input.
        room: most crops.
        crops: device address of the bytes that `crops_bytes` gives, a multiple of 8.
        out: device address of the network inputs (room, C, H, W).
        half: they are float16, not float32.

    Raises:
        FrameError: as of `plan_preprocess`.
    """
    frame = _frame(format, size_wh, strides, planes)
    try:
        return Launch(*native.plan_preprocess_crops(*frame, input_wh, room, crops, out, half))
    except ValueError as error:
        raise FrameError(f"frame of {size_wh[0]} x {size_wh[1]} {format}: {error}") from error


class _Frame(NamedTuple):
    """In the order of the native functions' arguments; a single plane is given twice."""

    planes: tuple[int, int]
    strides: tuple[int, int]
    format: int
    size_wh: tuple[int, int]


def _frame(
    format: PixelFormat,  # noqa: A002
    size_wh: tuple[int, int],
    strides: Sequence[int],
    planes: Sequence[int],
) -> _Frame:
    wanted = 2 if format == "nv12" else 1
    if format not in FORMATS or len(planes) != wanted or len(strides) != wanted:
        got = f"{format!r} with {len(planes)} planes and {len(strides)} strides"
        raise FrameError(f"frame: got {got}, wanted one of {', '.join(FORMATS)} with 1 of each, or nv12 with 2")
    return _Frame((planes[0], planes[-1]), (strides[0], strides[-1]), FORMATS[format], size_wh)
