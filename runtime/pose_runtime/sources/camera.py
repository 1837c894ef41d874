"""Cameras of the kernel's V4L2: frames in the driver's own memory, without a copy."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import FrameError, SourceError
from pose_runtime.frame import MAX_SIDE, Frame, PixelFormat
from pose_runtime.sources import v4l2
from pose_runtime.sources._base import Item
from pose_runtime.sources._live import LiveSource, capture_time
from pose_runtime.sources.live import SourceOptions
from pose_runtime.sources.v4l2 import CameraInfo, Mode, list_cameras

__all__ = ["Camera", "CameraInfo", "Mode", "choose", "list_cameras"]

NATIVE: dict[str, PixelFormat] = {"NV12": "nv12", "YUYV": "yuyv", "GREY": "gray8", "BGR3": "bgr8", "RGB3": "rgb8"}
"""Formats that go to the network as they come."""
_TAKEN = (*NATIVE, "MJPG")  # in the order in which they are preferred
_SIZE_WH, _FPS = (1280, 720), 30.0  # where the user wants none
_BUFFERS, _SPARE = 8, 2  # in the driver; frames are copied before fewer than the spare ones are left to it


class Camera(LiveSource):
    """A V4L2 camera. The driver fills a buffer again once its frame is not used any more.

    Raises:
        SourceError: absent, forbidden, busy, unplugged, no camera, or it does not offer what is wanted; while
            iterating: unplugged, or no frame for `stall_s`.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        super().__init__(options)
        self._path = path
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._free: deque[int] = deque()  # buffers whose frames are gone
        self._maps: list[mmap.mmap] = []
        self._queued = 0
        try:
            self._device = v4l2.Device(path)
        except SourceError:
            os.close(self._wake)
            raise
        try:
            self._start(options)
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except SourceError:
            self.close()
            raise

    def _start(self, options: SourceOptions) -> None:
        if not self._device.captures:
            raise self._lost("no camera: it captures no pictures")
        mode = choose(self._device.modes(), options, self._address)
        taken, self.rate_hz = self._device.set_mode(mode.format, mode.size_wh, options.fps or _FPS)
        self.format = taken.fourcc.to_bytes(4, "little").decode("latin-1").rstrip()
        self.size_wh = (taken.width, taken.height)
        if self.format not in _TAKEN or max(self.size_wh) > MAX_SIDE or min(self.size_wh) < 1:
            raise self._lost(f"got {self.format!r} {taken.width} x {taken.height} from the driver, wanted {mode}")
        self._stride, self._bytes = taken.stride, taken.bytes
        self._decode = _jpeg_decoder() if self.format == "MJPG" else None
        for buffer in self._device.request(_BUFFERS):
            self._maps.append(mmap.mmap(self._device.file, buffer.length, offset=buffer.offset))
            self._free.append(buffer.index)
        if len(self._maps) <= _SPARE:
            raise self._lost(f"the driver has memory for {len(self._maps)} frames, wanted {_SPARE + 1}")
        self._refill()
        self._device.stream(True)
        rate = f" at {self.rate_hz:g} FPS" if self.rate_hz else ""
        self.shown = f"{self._path} {self._device.name}: {self.format} {taken.width} x {taken.height}{rate}"

    def __iter__(self) -> Iterator[Item]:
        try:
            while self._wait():
                item = self._take(self._device.dequeue())
                if item is not None:
                    yield item
                del item  # or its buffer would stay away while the next frame is waited for
        except OSError as error:
            if self._device.file >= 0:  # else closed meanwhile
                raise self._failed(error) from error

    def interrupt(self) -> None:
        """End the waiting for a frame."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Stop the camera. Frames that are still held stay readable."""
        if self._device.file < 0:
            return
        for step in (lambda: self._device.stream(False), self._maps.clear, lambda: self._device.request(0)):
            with contextlib.suppress(OSError):  # unplugged; or frames are still held, then the kernel frees them later
                step()
        self._device.close()
        os.close(self._wake)

    def _wait(self) -> bool:
        """Whether a frame is there; False after `interrupt`."""
        self._refill()
        poll = select.poll()
        poll.register(self._device.file, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = dict(poll.poll(1000 * self._options.stall_s))
        if self._wake in ready:
            return False
        if not ready:
            raise self._stalled()
        if not ready[self._device.file] & select.POLLIN:  # an error or hang-up and no frame
            raise OSError(errno.ENODEV, "unplugged")
        return True

    def _refill(self) -> None:
        while self._free:
            self._device.queue(self._free.popleft())
            self._queued += 1

    def _take(self, buffer: v4l2.Buffer) -> Item | None:
        """The frame of a buffer; None if it is damaged or not whole."""
        self._queued -= 1
        monotonic_clock = buffer.flags & v4l2.CLOCK_MASK == v4l2.CLOCK_MONOTONIC
        stamp_s = buffer.seconds + buffer.microseconds / 1e6
        time_s = capture_time(stamp_s if monotonic_clock else -1.0)
        data = np.frombuffer(self._maps[buffer.index], np.uint8)
        weakref.finalize(data, self._free.append, buffer.index).atexit = False
        frame = self._frame(data[: buffer.bytes], time_s) if not buffer.flags & v4l2.BAD_DATA else None
        if frame is None:
            self._check_stall()
            return None
        return self._item(frame, stamp_s)

    def _frame(self, data: ByteArray, time_s: float) -> Frame | None:
        if self._decode is not None:
            return self._decode(data, time_s)
        if data.size < self._bytes:
            return None
        if self._queued < _SPARE:
            data = data.copy()
        try:
            return _view(data, NATIVE[self.format], self.size_wh, self._stride, time_s)
        except FrameError as error:
            raise self._lost(f"the driver's frames do not fit: {error}") from error

    def _failed(self, error: OSError) -> SourceError:
        return self._lost(v4l2.reason(error))


def _view(data: ByteArray, kind: PixelFormat, size_wh: tuple[int, int], stride: int, time_s: float) -> Frame:
    """A frame over a driver's buffer: rows of `stride` bytes, chroma right behind luma."""
    if kind != "nv12":
        return Frame((data,), kind, size_wh, (stride,), time_s)
    luma = stride * size_wh[1]
    return Frame((data[:luma], data[luma:]), kind, size_wh, (stride, stride), time_s)


def choose(modes: tuple[Mode, ...], options: SourceOptions, who: str) -> Mode:
    """The mode nearest to what the user wants: size first, then rate, then formats that need no decoding.

    Where no size is wanted, 1280 x 720; where no rate is wanted, 30.

    Raises:
        SourceError: it offers no format that jetpose takes, or not the wanted format or size; names what it offers.
    """
    usable = [mode for mode in modes if mode.format in _TAKEN and max(mode.size_wh) <= MAX_SIDE and mode.size_wh[0] > 1]
    if not usable:
        raise SourceError(f"{who}: offers {_names(m.format for m in modes)}, wanted one of {', '.join(_TAKEN)}")
    if options.format is not None:
        wanted = options.format.upper().rstrip()
        if all(mode.format != wanted for mode in usable):
            raise SourceError(f"{who}: format: got {wanted}, it offers {_names(m.format for m in usable)}")
        usable = [mode for mode in usable if mode.format == wanted]
    width, height = options.size_wh or _SIZE_WH
    if options.size_wh is not None and all(mode.size_wh != options.size_wh for mode in usable):
        offered = _names(f"{w}x{h}" for w, h in sorted({mode.size_wh for mode in usable}))
        raise SourceError(f"{who}: size: got {width}x{height}, it offers {offered}")
    fps = options.fps or _FPS

    def cost(mode: Mode) -> tuple[float, float, int]:
        too_slow = fps - min(max(mode.fps, default=fps), fps)
        return abs(mode.size_wh[0] * mode.size_wh[1] - width * height), too_slow, _TAKEN.index(mode.format)

    return min(usable, key=cost)


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "nothing"


def _jpeg_decoder() -> Callable[[ByteArray, float], Frame | None]:
    try:
        from pose_runtime.sources._picture import JpegDecoder
    except ImportError as error:
        raise SourceError(f"to decode MJPG, {error.name or 'av'} is needed: pip install 'jetpose[live]'") from error
    return JpegDecoder()
