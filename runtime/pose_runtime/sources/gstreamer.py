"""Pipelines of GStreamer: cameras on CSI through NVIDIA's camera service, and whatever else a user can write down.

One copy: PyGObject hands a buffer's content over as bytes. Where the pipeline ends in NVIDIA's memory, `nvvidconv` has
brought it to the CPU's before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import numpy as np

from pose_runtime.errors import FrameError, SourceError
from pose_runtime.frame import Frame, PixelFormat
from pose_runtime.sources._base import Item
from pose_runtime.sources._live import LiveSource, capture_time
from pose_runtime.sources.live import SourceOptions, redacted

_LOG = logging.getLogger(__name__)
_FORMATS: dict[str, PixelFormat] = {"NV12": "nv12", "YUY2": "yuyv", "BGR": "bgr8", "RGB": "rgb8", "GRAY8": "gray8"}
_CAPS = f"video/x-raw,format=(string){{{','.join(_FORMATS)}}}"
_POLL_NS = 100_000_000
_NEEDED = "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
_CSI_SIZE_WH, _CSI_FPS = (1280, 720), 30.0


def csi(number: int, options: SourceOptions) -> str:
    """The pipeline of a camera on CSI, up to the sink."""
    width, height = options.size_wh or _CSI_SIZE_WH
    rate = round(options.fps or _CSI_FPS)
    return (
        f"nvarguscamerasrc sensor-id={number} ! "
        f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={rate}/1 ! "
        f"nvvidconv ! video/x-raw,format=NV12"
    )


class Pipeline(LiveSource):
    """A pipeline that is given up to its sink, which is put behind it and keeps the newest frame only.

    Raises:
        SourceError: GStreamer or one of its elements is missing, the pipeline is wrong, or gives no frame within
            `open_s`; while iterating: it failed or ended, or gave no frame for `stall_s`.
    """

    def __init__(self, pipeline: str, options: SourceOptions) -> None:
        super().__init__(options)
        self._address = redacted(options.address)
        self._gst, self._video = _load()
        self._ended = threading.Event()
        sink = f'appsink name=jetpose max-buffers=1 drop=true sync=false caps="{_CAPS}"'
        try:
            self._pipeline: Any = self._gst.parse_launch(f"{pipeline} ! {sink}")
        except Exception as error:  # GLib.Error, which only gi knows
            raise self._lost(f"wrong pipeline: {redacted(_text(error))}") from None
        self._sink = self._pipeline.get_by_name("jetpose")
        self._bus = self._pipeline.get_bus()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        if self._pipeline.set_state(self._gst.State.PLAYING) == self._gst.StateChangeReturn.FAILURE:
            raise self._fault() or self._lost("the pipeline does not start")
        end_s = monotonic() + self._options.open_s
        while (caps := self._sink.get_static_pad("sink").get_current_caps()) is None:
            if monotonic() > end_s:
                raise self._lost(f"no frame within {self._options.open_s:g} s")
            if fault := self._fault(_POLL_NS // 10):
                raise fault
        info = self._video.VideoInfo.new_from_caps(caps)
        self._check_colours(caps)
        self.size_wh, self.format = (info.width, info.height), caps.get_structure(0).get_string("format")
        self.rate_hz = info.fps_n / info.fps_d if info.fps_n else None
        rate = f" at {self.rate_hz:g} FPS" if self.rate_hz else ""
        self.shown = f"{self._address}: {self.format} {info.width} x {info.height}{rate}"

    def __iter__(self) -> Iterator[Item]:
        self._seen_s = monotonic()
        while not self._ended.is_set():
            sample = self._sink.emit("try-pull-sample", _POLL_NS)
            if sample is not None:
                yield self._read(sample)
                continue
            if fault := self._fault():
                raise fault
            self._check_stall()

    def interrupt(self) -> None:
        """End the waiting for a frame."""
        self._ended.set()

    def close(self) -> None:
        """Stop the pipeline."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _check_colours(self, caps: Any) -> None:
        """Say so where YUV is not what frames are taken for; turning it costs more than it is worth to most."""
        colours = caps.get_structure(0).get_string("colorimetry")
        if caps.get_structure(0).get_string("format") in ("NV12", "YUY2") and colours not in (None, "bt601"):
            _LOG.warning(
                "%s: YUV in %s is taken for bt601; `videoconvert ! video/x-raw,format=BGR` at its end is exact",
                self._address,
                colours,
            )

    def _read(self, sample: Any) -> Item:
        buffer, info = sample.get_buffer(), self._video.VideoInfo.new_from_caps(sample.get_caps())
        meta = self._video.buffer_get_video_meta(buffer)  # the strides, where they are not the usual ones
        offsets, strides = (meta.offset, meta.stride) if meta else (info.offset, info.stride)
        kind = _FORMATS[sample.get_caps().get_structure(0).get_string("format")]
        count = 2 if kind == "nv12" else 1
        data = np.frombuffer(self._bytes(buffer), np.uint8)
        time_s, stamp_s = self._times(sample, buffer)
        planes = tuple(data[offset:] for offset in offsets[:count])
        try:
            frame = Frame(planes, kind, (info.width, info.height), tuple(strides[:count]), time_s)
        except FrameError as error:
            raise self._lost(f"the pipeline's frames do not fit: {error}") from error
        return self._item(frame, stamp_s)

    def _bytes(self, buffer: Any) -> bytes:
        good, view = buffer.map(self._gst.MapFlags.READ)
        if not good:
            raise self._lost("a frame cannot be read; end the pipeline with nvvidconv to bring it to the CPU's memory")
        try:
            return bytes(view.data)
        finally:
            buffer.unmap(view)

    def _times(self, sample: Any, buffer: Any) -> tuple[float, float]:
        """When it was captured, by the monotonic clock, and its time in the stream."""
        now_s = monotonic()
        running = sample.get_segment().to_running_time(self._gst.Format.TIME, buffer.pts)
        clock = self._pipeline.get_clock()
        if clock is None or running == self._gst.CLOCK_TIME_NONE:
            return now_s, now_s
        age_s = (clock.get_time() - self._pipeline.get_base_time() - running) / 1e9
        return capture_time(now_s - max(0.0, age_s)), running / 1e9

    def _fault(self, wait_ns: int = 0) -> SourceError | None:
        """What the pipeline says that ends it."""
        kinds = self._gst.MessageType
        message = self._bus.timed_pop_filtered(wait_ns, kinds.ERROR | kinds.EOS)
        if message is None:
            return None
        if message.type == kinds.EOS:
            return self._lost("the pipeline ended")
        return self._lost(redacted(_text(message.parse_error()[0])))


def _load() -> tuple[Any, Any]:
    """Gst and GstVideo, begun."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        from gi.repository import Gst, GstVideo
    except (ImportError, ValueError) as error:
        hint = f"{_NEEDED}; a virtual environment sees them if it was made with --system-site-packages"
        raise SourceError(f"GStreamer for Python is missing ({error}): {hint}") from error
    Gst.init(None)
    return Gst, GstVideo


def _text(error: Any) -> str:
    return str(getattr(error, "message", error))
