"""What every source is: frames in order, each with a name and a place in time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pose_runtime.frame import Frame

_Source = TypeVar("_Source", bound="Source")


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One frame of a source.

    Attributes:
        name: the file it came from, as the user named it; of a live source its name in the configuration.
        index: of the frame in the source, from 0; images that could not be read leave a gap.
        time_s: of a video's frame since the start of its stream, by the source's own clock, else None.
        frame: the pixels; they belong to the caller. Its `time_s` is set by live sources only.
    """

    name: str
    index: int
    time_s: float | None
    frame: Frame


class Source(ABC):
    """Frames, to be iterated once; use it by `with`, or `close()` it.

    Attributes:
        files: that it reads; no result may overwrite them.
        count: number of frames as far as it is known beforehand, else None. Not to be relied on.
        is_video: its frames are a video's, of one size.
        is_live: its frames come by themselves and grow old: one that is not taken in time may be dropped, and its end
            is a loss, after which it is opened again.
        rate_hz: frames per second of a video, if known.
        skipped: how many images could not be read so far.
    """

    files: tuple[Path, ...] = ()
    count: int | None = None
    is_video: bool = False
    is_live: bool = False
    rate_hz: float | None = None
    skipped: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Item]:
        """The frames.

        Raises:
            SourceError: a file that cannot be read.
        """

    def interrupt(self) -> None:  # noqa: B027
        """Make a thread that waits for this source's next frame stop waiting; called from another thread."""

    def close(self) -> None:  # noqa: B027
        """Free what it holds; a second time does nothing."""

    def __enter__(self: _Source) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
