"""Feeds systemd's watchdog for as long as the run is alive."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from pose_runtime.service import notify

_LOG = logging.getLogger(__name__)

_MOST_S = 1.0  # between looks, however long WatchdogSec is: a stuck run is found soon


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """WatchdogSec of the unit that this process is the main process of; None where nobody watches."""
    try:
        usec, pid = int(environ.get("WATCHDOG_USEC", "0")), int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return usec / 1e6 if usec > 0 and pid == os.getpid() else None


class Watchdog:
    """A thread that feeds the watchdog; use it by `with`. Where nobody watches it does nothing.

    Once the run is not alive, it asks systemd for the restart at once instead of waiting for WatchdogSec to pass, and
    never feeds again: what was stuck is not trusted any more. A process that hangs as a whole feeds nothing either,
    and is restarted after WatchdogSec.

    Args:
        alive: whether every stage finishes what it takes; called from the thread, so it must be quick and lock little.
        why: names what is stuck, for the log and `systemctl status`.
    """

    def __init__(self, alive: Callable[[], bool], why: Callable[[], str] = lambda: "a stage is stuck") -> None:
        self._alive = alive
        self._why = why
        self._watchdog_s = watchdog_s()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._watchdog_s is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _feed(self) -> None:
        assert self._watchdog_s is not None
        period_s = min(self._watchdog_s / 3, _MOST_S)
        while self._lives():
            notify.feed_watchdog()
            if self._ended.wait(period_s):
                return

    def _lives(self) -> bool:
        try:
            if self._alive():
                return True
            why = self._why()
        except Exception as error:  # a question that fails is no sign of life
            why = f"whether the run is alive cannot be told: {type(error).__name__}: {error}"
        _LOG.critical("the watchdog is fed no more: %s", why)
        notify.trigger_watchdog(f"stuck: {why}")
        return False
