"""What every sink is: it takes each frame with its people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from pose_runtime.bundle import Bundle
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sources import Item

_Sink = TypeVar("_Sink", bound="Sink")


class Sink(ABC):
    """A place for results; use it by `with`: on an error `abandon` takes the place of `close`.

    A sink is opened, used and closed in one thread.

    Attributes:
        finished: the viewer wants no more.
        lost: why results do not get through at present, on one line; the sink itself looks after it. A sink that
            cannot do that raises SinkError instead, and is opened anew.
        dropped: results that it took and then had to give up.
    """

    finished: bool = False
    lost: str | None = None
    dropped: int = 0

    @abstractmethod
    def write(self, item: Item, poses: Poses) -> None:
        """Take one frame and its people.

        Raises:
            SinkError: it cannot be written or shown.
        """

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:  # noqa: B027
        """Another bundle makes the results from now on. Raises SinkError as `write` does."""

    def idle(self) -> None:  # noqa: B027
        """Called several times a second while no results come."""

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
