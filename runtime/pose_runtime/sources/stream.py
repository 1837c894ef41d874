"""Network streams through FFmpeg's libraries: RTSP, HTTP (MJPEG, HLS, MP4, MPEG-TS)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from types import MappingProxyType
from typing import Any

import av

from pose_runtime.errors import SourceError
from pose_runtime.sources._base import Item
from pose_runtime.sources._live import LiveSource
from pose_runtime.sources._picture import MAX_PIXELS, Converter
from pose_runtime.sources.live import SourceOptions

_OPTIONS = MappingProxyType({
    # bytes and microseconds that opening may look at to learn the format; not `nobuffer`, which would throw that away
    # and with it a key frame, so that the picture came seconds later
    "probesize": "1000000",
    "analyzeduration": "1000000",
    "fpsprobesize": "0",
})  # fmt: skip
_OF_PROTOCOL = MappingProxyType({
    "rtsp": {
        "rtsp_transport": "tcp",  # a lost packet would cost all frames up to the next key frame
        "allowed_media_types": "video",
        "reorder_queue_size": "0",
        "protocol_whitelist": "rtsp,rtsps,rtp,rtcp,tcp,tls,udp",
    },
    "http": {"protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy"},  # a playlist names no local files
})  # fmt: skip
_LATE = frozenset(("h264", "hevc"))
"""Codecs whose frames FFmpeg's parsers give when the next one begins; so that is when the frame itself began."""
_TEXT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


class Stream(LiveSource):
    """The first video stream of a URL, decoded; a frame's time of capture is when its first data came in.

    Raises:
        SourceError: refused, unknown, no video, or no answer within `open_s`; while iterating: the connection ended,
            or no frame for `stall_s`.
    """

    def __init__(self, url: str, options: SourceOptions) -> None:
        super().__init__(options)
        self._ended = threading.Event()
        self._asked_s = monotonic()  # when FFmpeg was last asked for something
        protocol = _OF_PROTOCOL["rtsp" if url.startswith("rtsp") else "http"]
        try:
            self._container: Any = av.open(
                url, options={**_OPTIONS, **protocol}, timeout=(options.open_s, options.stall_s), **_TEXT
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            late = f"no answer within {options.open_s:g} s"
            raise self._failed(error, late, options.open_s) from None  # the error's own text shows the password
        try:
            self._stream = self._first_stream()
        except SourceError:
            self.close()
            raise
        self._convert = Converter()
        context = self._stream.codec_context
        self.size_wh = (context.width, context.height)
        self.format = context.name
        self.rate_hz = float(self._stream.average_rate) if self._stream.average_rate else None
        rate = f" at {self.rate_hz:g} FPS" if self.rate_hz else ""
        self.shown = f"{self._address}: {self.format} {context.width} x {context.height}{rate}"

    def _first_stream(self) -> Any:
        if not self._container.streams.video:
            raise self._lost("no video in this stream")
        stream = self._container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise self._lost("no decoder for this video; let it send H.264")
        context.thread_type = "SLICE"  # one thread per frame would hold back as many frames
        context.flags |= av.codec.context.Flags.low_delay
        context.copy_opaque = True
        context.options = dict(MAX_PIXELS)
        return stream

    def __iter__(self) -> Iterator[Item]:
        began_s = self._seen_s = self._asked_s = monotonic()
        try:
            for packet in self._container.demux(self._stream):
                if self._ended.is_set():
                    return
                now_s = monotonic()
                packet.opaque = began_s if self.format in _LATE else now_s
                began_s = now_s
                yield from self._decode(packet)
                self._check_stall()
                self._asked_s = monotonic()
        except (av.FFmpegError, OSError, ValueError) as error:
            if self._ended.is_set():
                return
            late = f"no frame for {self._options.stall_s:g} s"
            raise self._failed(error, late, self._options.stall_s) from None
        raise self._lost("the stream ended")

    def interrupt(self) -> None:
        """End after the present wait, which lasts `open_s` or `stall_s` at most: FFmpeg can be stopped by time only."""
        self._ended.set()

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _decode(self, packet: Any) -> Iterator[Item]:
        try:
            pictures = packet.decode()
        except av.InvalidDataError:  # the next key frame mends it, else the stall ends it
            return
        for picture in pictures:
            arrived_s = picture.opaque if isinstance(picture.opaque, float) else monotonic()
            yield self._item(self._convert(picture, arrived_s), picture.time)

    def _failed(self, error: Exception, late: str, limit_s: float) -> SourceError:
        # what FFmpeg says after a time-out depends on where it stood
        if isinstance(error, av.error.ExitError) or monotonic() - self._asked_s > limit_s:
            return self._lost(late)
        reason = getattr(error, "strerror", None) or str(error)
        return self._lost(f"cannot read the stream: {reason}")
