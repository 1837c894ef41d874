"""What every sink is: it takes each frame with its people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from pose_runtime.poses import Poses
from pose_runtime.sources import Item

_Sink = TypeVar("_Sink", bound="Sink")


class Sink(ABC):
    """A place for results; use it by `with`: on an error `abandon` takes the place of `close`.

    Attributes:
        finished: the viewer wants no more.
    """

    finished: bool = False

    @abstractmethod
    def write(self, item: Item, poses: Poses) -> None:
        """Take one frame and its people.

        Raises:
            SinkError: it cannot be written or shown.
        """

    def close(self) -> None:  # noqa: B027
        """Finish what is written. Raises SinkError."""

    def abandon(self) -> None:
        """Leave nothing half-written behind, as far as the sink promises that."""
        self.close()

    def __enter__(self: _Sink) -> _Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()
