"""Video files, read and written through FFmpeg's libraries. Live pictures: see `sources._picture`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, BinaryIO

import av
import cv2
import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SinkError, SourceError
from pose_runtime.frame import MAX_SIDE, Frame
from pose_runtime.sources._base import Item, Source

# av gives the angle by which a frame has to be turned counter-clockwise to stand upright.
_UPRIGHT = MappingProxyType({
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
    -90: cv2.ROTATE_90_CLOCKWISE,
})  # fmt: skip
_ENCODERS = ("libx264", "mpeg4")
_OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}
_TIME_BASE = Fraction(1, 60000)  # whole ticks for 24, 25, 30, 50, 60 Hz; mpeg4 takes no finer than 1/65535
_FRAMES_PER_FRAGMENT = 50
_SAVE_S = 5.0
_LEAST_FREE = 16 << 20  # bytes; else a full disk would fill with beginnings, and leave others nothing
_BT709 = 1
_LIMITED_RANGE = 1
_TEXT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Titles that are not UTF-8 do not matter; PyAV asked about them until 18."""


def _local(path: Path) -> str:
    """A name that FFmpeg takes for a file's: of `12:30.mp4` it would take `12` for a protocol."""
    return str(path.absolute())


class Video(Source):
    """The first video stream of a file: frames in the order of display, turned upright, with the stream's timestamps.

    Raises:
        SourceError: not a video, no video stream, or too large; while iterating: damaged data. All name the file.
    """

    is_video = True

    def __init__(self, path: Path) -> None:
        self.files = (path,)
        self._path = path
        _refuse_truncated(path)
        try:
            self._container: Any = av.open(_local(path), **_TEXT)
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"{path}: neither an image nor a video that can be read: {error.strerror}") from error
        try:
            self._stream = self._first_stream()
        except SourceError:
            self.close()
            raise
        self._stream.thread_type = "AUTO"
        self.rate_hz = float(self._stream.average_rate) if self._stream.average_rate else None
        self.count = self._stream.frames or None

    def _first_stream(self) -> Any:
        if not self._container.streams.video:
            raise SourceError(f"{self._path}: no video in this file")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise SourceError(f"{self._path}: no decoder for this video; convert it to H.264")
        width, height = stream.codec_context.width, stream.codec_context.height
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            wanted = f"1 to {MAX_SIDE} pixels each way"
            raise SourceError(f"{self._path}: got a video of {width} x {height} pixels, wanted {wanted}")
        return stream

    def __iter__(self) -> Iterator[Item]:
        index = 0
        try:
            for frame in self._container.decode(self._stream):
                image = frame.to_ndarray(format="bgr24")
                if frame.rotation in _UPRIGHT:
                    image = cv2.rotate(image, _UPRIGHT[frame.rotation])
                yield Item(str(self._path), index, frame.time, Frame.from_image(image))
                index += 1
        except (av.FFmpegError, ValueError) as error:  # ValueError: a pixel format that cannot be converted
            reason = error.strerror if isinstance(error, av.FFmpegError) else error
            raise SourceError(f"{self._path}: cannot read the video after {index} frames: {reason}") from error
        if index == 0:
            raise SourceError(f"{self._path}: the video has no frames")

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def _refuse_truncated(path: Path) -> None:
    """FFmpeg plays a truncated AVI, or an MP4 with its index in front, as a shorter one; the sizes inside tell."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
            if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                end = 8 + int.from_bytes(head[4:8], "little")
            elif head[4:8] == b"ftyp":
                end = _end_of_boxes(file, size)
            else:
                return
    except OSError as error:
        raise SourceError(f"{path}: cannot read it: {error.strerror}") from error
    if end > size:
        raise SourceError(f"{path}: the video is truncated: got {size} bytes, wanted at least {end}")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box ends that starts inside the file."""
    return max(_ends(file, size), default=0)


def _ends(file: BinaryIO, size: int) -> Iterator[int]:
    """End of each top-level box that starts inside the file (ISO/IEC 14496-12, 4.2); the size of a box is
    at least 8, 1 (a 64-bit size follows the type) or 0 (up to the end).
    """
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # up to the end, or what FFmpeg shall judge
            length = size - at
        at += length
        yield at


class VideoWriter:
    """Frames into a video file: H.264, or MPEG-4 part 2 where FFmpeg has no encoder for it.

    It appears under its name by `close`; until then there is a hidden file `.NAME.part.SUFFIX` beside it.

    Args:
        path: its suffix chooses the container (.mp4, .mkv, .mov).
        rate_hz: frames per second, for frames without a time.

    Attributes:
        size_wh: width, height of its frames, once there is one.
    """

    _container_options: Mapping[str, str] = MappingProxyType({})
    _encoder_options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        self._path = path
        self._rate_hz = rate_hz or 25.0
        self.size_wh: tuple[int, int] | None = None
        self._stream: Any = None
        self._first_s = 0.0
        self._last = -1
        self._packets = 0  # in the file
        self._part = self._written_to(path)
        try:
            self._container: Any = av.open(_local(self._part), "w", container_options=dict(self._container_options))
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"{path}: cannot write the video: {error.strerror}") from error

    def write(self, image: ByteArray, index: int, time_s: float | None) -> None:
        """Add a frame: uint8 (H, W, 3), B, G, R; all of one size. Odd sizes grow by a repeated row or column."""
        height, width = image.shape[:2]
        if time_s is None:
            time_s = index / self._rate_hz
        if self.size_wh is None:
            self._open_stream(width + width % 2, height + height % 2)
            self.size_wh, self._first_s = (width, height), time_s
        elif self.size_wh != (width, height):
            wanted = f"{self.size_wh[0]} x {self.size_wh[1]} as the first"
            raise SinkError(f"{self._path}: got a frame of {width} x {height}, wanted {wanted}; save to a folder")
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._last = max(self._last + 1, round((time_s - self._first_s) / _TIME_BASE))
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = self._last, _TIME_BASE
        self._encode(frame)

    def close(self) -> None:
        """Finish the file and give it its name; without frames there is none."""
        try:
            if self._stream is not None:
                self._encode(None)
                self._container.close()
                self._part.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"{self._path}: cannot write the video: {error.strerror}") from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(av.FFmpegError, OSError):  # a full disk takes no trailer either
            self._container.close()
        self._part.unlink(missing_ok=True)

    def _written_to(self, path: Path) -> Path:
        return path.with_name(f".{path.stem}.part{path.suffix}")  # FFmpeg goes by the suffix

    def _open_stream(self, width: int, height: int) -> None:
        encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if encoder is None:
            raise SinkError(f"{self._path}: FFmpeg has none of the encoders {', '.join(_ENCODERS)}")
        rate = Fraction(self._rate_hz).limit_denominator(1001)
        self._stream = self._container.add_stream(
            encoder, rate=rate, options={**_OPTIONS[encoder], **self._encoder_options}
        )
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE

    def _encode(self, frame: Any) -> None:
        try:
            packets = self._stream.encode(frame)
            self._container.mux(packets)
            self._packets += len(packets)
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"{self._path}: cannot write the video: {error.strerror}") from error


class LiveVideoWriter(VideoWriter):
    """Frames into a video file that can be played at all times, also after a power cut: in fragments, each complete.

    It stands under its name from the start; `close` adds what is left, `abandon` keeps the whole fragments.

    Args:
        path: as of `VideoWriter`; it must not be there.

    Raises:
        FileExistsError: it is.
        SinkError: it cannot be written; `write` likewise, also if somebody moved or deleted the file.
    """

    _container_options = MappingProxyType({
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
        "flush_packets": "1",
    })  # fmt: skip
    _encoder_options = MappingProxyType({
        "g": str(_FRAMES_PER_FRAGMENT),
        "bf": "0",  # an MP4 whose header comes first could not say that B-frames shift all times
    })  # fmt: skip

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise
        except OSError as error:
            raise SinkError(f"{path}: cannot write the video: {error.strerror}") from error
        self._saved_s = monotonic()
        try:
            super().__init__(path, None)
        except BaseException:
            self._close_file()
            path.unlink(missing_ok=True)
            raise

    def write(self, image: ByteArray, index: int, time_s: float | None) -> None:
        """Add a frame, as `VideoWriter.write`; every few seconds, all that is in the file goes to the disk."""
        super().write(image, index, time_s)
        if monotonic() - self._saved_s >= _SAVE_S:
            self._save()
            self._saved_s = monotonic()

    def close(self) -> None:
        """Finish the file; without frames it goes."""
        if self._stream is not None:
            try:
                self._encode(None)
                self._container.close()
                self._close_file()
            except (av.FFmpegError, OSError) as error:
                raise SinkError(f"{self._path}: cannot write the video: {error.strerror}") from error
            finally:
                self.abandon()
        self.abandon()

    def abandon(self) -> None:
        """Keep what is whole; a file without a fragment goes. After `close`, this does nothing."""
        if self._file < 0:
            return
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        with contextlib.suppress(OSError):
            if self._packets > _FRAMES_PER_FRAGMENT:
                _cut(self._file)
            elif self._is_there():
                self._path.unlink()
        self._close_file()

    def _written_to(self, path: Path) -> Path:
        return path

    def _open_stream(self, width: int, height: int) -> None:
        super()._open_stream(width, height)
        try:
            free = os.fstatvfs(self._file)
            if free.f_bavail * free.f_frsize < _LEAST_FREE:
                raise SinkError(f"{self._path}: the disk is full: wanted {_LEAST_FREE >> 20} MiB free to start a video")
            self._container.start_encoding()  # the header, so that a disk that takes none shows now
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"{self._path}: cannot write the video: {error.strerror}") from error

    def _save(self) -> None:
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise SinkError(f"{self._path}: cannot write the video: {error.strerror}") from error
        if not self._is_there():
            raise SinkError(f"{self._path}: the video was moved or deleted")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _cut(descriptor: int) -> None:
    """Cut off an MP4's last box if a part of it is missing; in another container this does nothing."""
    size = os.fstat(descriptor).st_size
    if os.pread(descriptor, 8, 0)[4:] != b"ftyp":
        return
    with os.fdopen(os.dup(descriptor), "rb") as file:
        whole = max((end for end in _ends(file, size) if end <= size), default=0)
    os.ftruncate(descriptor, whole)
