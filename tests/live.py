"""Stand-ins for live runs: a clock that only moves when told, and pipelines that take that clock's time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.base_pipeline import BasePipeline, Image
from pose_runtime.bundle import load_bundle
from pose_runtime.errors import PoseError
from pose_runtime.frame import Frame
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.poses import Poses
from pose_runtime.sources import Item

PIXELS = np.zeros((48, 64, 3), np.uint8)
MANIFEST = load_bundle("lightweight-tiny").manifest


class Clock:
    """Simulated seconds, and what happens at which of them."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now_s

    def at(self, time_s: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time_s, self._count, event))

    def advance(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        self.now_s = end_s

    def camera(self, box: Mailbox[Item], fps: float, name: str = "camera", jitter: Callable[[], float] = float) -> None:
        """Puts frames into a box from now on; `jitter` gives seconds by which one comes late."""

        def put(index: int, due_s: float) -> None:
            self.at(due_s + 1 / fps + jitter(), lambda: put(index + 1, due_s + 1 / fps))
            box.put(item(index, self.now_s, name))

        self.at(self.now_s, lambda: put(0, self.now_s))


def item(index: int = 0, time_s: float | None = None, name: str = "camera") -> Item:
    return Item(name, index, time_s, Frame.from_image(PIXELS, time_s=time_s))


class SlowPipeline(BasePipeline):
    """Finds nobody, in its own time; `fault` is raised by its next call."""

    def __init__(self, clock: Clock | None = None, takes_s: float = 0.0, *, depth: int = 1, max_batch: int = 1) -> None:
        super().__init__(MANIFEST, None, max_batch)
        self.depth = depth
        self.fault: PoseError | None = None
        self.calls: list[int] = []
        self.is_closed = False
        self._clock = clock
        self._takes_s = takes_s

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        assert not self.is_closed
        self.calls.append(len(frames))
        if self._clock:
            self._clock.advance(self._takes_s)
        if self.fault:
            raise self.fault
        return [Poses.empty(self.manifest.skeleton) for _ in frames]

    def close(self) -> None:
        self.is_closed = True
