"""One sink in a thread of its own, so that neither a slow disk nor a lost broker holds up the network.

             put            take                      write
engine loop ----> Mailbox ---------> outlet's thread -------> Sink
                  live: drops the oldest                  lost: opened anew, with back-off
                  files: waits                            lost: the error ends the run
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import TypeVar

from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.mailbox import Closed, Mailbox
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.status import SinkState, SinkStatus
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sinks import Sink
from pose_runtime.sources import Item

_Outlet = TypeVar("_Outlet", bound="Outlet")
_log = logging.getLogger(__name__)
_IDLE_S = 0.1
_CAPACITY = 4  # results: a short hiccup of a disk drops none, and none grows old


class Outlet:
    """Feeds a sink. The thread opens the sink too: OpenCV's windows live in one thread only.

    Args:
        name: of the sink, for messages and its status.
        factory: opens the sink, at first and whenever it was lost.
        live: results that the sink is too slow for are dropped, oldest first, and a sink that fails is opened anew for
            ever; else `put` waits, and a failure is final.
        capacity: results that wait at most.
        most_s: that one write may take before the thread counts as stuck.
        backoff: waits between tries to open a lost sink.

    Attributes:
        name: of the sink.
        pulse: of the thread.

    Raises:
        SinkError: the sink cannot be opened at the start, which only a user can mend.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[[], Sink],
        *,
        live: bool,
        capacity: int = _CAPACITY,
        most_s: float = 30.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.pulse = Pulse(name, most_s)
        self._factory, self._live = factory, live
        self._box: Mailbox[tuple[Item, Poses]] = Mailbox(capacity, drops=live)
        self._backoff = backoff or Backoff()
        self._sink: Sink | None = None
        self._written = self._missed = self._given_up = 0
        self._error: str | None = None
        self._lost_s: float | None = None  # since when it is
        self._before = 0  # results missed until then
        self._failure: BaseException | None = None
        self._finished = self._ended = self._abandoned = False
        self._opened = Event()
        self._renewal: tuple[Bundle, GraphRole | None] | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._opened.wait()
        self.raise_if_failed()

    @property
    def finished(self) -> bool:
        """The viewer wants no more."""
        return self._finished

    def put(self, item: Item, poses: Poses) -> None:
        """Hand over one frame's people; nothing happens once the sink has finished.

        Raises:
            SinkError: the sink of a file run failed.
        """
        try:
            self._box.put((item, poses))
        except Closed:
            self.raise_if_failed()

    def raise_if_failed(self) -> None:
        """Raise what ended the thread, if something did: a file run's SinkError, or what nobody expected."""
        if self._failure is not None:
            raise self._failure

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:
        """Tell the sink, before the next result, that another bundle makes them."""
        self._renewal = bundle, graph

    def stop(self, timeout_s: float | None = None, *, abandon: bool = False) -> bool:
        """Write what was put, and close the sink.

        Args:
            timeout_s: for that; then the rest is given up. None waits as long as it takes.
            abandon: give up what was put, and leave nothing half-written.

        Returns:
            Whether the thread has ended; one that is stuck in a write has not.
        """
        self._abandoned = self._abandoned or abandon
        self._box.close()
        self._thread.join(timeout_s)
        self._abandoned = True
        return not self._thread.is_alive()

    def status(self) -> SinkStatus:
        """Of this moment; from any thread."""
        sink = self._sink
        lost = sink.lost if sink else None
        given_up = self._given_up + (sink.dropped if sink else 0)
        state: SinkState = "ended" if self._ended else "lost" if lost or self._lost_s is not None else "working"
        return SinkStatus(
            name=self.name,
            state=state,
            written=self._written - given_up,
            dropped=self._box.dropped + self._missed + given_up,
            error=lost or self._error,
        )

    def __enter__(self: _Outlet) -> _Outlet:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(abandon=kind is not None)
        if kind is None:
            self.raise_if_failed()

    def _run(self) -> None:
        try:
            self._sink = self._factory()
            self._opened.set()
            self._feed()
            self._close()
        except BaseException as error:  # it is raised where the run can end
            self._failure = error
            self._abandon()
        finally:
            self._ended = True
            self._box.close()
            self._opened.set()

    def _feed(self) -> None:
        """Until the box is closed and empty, or the viewer has seen enough."""
        with contextlib.suppress(Closed):
            while not self._finished:
                if self._sink is None:
                    self._try_again()
                    continue
                if self._renewal is not None:
                    renewal, self._renewal = self._renewal, None
                    self._attempt(partial(self._sink.renew, *renewal), 0)
                    continue
                result = self._box.take(_IDLE_S)
                if result is None:
                    self._attempt(self._sink.idle, 0)
                elif self._abandoned:
                    self._missed += 1
                elif self._attempt(partial(self._sink.write, *result), 1):
                    self._written += 1
                    self._back()

    def _attempt(self, work: Callable[[], None], results: int) -> bool:
        """Do a piece of work on the sink; whether it did not fail. If it did, so many results are missed."""
        try:
            with self.pulse.working():
                work()
        except SinkError as error:
            if not self._live:
                raise
            self._lose(str(error))
            self._missed += results
            return False
        self._finished = self._sink is not None and self._sink.finished
        return True

    def _lose(self, reason: str) -> None:
        self._abandon()
        if self._lost_s is None:
            self._lost_s, self._before = monotonic(), self._missed + self._box.dropped
            _log.warning("%s: lost, and tried again until it is back: %s", self.name, reason)
        self._error = reason

    def _try_again(self) -> None:
        """After a wait; results that come meanwhile are dropped. It is back when the next one was written: of a full
        disk a file can be opened.
        """
        end_s = monotonic() + self._backoff.next_s()
        while (left_s := end_s - monotonic()) > 0:
            self._missed += self._box.take(left_s) is not None
        try:
            with self.pulse.working():
                self._sink = self._factory()
        except SinkError as error:
            self._error = str(error)

    def _back(self) -> None:
        if self._lost_s is not None:
            away_s, missed = monotonic() - self._lost_s, self._missed + self._box.dropped - self._before
            _log.warning("%s: back after %.1f s; results dropped meanwhile: %d", self.name, away_s, missed)
            self._lost_s = None
            self._backoff.reset()

    def _close(self) -> None:
        """As the run ends well, or is given up."""
        if self._abandoned:
            self._abandon()
        elif self._sink is not None:
            sink = self._sink
            sink.close()
            self._forget(sink)

    def _abandon(self) -> None:
        if self._sink is not None:
            sink = self._sink
            with contextlib.suppress(SinkError, OSError):  # the first failure is the one to tell
                sink.abandon()
            self._forget(sink)

    def _forget(self, sink: Sink) -> None:
        self._given_up += sink.dropped
        self._sink = None
