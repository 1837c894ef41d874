"""A live run as a process: signals, the service manager, and a look at it every second."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from pose_runtime.config import RunConfig
from pose_runtime.live.build import open_run
from pose_runtime.live.reload import Reloader
from pose_runtime.live.run import LiveRun
from pose_runtime.live.served import Opener
from pose_runtime.live.status import Status, line
from pose_runtime.live.trial import ENOUGH
from pose_runtime.service import notify
from pose_runtime.service.watchdog import Watchdog

_LOOK_S = 1.0

OnStatus = Callable[[Status], None]


class Signals:
    """What the process was told from outside; use it by `with`.

    SIGINT and SIGTERM ask for the end; a second one ends at once. SIGHUP takes the bundle anew, except at a terminal,
    where it means that this was closed.

    Attributes:
        end: which signal asked for the end.
        reload: SIGHUP came.
    """

    def __init__(self) -> None:
        self.end: signal.Signals | None = None
        self.reload = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if not sys.stderr.isatty():
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reload)
        return self

    def take_ends(self) -> None:
        """From now on SIGINT and SIGTERM only ask; until then they end what is being opened."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _reload(self, *_: object) -> None:
        self.reload = True

    def _end(self, number: int, _: object) -> None:
        self.end = signal.Signals(number)
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, self._before[asked])


def serve(config: RunConfig, service: str, *, on_start: OnStatus, on_status: OnStatus) -> signal.Signals | None:
    """Run until the sources or a viewer end it, or a signal does; what is under way is written then.

    Args:
        config: all settings.
        service: name among those that share a bundle store.
        on_start: called once the network is loaded and the loops run.
        on_status: called every second.

    Returns:
        The signal that ended it.

    Raises:
        PoseError: what the user has to mend first, or what the run failed by.
    """
    with Signals() as signals:
        open_served = Opener(config, service)
        run = open_run(config, open_served())
        with Watchdog(lambda: run.alive, lambda: ", ".join(run.stuck)):
            try:
                run.start()
                signals.take_ends()
                notify.ready("running")
                on_start(run.status())
                _look_on(run, signals, Reloader(run, open_served, config.trial_s), config.trial_s, on_status)
            finally:
                notify.stopping()
                run.close(drain=signals.end is None)
        on_status(run.status())
    return signals.end


def _look_on(run: LiveRun, signals: Signals, reload: Reloader, trial_s: float, on_status: OnStatus) -> None:
    first = run.served
    while signals.end is None and not run.wait(_LOOK_S):
        if signals.reload:
            signals.reload = False
            reload()
        status = run.status()
        if run.served is first and (status.frames >= ENOUGH or (status.alive and status.uptime_s > trial_s)):
            first.confirm()  # it may have been activated before the start
        notify.status(line(status))
        on_status(status)
