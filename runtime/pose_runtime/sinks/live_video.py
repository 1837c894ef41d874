"""Videos of a live run: one file after the other, each playable at all times.

The first is NAME.mp4, the next NAME-2.mp4 and so on; one that is there is never overwritten. Of several sources, each
has files of its own: NAME-SOURCE.mp4, NAME-SOURCE-2.mp4. A next file starts where the frames' size changes, after so
many minutes, and after a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from pose_runtime.errors import SinkError
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.draw import drawn
from pose_runtime.sinks.save import VIDEO_SUFFIXES, check_folder, without_av
from pose_runtime.sources import Item

if TYPE_CHECKING:
    from pose_runtime.video import LiveVideoWriter

_JUMP_S = 5.0
_LONGEST_NAME = 100


class VideoOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames with people drawn on them, as a video.

    Attributes:
        file: path of the first file, .mp4, .mkv or .mov.
        minutes: after which the next file starts.
        keep: newest files that are kept of each source, those of earlier runs counted; all by default.
    """

    file: Annotated[str, Meta(min_length=1)]
    minutes: Annotated[float, Meta(gt=0, le=1 << 20)] = 60.0
    keep: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class LiveVideo(Sink):
    """Writes what live sources show.

    Args:
        options: where to.
        sources: names of all sources.

    Raises:
        SinkError: the path is no video's, its folder cannot be written, or PyAV is not installed; `write`: the disk is
            full or gone.
    """

    def __init__(self, options: VideoOptions, sources: Sequence[str]) -> None:
        path = Path(options.file)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise SinkError(f"{path}: live frames are saved as a video, wanted one of {', '.join(VIDEO_SUFFIXES)}")
        check_folder(path)
        try:
            import pose_runtime.video  # noqa: F401  # here, so that it fails at the start
        except ImportError as error:
            raise without_av(path, error) from error
        self._options, self._several = options, len(sources) > 1
        self._recordings: dict[str, _Recording] = {}

    def write(self, item: Item, poses: Poses) -> None:
        """Add a frame to its source's video."""
        if item.name not in self._recordings:
            path = Path(self._options.file)
            path = path.with_stem(f"{path.stem}-{_file_name(item.name)}") if self._several else path
            self._recordings[item.name] = _Recording(path, self._options)
        self._recordings[item.name].write(item, poses)

    def close(self) -> None:
        """Finish all files."""
        with ExitStack() as stack:
            for recording in self._recordings.values():
                stack.callback(recording.close)

    def abandon(self) -> None:
        """Keep what is whole of all files."""
        for recording in self._recordings.values():
            recording.abandon()


class _Recording:
    """One source's files."""

    def __init__(self, path: Path, options: VideoOptions) -> None:
        self._path, self._options = path, options
        self._timeline = Timeline()
        self._writer: LiveVideoWriter | None = None
        self._since_s = 0.0

    def write(self, item: Item, poses: Poses) -> None:
        time_s = self._timeline.at(item.time_s, item.frame.time_s)
        image = drawn(item.frame, poses)
        if self._writer is None or self._is_over(self._writer, item.frame.size_wh, time_s):
            self.close()
            self._writer, self._since_s = _next_writer(self._path), time_s
            self._tidy()
        self._writer.write(image, item.index, time_s)

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def abandon(self) -> None:
        if self._writer:
            self._writer.abandon()

    def _is_over(self, writer: LiveVideoWriter, size_wh: tuple[int, int], time_s: float) -> bool:
        return writer.size_wh not in (None, size_wh) or time_s - self._since_s >= 60 * self._options.minutes

    def _tidy(self) -> None:
        if self._options.keep is not None:
            for _, path in sorted(_numbered(self._path))[: -self._options.keep]:
                with suppress(OSError):
                    path.unlink()


class Timeline:
    """Seconds that rise by what the source's own clock says, over its restarts and jumps too.

    A network stream that comes back may start at 0 again, or anywhere. Where its step is backwards, or seconds off
    from what the monotonic clock says, that clock's step is taken.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float, float] | None = None  # result, source's, monotonic

    def at(self, source_s: float | None, monotonic_s: float | None) -> float:
        """Time of a frame from its source's clock and its capture; one of them may be missing."""
        monotonic_s = (source_s or 0.0) if monotonic_s is None else monotonic_s
        source_s = monotonic_s if source_s is None else source_s
        if self._last is None:
            time_s = source_s
        else:
            last_s, last_source_s, last_monotonic_s = self._last
            step_s, true_s = source_s - last_source_s, max(0.0, monotonic_s - last_monotonic_s)
            time_s = last_s + (step_s if 0 <= step_s < true_s + _JUMP_S and step_s > true_s - _JUMP_S else true_s)
        self._last = time_s, source_s, monotonic_s
        return time_s


def _next_writer(path: Path) -> LiveVideoWriter:
    from pose_runtime.video import LiveVideoWriter

    newest = max((number for number, _ in _numbered(path)), default=0)
    for number in count(newest + 1):
        with suppress(FileExistsError):  # another service was faster
            return LiveVideoWriter(path if number == 1 else path.with_stem(f"{path.stem}-{number}"))
    raise AssertionError


def _numbered(path: Path) -> Iterator[tuple[int, Path]]:
    """Files of one recording with their numbers."""
    pattern = re.compile(rf"{re.escape(path.stem)}(?:-([1-9]\d{{0,8}}))?{re.escape(path.suffix)}")
    try:
        for file in path.parent.iterdir():
            if match := pattern.fullmatch(file.name):
                yield int(match[1] or 1), file
    except OSError as error:
        raise SinkError(f"{path}: cannot write it: {error.strerror}") from error


def _file_name(source: str) -> str:
    return re.sub(r"[^\w.-]", "_", source)[:_LONGEST_NAME]
