"""Another bundle for a run that goes on: opened beside the present one, tried, kept or given back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Queue

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
        former = self._run.served
        try:
            self._go_over(former)
        except PoseError as error:
            _LOG.error("reload: %s goes on, the new bundle does not serve: %s", former.bundle.path.name, error)
        finally:
            self._busy.release()
            notify.ready()

    def _go_over(self, former: Served) -> None:
        """Until the verdict: what starts next time is what serves now. Raises PoseError: why it is the former one."""
        served = self._open_served()
        name = served.bundle.path.name
        if served.bundle.digest == former.bundle.digest:
            _LOG.info("reload: %s serves already", name)
            served.pipeline.close()
            return
        verdict: Queue[PoseError | None] = Queue()
        try:
            self._run.go_over(served, self._patience_s, verdict.put)
        except PoseError:
            served.pipeline.close()
            raise
        if (fault := verdict.get()) is not None:
            served.give_up(str(fault))
            raise fault
        _LOG.info("reload: %s serves from now on", name)
        served.confirm()
        former.leave()
