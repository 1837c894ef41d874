"""Stand-ins for live runs: a clock that only moves when told, and pipelines that take that clock's time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, sleep

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.base_pipeline import BasePipeline, Image
from pose_runtime.bundle import load_bundle
from pose_runtime.errors import PoseError, SourceError
from pose_runtime.frame import Frame
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.poses import Poses
from pose_runtime.sinks import Sink
from pose_runtime.sources import Item, Source

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
    """Finds so many people, in its own time; `fault` is raised by its next call."""

    def __init__(
        self, clock: Clock | None = None, takes_s: float = 0.0, *, depth: int = 1, max_batch: int = 1, people: int = 0
    ) -> None:
        super().__init__(MANIFEST, None, max_batch)
        self.depth = depth
        self.fault: PoseError | None = None
        self.calls: list[int] = []
        self.is_closed = False
        self._clock = clock
        self._takes_s = takes_s
        count = len(self.manifest.skeleton.names)
        keypoints = np.random.default_rng(1).uniform(0.5, 1, (people, count, 3)).astype(np.float32)
        keypoints[..., :2] += np.arange(people)[:, None, None]
        keypoints[..., :2] *= 200
        self._poses = Poses(keypoints, np.ones(people, np.float32), self.manifest.skeleton)

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        assert not self.is_closed
        self.calls.append(len(frames))
        if self._clock:
            self._clock.advance(self._takes_s)
        if self.fault:
            raise self.fault
        return [self._poses for _ in frames]

    def close(self) -> None:
        self.is_closed = True


class FakeCamera(Source):
    """Gives frames by real time until it is told to be lost, stalled or interrupted."""

    is_live = is_video = True

    def __init__(self, name: str = "camera0", fps: float = 100.0, size_wh: tuple[int, int] = (64, 48)) -> None:
        self.lost = threading.Event()
        self._name, self._period_s = name, 1 / fps
        self._pixels = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        start_s = monotonic()
        for index in itertools.count():
            due_s = start_s + index * self._period_s
            if self._ended.wait(max(0.0, due_s - monotonic())):
                return
            if self.lost.is_set():
                raise SourceError(f"{self._name}: unplugged")
            frame = Frame.from_image(self._pixels, time_s=monotonic())
            yield Item(self._name, index, due_s - start_s, frame)

    def interrupt(self) -> None:
        self._ended.set()

    def close(self) -> None:
        self._ended.set()


class Kept(Sink):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.results: list[tuple[Item, Poses]] = []

    def write(self, item: Item, poses: Poses) -> None:
        self.results.append((item, poses))


def until(true: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait for what other threads bring about."""
    end_s = monotonic() + within_s
    while not true():
        assert monotonic() < end_s, "it did not come about"
        sleep(0.005)
