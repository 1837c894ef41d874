"""The newest frame of one source, encoded once for all who watch it, and only while somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from pose_runtime.poses import Poses
from pose_runtime.sinks.page.picture import Picture
from pose_runtime.sources import Item

Encode = Callable[[Item, Poses, int], Picture]


class Watcher(Protocol):
    """Somebody who wants to know of new pictures."""

    changed: asyncio.Event


class Feed:
    """One source's pictures in one form.

    `put` belongs to the thread of the run, everything else to the page's loop.

    Args:
        loop: the page's.
        pool: encodes there.
        encode: makes a picture.
        fps: pictures per second at most.

    Attributes:
        picture: the newest one; None until one was asked for and made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Executor, encode: Encode, fps: float) -> None:
        self.picture: Picture | None = None
        self._loop, self._pool, self._encode = loop, pool, encode
        self._period_s = 1 / fps
        self._newest: tuple[Item, Poses] | None = None
        self._shown: tuple[Item, Poses] | None = None
        self._watchers: set[Watcher] = set()
        self._fresh = asyncio.Event()
        self._number = 0

    def put(self, item: Item, poses: Poses) -> None:
        """A new frame takes the place of the one before."""
        self._newest = (item, poses)
        if self._watchers and not self._fresh.is_set():  # else it will be seen: `run` clears, then looks
            self._loop.call_soon_threadsafe(self._fresh.set)

    def join(self, watcher: Watcher) -> None:
        """Tell it of each new picture from now on, and of the one that is there."""
        if not self._watchers and self._newest is not self._shown:
            self.picture = None  # made when somebody watched last: it may be hours old
        self._watchers.add(watcher)
        self._fresh.set()
        if self.picture is not None:
            watcher.changed.set()

    def leave(self, watcher: Watcher) -> None:
        """Tell it no more; who was not told anyway may leave too."""
        self._watchers.discard(watcher)

    async def run(self) -> None:
        """Make pictures, for ever."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            newest = self._newest
            if newest is None or newest is self._shown or not self._watchers:
                continue
            due_s = self._loop.time() + self._period_s
            number = self._number + 1
            self.picture = await self._loop.run_in_executor(self._pool, self._encode, *newest, number)
            self._number, self._shown = number, newest
            for watcher in self._watchers:
                watcher.changed.set()
            await asyncio.sleep(due_s - self._loop.time())
