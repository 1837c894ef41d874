"""A thread that reads one source: frames into a mailbox, and back to the source for ever when it is lost."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from pose_runtime.errors import PoseError, SourceError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.mailbox import Closed, Mailbox
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.status import SourceState, SourceStatus
from pose_runtime.sources import Item, Source

_LOG = logging.getLogger(__name__)
_RECENT_S = 5.0


class Capture:
    """Reads a source in a thread of its own.

    A live source that is lost, or not there yet, is opened again and again with growing pauses. The end of another
    source, such as a file, is the end: the mailbox is closed, and what could not be read is told by `SourceStatus`.

    Args:
        name: of the source.
        address: for people, without credentials.
        factory: opens it; raises SourceError.
        box: takes the frames; one that drops for a live source, one that waits for a file.
        is_live: whether it is opened again.
        pulse: whose work is to take one frame, not to wait for it.
        backoff: between two tries.
        clock: monotonic seconds.
        wait: sleeps so many seconds, or until `stop`, then True; by default in real time.
    """

    def __init__(
        self,
        name: str,
        address: str,
        factory: Callable[[], Source],
        box: Mailbox[Item],
        *,
        is_live: bool,
        pulse: Pulse | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.name = name
        self.box = box
        self.pulse = pulse or Pulse(f"source {name}", 10.0)
        self.error: SourceError | None = None
        """Why a source that is not live ended before its end."""
        self._address = address
        self._factory = factory
        self._is_live = is_live
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._lock = threading.Lock()  # of all below
        self._source: Source | None = None
        self._state: SourceState = "connecting"
        self._size_wh: tuple[int, int] | None = None
        self._format: str | None = None
        self._times: deque[float] = deque(maxlen=2000)
        self._frames = self._reconnects = 0
        self._why: str | None = None
        # daemon: a library that hangs while it opens a source must not keep the process
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            SourceError: a source that is not live cannot be opened.
        """
        if not self._is_live:
            self._source = self._factory()
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End; whether the thread has ended within the time. One that hangs in a library ends as soon as that returns,
        and closes its source then.
        """
        self._stopped.set()
        self.box.close()
        with self._lock:
            if self._source is not None:
                self._source.interrupt()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        elif self._source is not None:
            self._source.close()
        return not self._thread.is_alive()

    @property
    def status(self) -> SourceStatus:
        """What it is doing."""
        with self._lock:
            return SourceStatus(
                name=self.name,
                address=self._address,
                state=self._state,
                size_wh=self._size_wh,
                format=self._format,
                fps=self._fps(),
                frames=self._frames,
                dropped=self.box.dropped,
                reconnects=self._reconnects,
                error=self._why,
            )

    def _fps(self) -> float:
        now_s = self._clock()
        while self._times and self._times[0] < now_s - _RECENT_S:
            self._times.popleft()
        if len(self._times) < 2 or now_s <= self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (now_s - self._times[0])

    # ---- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                why = self._read_once()
                if not self._is_live:
                    self.error = why
                    break
                if self._stopped.is_set():
                    break
                self._lost(why or SourceError(f"{self._address}: it ended"))
                self._wait(self._backoff.next_s())
        except Closed:
            pass
        finally:
            with self._lock:
                self._state = "ended"
            self.box.close()

    def _read_once(self) -> SourceError | None:
        """Open the source and read it to its end, or to the error that is returned."""
        try:
            source = self._source or self._factory()
        except SourceError as error:
            return error
        with self._lock:
            self._source = source
        try:
            if not self._stopped.is_set():
                for item in source:
                    with self.pulse.working():
                        self._came(item)
                    self.box.put(item if item.name == self.name else replace(item, name=self.name))
                    del item
        except SourceError as error:
            return error
        finally:
            with self._lock:
                self._source = None
            source.close()
        return None

    def _came(self, item: Item) -> None:
        with self._lock:
            back, self._state = self._state == "lost", "live"
            self._size_wh, self._format = item.frame.size_wh, item.frame.format
            self._frames += 1
            self._times.append(self._clock())
            self._reconnects += back
        self._backoff.reset()
        if back:
            _LOG.info("source %s: back", self.name, extra={"source": self.name})

    def _lost(self, why: PoseError) -> None:
        with self._lock:
            already, self._state = self._state == "lost", "lost"
            self._why = " ".join(str(why).split())
        if not already:
            _LOG.warning("source %s: lost: %s", self.name, self._why, extra={"source": self.name})
