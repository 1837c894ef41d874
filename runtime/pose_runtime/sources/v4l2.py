"""Video4Linux2: the few calls of the kernel that a capture needs, and what cameras offer.

Layouts and numbers are those of linux/videodev2.h for 64-bit machines (kernel documentation, "Video for Linux API").

FFmpeg's v4l2 input is not used: it cannot wait with a time limit, and it unmaps its buffers when it is closed although
frames still lie in them, so that an unplugged camera would crash whoever looks at its last frame.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from ctypes import c_char, c_int32, c_int64, c_uint8, c_uint32, c_uint64
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from pose_runtime.errors import SourceError

_CAPTURE, _MMAP = 1, 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_MMAP
_CAN_CAPTURE, _CAN_STREAM, _HAS_DEVICE_CAPS = 0x1, 0x04000000, 0x80000000
_CAN_SET_RATE = 0x1000  # V4L2_CAP_TIMEPERFRAME
_DISCRETE = 1
_MOST = 256  # formats, sizes or rates that are asked for; a driver could go on for ever
_COMMON_SIZES = ((640, 480), (800, 600), (1280, 720), (1280, 960), (1920, 1080), (2560, 1440), (3840, 2160))
_COMMON_FPS = (120.0, 90.0, 60.0, 50.0, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0)

BAD_DATA = 0x40
"""Flag of a buffer: its content is damaged."""
CLOCK_MASK, CLOCK_MONOTONIC = 0xE000, 0x2000
"""Flags of a buffer: which clock its timestamp is of."""


class _Capability(ctypes.Structure):
    _fields_ = [
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    ]


class _FormatInfo(ctypes.Structure):
    _fields_ = [
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("fourcc", c_uint32),
        ("code", c_uint32),
        ("reserved", c_uint32 * 3),
    ]


class _SizeInfo(ctypes.Structure):
    """`values`: width, height; or least, most and step of the width, then of the height."""

    _fields_ = [
        ("index", c_uint32),
        ("fourcc", c_uint32),
        ("type", c_uint32),
        ("values", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    ]


class _IntervalInfo(ctypes.Structure):
    """`values`: seconds per frame as numerator, denominator; or those of the least, most and step."""

    _fields_ = [
        ("index", c_uint32),
        ("fourcc", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("values", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    ]


class Format(ctypes.Structure):
    """struct v4l2_format with its member `pix`."""

    _fields_ = [
        ("type", c_uint32),
        ("_", c_uint32),  # the union is aligned for the pointers in it
        ("width", c_uint32),
        ("height", c_uint32),
        ("fourcc", c_uint32),
        ("field", c_uint32),
        ("stride", c_uint32),
        ("bytes", c_uint32),
        ("rest", c_uint8 * 176),
    ]


class _Parameters(ctypes.Structure):
    _fields_ = [
        ("type", c_uint32),
        ("capability", c_uint32),
        ("mode", c_uint32),
        ("numerator", c_uint32),
        ("denominator", c_uint32),
        ("rest", c_uint8 * 184),
    ]


class _Request(ctypes.Structure):
    _fields_ = [
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint32),
    ]


class Buffer(ctypes.Structure):
    """struct v4l2_buffer."""

    _fields_ = [
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytes", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("seconds", c_int64),
        ("microseconds", c_int64),
        ("timecode", c_uint32 * 4),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("offset", c_uint64),
        ("length", c_uint32),
        ("reserved", c_uint32),
        ("request", c_int32),
    ]


_S = TypeVar("_S", bound=ctypes.Structure)


def _call(number: int, structure: Any, direction: int = 3) -> int:
    """Number of an ioctl of V4L2; direction 1 writes to the kernel, 2 reads from it."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | ord("V") << 8 | number


_QUERYCAP = _call(0, _Capability, 2)
_ENUM_FMT = _call(2, _FormatInfo)
_S_FMT = _call(5, Format)
_REQBUFS = _call(8, _Request)
_QUERYBUF = _call(9, Buffer)
_QBUF = _call(15, Buffer)
_DQBUF = _call(17, Buffer)
_STREAMON = _call(18, c_int32, 1)
_STREAMOFF = _call(19, c_int32, 1)
_S_PARM = _call(22, _Parameters)
_ENUM_FRAMESIZES = _call(74, _SizeInfo)
_ENUM_FRAMEINTERVALS = _call(75, _IntervalInfo)


class Mode(Struct, frozen=True):
    """One format and size that a camera offers.

    Attributes:
        format: four characters, such as NV12, YUYV or MJPG.
        size_wh: width, height in pixels.
        fps: rates, highest first; empty where the driver does not tell.
    """

    format: str
    size_wh: tuple[int, int]
    fps: tuple[float, ...]


class CameraInfo(Struct, frozen=True):
    """One camera.

    Attributes:
        path: of its device.
        name: what its driver calls it.
        modes: all that it offers, also those that jetpose does not take.
        error: why it could not be asked, else None.
    """

    path: Path
    name: str
    modes: tuple[Mode, ...]
    error: str | None = None


def list_cameras() -> tuple[CameraInfo, ...]:
    """All video capture devices of this machine, by number; devices that capture nothing are left out."""
    paths = sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
    return tuple(info for path in paths if (info := describe(path)) is not None)


def describe(path: Path) -> CameraInfo | None:
    """What a device offers, None if it is no camera; one that cannot be asked says why in `error`."""
    try:
        device = Device(path)
    except SourceError as error:
        return CameraInfo(path, "", (), str(error))
    try:
        return CameraInfo(path, device.name, device.modes()) if device.captures else None
    except OSError as error:
        return CameraInfo(path, device.name, (), reason(error))
    finally:
        device.close()


def reason(error: OSError) -> str:
    """What an error of a camera means for its user."""
    known = {
        errno.ENOENT: "there is no such camera; `pose-run --list-cameras` shows those that are there",
        errno.EACCES: "no permission; add the user to the group `video` (sudo usermod -aG video $USER), log in again",
        errno.EPERM: "not permitted; a service needs DeviceAllow for it",
        errno.EBUSY: "another process uses it; `fuser -v /dev/video*` names it",
        errno.ENODEV: "it was unplugged",
        errno.ENXIO: "it was unplugged",
        errno.EIO: "it was unplugged, or its cable or power is bad",
        errno.ENOSPC: "the USB bus has no bandwidth left; choose MJPG, a smaller size, or another port",
        errno.ENOTTY: "no camera",
    }
    return known.get(error.errno or 0, error.strerror or str(error))


class Device:
    """An open device. Calls raise OSError, the opening SourceError.

    Attributes:
        name: what the driver calls it.
        captures: it gives pictures, by streaming.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"{path}: {reason(error)}") from error
        try:
            found = self._ask(_QUERYCAP, _Capability())
        except OSError as error:
            os.close(self.file)
            raise SourceError(f"{path}: {reason(error)}") from error
        self.name = bytes(found.card).decode("utf-8", "replace")
        abilities = found.device_caps if found.capabilities & _HAS_DEVICE_CAPS else found.capabilities
        self.captures = bool(abilities & _CAN_CAPTURE and abilities & _CAN_STREAM)

    def close(self) -> None:
        """Free it; a second time does nothing."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def modes(self) -> tuple[Mode, ...]:
        """All formats and sizes that it offers."""
        return tuple(
            Mode(_text(info.fourcc), size_wh, tuple(self._rates(info.fourcc, size_wh)))
            for info in self._each(_ENUM_FMT, lambda: _FormatInfo(type=_CAPTURE))
            for size_wh in self._sizes(info.fourcc)
        )

    def set_mode(self, format: str, size_wh: tuple[int, int], fps: float | None) -> tuple[Format, float | None]:  # noqa: A002
        """Ask for a mode; returns what the driver made of it, with the rate where it has one."""
        fourcc = int.from_bytes(format.ljust(4).encode(), "little")
        width, height = size_wh
        taken = self._ask(_S_FMT, Format(type=_CAPTURE, width=width, height=height, fourcc=fourcc, field=1))
        if fps is None:
            return taken, None
        wanted = _Parameters(type=_CAPTURE, numerator=1000, denominator=round(1000 * fps))
        try:
            rate = self._ask(_S_PARM, wanted)
        except OSError:  # a driver without rates
            return taken, None
        known = rate.capability & _CAN_SET_RATE and rate.numerator and rate.denominator
        return taken, rate.denominator / rate.numerator if known else None

    def request(self, count: int) -> list[Buffer]:
        """As many buffers in the driver's memory, or fewer; 0 frees them."""
        granted = self._ask(_REQBUFS, _Request(count=count, type=_CAPTURE, memory=_MMAP)).count
        made = (Buffer(index=i, type=_CAPTURE, memory=_MMAP) for i in range(min(granted, count)))
        return [self._ask(_QUERYBUF, buffer) for buffer in made]

    def queue(self, index: int) -> None:
        """Let the driver fill a buffer."""
        self._ask(_QBUF, Buffer(index=index, type=_CAPTURE, memory=_MMAP))

    def dequeue(self) -> Buffer:
        """The oldest filled buffer; BlockingIOError if there is none."""
        buffer = Buffer(type=_CAPTURE, memory=_MMAP)
        self._ask(_DQBUF, buffer)
        return buffer

    def stream(self, on: bool) -> None:
        """Begin or end."""
        self._ask(_STREAMON if on else _STREAMOFF, c_int32(_CAPTURE))

    def _ask(self, call: int, structure: Any) -> Any:
        fcntl.ioctl(self.file, call, structure)
        return structure

    def _each(self, call: int, make: Any) -> Iterator[Any]:
        """What a driver enumerates, up to EINVAL."""
        for index in range(_MOST):
            structure = make()
            structure.index = index
            try:
                yield self._ask(call, structure)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY):
                    return
                raise

    def _sizes(self, fourcc: int) -> Iterator[tuple[int, int]]:
        for info in self._each(_ENUM_FRAMESIZES, lambda: _SizeInfo(fourcc=fourcc)):
            values = list(info.values)
            if info.type == _DISCRETE:
                yield values[0], values[1]
                continue
            (w0, w1, _), (h0, h1, _) = values[:3], values[3:]
            inside = {(w, h) for w, h in _COMMON_SIZES if w0 <= w <= w1 and h0 <= h <= h1}
            yield from sorted(inside | {(w1, h1)})
            return

    def _rates(self, fourcc: int, size_wh: tuple[int, int]) -> list[float]:
        found: set[float] = set()
        make = lambda: _IntervalInfo(fourcc=fourcc, width=size_wh[0], height=size_wh[1])  # noqa: E731
        for info in self._each(_ENUM_FRAMEINTERVALS, make):
            numerators, denominators = info.values[0::2], info.values[1::2]
            rates = [round(d / n, 3) for n, d in zip(numerators, denominators, strict=True) if n]
            if info.type == _DISCRETE:
                found.update(rates[:1])
                continue
            if len(rates) >= 2:
                found.update((rates[0], *(fps for fps in _COMMON_FPS if rates[1] <= fps <= rates[0])))
            break
        return sorted(found, reverse=True)


def _text(fourcc: int) -> str:
    """The four characters of a format; those that are not printable as ?."""
    return "".join(chr(b) if 32 <= b < 127 else "?" for b in (fourcc & 0x7FFFFFFF).to_bytes(4, "little")).rstrip()
