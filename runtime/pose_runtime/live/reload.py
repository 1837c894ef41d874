"""Another bundle for a run that goes on: opened beside the present one, tried, kept or given back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pose_runtime.errors import PoseError
from pose_runtime.live.run import LiveRun
from pose_runtime.live.served import Served
from pose_runtime.service import notify

_LOG = logging.getLogger(__name__)


class Reloader:
    """Takes the bundle anew whenever it is told to; one at a time.

    Args:
        run: what goes over.
        open_served: opens the bundle that shall serve now.
        patience_s: in which it must give results.
    """

    def __init__(self, run: LiveRun, open_served: Callable[[], Served], patience_s: float) -> None:
        self._run, self._open_served, self._patience_s = run, open_served, patience_s
        self._busy = threading.Lock()

    def __call__(self) -> None:
        """Begin, and return at once."""
        if not self._busy.acquire(blocking=False):
            _LOG.warning("reload: another bundle is on trial already; try again later")
            return
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        notify.reloading("opening the bundle")
        try:
            served = self._open_served()
        except PoseError as error:
            self._refused(error)
            return
        if served.bundle.digest == self._run.served.bundle.digest:
            _LOG.info("reload: %s serves already", served.bundle.path.name)
            served.pipeline.close()
            self._end()
            return
        former = self._run.served
        try:
            self._run.go_over(served, self._patience_s, lambda fault: self._ended(served, former, fault))
        except PoseError as error:
            served.pipeline.close()
            served.give_up(str(error))
            self._refused(error)

    def _ended(self, served: Served, former: Served, fault: PoseError | None) -> None:
        """The verdict, in the network's thread: what starts next time is what serves now."""
        if fault is None:
            _LOG.info("reload: %s serves from now on", served.bundle.path.name)
            served.confirm()
            former.leave()
            self._end()
        else:
            served.give_up(str(fault))
            self._refused(fault)

    def _refused(self, fault: PoseError) -> None:
        _LOG.error("reload: %s goes on, the new bundle does not serve: %s", self._run.served.bundle.path.name, fault)
        self._end()

    def _end(self) -> None:
        self._busy.release()
        notify.ready()
