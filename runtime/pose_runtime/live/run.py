"""A live run: every source, the network and every sink in a thread of its own, newest frames first.

    source ─ Capture ─▶ mailbox ─┐                           ┌─▶ mailbox ─ Outlet ─ sink
    source ─ Capture ─▶ mailbox ─┴─▶ Worker ─▶ ids, smooth ──┴─▶ mailbox ─ Outlet ─ sink

Captures and outlets open again what they lost, for ever. Whatever else goes wrong, in any thread, ends the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from pose_runtime.config import RunConfig
from pose_runtime.errors import PoseError
from pose_runtime.live.capture import Capture
from pose_runtime.live.follow import Follower
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.live.outlet import Outlet
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.served import Served
from pose_runtime.live.stats import Stats
from pose_runtime.live.status import Status
from pose_runtime.live.trial import Trial, Verdict
from pose_runtime.live.worker import Worker
from pose_runtime.machine.host import Host
from pose_runtime.machine.sensors import Reading, Sensors
from pose_runtime.poses import Poses
from pose_runtime.runner import at_least
from pose_runtime.sources import Item
from pose_runtime.version import version

_LOG = logging.getLogger(__name__)
_STOP_S = 2.0  # for sources to let go, and once more for sinks to finish what they hold
_SENSE_S = 2.0


class LiveRun:
    """Sources through a pipeline into sinks, until it is stopped, all sources ended, a viewer closed, or it failed.

    Args:
        config: all settings.
        served: to begin with; the run closes its pipeline, or the one that took over.
        captures: of the sources, in the order of the settings.
        boxes: into which these put, sharing one condition.
        outlets: of the sinks; called once, with the run, whose `status` and `served` they may ask.
        clock: monotonic seconds, that of the frames' `time_s`.

    Attributes:
        served: what serves now.
    """

    def __init__(
        self,
        config: RunConfig,
        served: Served,
        captures: Sequence[Capture],
        boxes: Sequence[Mailbox[Item]],
        outlets: Callable[[LiveRun], Sequence[Outlet]],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.served = served
        self._min_score = config.min_score
        self._clock = clock
        self._start_s = clock()
        self._captures = captures
        self._stats = Stats(len(captures), clock)
        self._followers = [Follower(config.track, config.smooth) for _ in captures]
        self._pulse = Pulse("network", config.stuck_s, clock)
        self._worker = Worker(served.pipeline, boxes, self._deliver, stats=self._stats, pulse=self._pulse, clock=clock)
        self._trial: Served | None = None
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._sensors = Sensors(Host())
        self._sensed_s = -float("inf")
        self._reading = Reading(watts={}, celsius={}, mhz={})
        self._open_outlets = outlets
        self._outlets: Sequence[Outlet] = ()

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Raises SourceError and SinkError for what the user has to mend first."""
        threading.excepthook = self._thread_failed
        self._sensors.__enter__()
        self._outlets = self._open_outlets(self)
        for capture in self._captures:
            capture.start()
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Sleep; True once the run is over."""
        return self._done.wait(seconds) or any(outlet.finished for outlet in self._outlets)

    def close(self, *, drain: bool = False) -> None:
        """End everything, sinks last, so that they get what is under way.

        Args:
            drain: sinks may take as long as they need; else what they have not taken within seconds is given up.

        Raises:
            PoseError: what the run failed by.
        """
        for capture in self._captures:
            capture.stop(0.0)  # all at once
        self._worker.stop()
        end_s = monotonic() + _STOP_S
        for capture in self._captures:
            capture.stop(max(0.0, end_s - monotonic()))
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        end_s = monotonic() + _STOP_S
        for outlet in self._outlets:
            outlet.stop(None if drain and not self._failure else max(0.1, end_s - monotonic()))
        self._sensors.__exit__()
        threading.excepthook = threading.__excepthook__
        if not self._thread.is_alive():  # else it hangs in the pipeline, which the end of the process frees
            self._worker.pipeline.close()
        self.served.leave()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure
        for capture in self._captures:
            if capture.error:
                raise capture.error
        for outlet in self._outlets:
            outlet.raise_if_failed()

    @property
    def alive(self) -> bool:
        """Every stage finishes what it takes; what is lost and in its reconnect loop is no fault of this process."""
        return not self.stuck

    @property
    def stuck(self) -> tuple[str, ...]:
        """The stages that do not, with what they are at."""
        pulses = [
            self._pulse,
            *(capture.pulse for capture in self._captures),
            *(outlet.pulse for outlet in self._outlets),
        ]
        return tuple(f"{pulse.name}, {pulse.busy_s:.0f} s" for pulse in pulses if not pulse.alive)

    # ---- another bundle ----------------------------------------------------------------------------------------

    def go_over(self, served: Served, patience_s: float, ended: Verdict) -> None:
        """Try another bundle from the next frame on, without a pause for sources and sinks.

        Args:
            served: the new bundle; the run closes its pipeline.
            patience_s: in which it must give results.
            ended: told in the network's thread why it lost, or None: it stays.

        Raises:
            PoseError: another is on trial.
        """
        former = self.served

        def verdict(fault: PoseError | None) -> None:
            if fault:
                self._serve(former)
            ended(fault)

        self._worker.try_out(Trial(served.pipeline, patience_s, verdict))
        self._trial = served

    def _serve(self, served: Served) -> None:
        """In the network's thread: the first result of another pipeline is on its way to the sinks."""
        self.served = served
        for outlet in self._outlets:
            outlet.renew(served.bundle, served.role)

    # ---- the network's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:  # whatever it is, the main thread shall tell it
            self._failure = error
        finally:
            self._done.set()

    def _thread_failed(self, what: threading.ExceptHookArgs) -> None:
        """A thread of a source or a sink met what it does not expect."""
        self._failure = self._failure or what.exc_value
        self._done.set()

    def _deliver(self, source: int, item: Item, poses: Poses) -> None:
        if self._trial and self._worker.pipeline is self._trial.pipeline:
            trial, self._trial = self._trial, None
            self._serve(trial)
        poses = at_least(poses, self._min_score)
        poses = self._followers[source](poses, self._time_s(item))
        for outlet in self._outlets:
            outlet.put(item, poses)

    def _time_s(self, item: Item) -> float:
        """When the frame was captured: by our clock, else by its file's."""
        times_s = (item.frame.time_s, item.time_s, self._clock())
        return next(time_s for time_s in times_s if time_s is not None)

    # ---- what it says of itself --------------------------------------------------------------------------------

    def status(self) -> Status:
        """Now. From any thread."""
        served, stats, reading = self.served, self._stats, self._sense()
        manifest = served.bundle.manifest
        graph = manifest.graphs[served.role]
        return Status(
            version=version(),
            bundle=served.bundle.path.name,
            digest=served.bundle.digest,
            network=manifest.network.name,
            graph=served.role,
            precision=graph.precision,
            device=served.pipeline.device_name,
            engine=served.pipeline.engine_key,
            accuracy=graph.accuracy,
            check=served.pipeline.proof,
            uptime_s=self._clock() - self._start_s,
            alive=self.alive,
            fps=stats.fps,
            frames=stats.frames,
            people=stats.people,
            latency_ms=stats.latency_ms,
            stages_ms=stats.stages_ms,
            age_ms=stats.age_ms,
            temperature_c=max(reading.celsius.values(), default=None),
            watts=reading.watts,
            throttled=reading.throttled,
            sources=tuple(capture.status for capture in self._captures),
            sinks=tuple(outlet.status() for outlet in self._outlets),
        )

    def _sense(self) -> Reading:
        if self._clock() - self._sensed_s >= _SENSE_S:
            self._sensed_s = self._clock()
            self._reading = self._sensors.read()
        return self._reading
