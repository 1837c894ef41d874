"""The thread of the network: newest frames in, people out, one pipeline after another without a pause."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.errors import FrameError, PoseError
from pose_runtime.live.mailbox import Closed, Mailbox, take_each
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.stats import Stats
from pose_runtime.live.trial import Trial
from pose_runtime.poses import Poses
from pose_runtime.runner import stream
from pose_runtime.sources import Item

_LOG = logging.getLogger(__name__)
_IDLE_S = 0.25  # how often it looks for a new pipeline or the end while no frame comes
_PROBE = np.zeros((480, 640, 3), np.uint8)

Deliver = Callable[[int, Item, Poses], None]
"""Number of the source, its frame, and the people in it."""


class Worker:
    """Runs a pipeline on whatever its boxes hold; `run` is a thread's work.

    While the network is busy with one call, a GPU takes the next frames (see `BasePipeline.depth`). Frames of several
    sources that are there at the same time share a batch on a GPU; a CPU takes one by one, source after source.

    Args:
        pipeline: to begin with; whoever made the worker closes `worker.pipeline` after the run.
        boxes: of the sources, sharing one condition.
        deliver: called in the worker's thread for each result.
        stats: of the sources in the order of `boxes`.
        pulse: whose work are the calls of the pipeline and of `deliver`.
        clock: monotonic seconds, that of the frames' `time_s`.
    """

    def __init__(
        self,
        pipeline: BasePipeline,
        boxes: Sequence[Mailbox[Item]],
        deliver: Deliver,
        *,
        stats: Stats,
        pulse: Pulse,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.pipeline = pipeline
        self._boxes = boxes
        self._deliver = deliver
        self._stats = stats
        self._pulse = pulse
        self._clock = clock
        self._turn = 0
        self._under_way: deque[tuple[list[tuple[int, Item]], float]] = deque()
        self._stop = threading.Event()
        self._replace = threading.Lock()
        self._next: Trial | None = None
        self._trial: Trial | None = None

    def run(self) -> None:
        """Until `stop`, or until all boxes are closed and empty.

        Raises:
            PoseError: the pipeline failed, and there was no former one to go back to.
        """
        try:
            while not self._stop.is_set():
                self.step()
        except Closed:
            self._drain()

    def stop(self) -> None:
        """Make `run` end after the calls under way."""
        self._stop.set()

    def try_out(self, trial: Trial) -> None:
        """Go over to a new pipeline before the next frame; back to the present one if it fails its trial.

        From any thread. The verdict comes through `trial.ended`, and the pipeline that lost is closed.
        """
        with self._replace:
            if self._next or self._trial:
                raise PoseError("a new bundle is on trial already; wait for its verdict")
            self._next = trial

    def step(self) -> None:
        """One round: hand in what is there, and take the oldest result once nothing else can be handed in."""
        self._go_over()
        timeout_s = 0.0 if self._under_way else _IDLE_S
        most = self.pipeline.max_batch if self.pipeline.depth > 1 else 1
        taken = take_each(self._boxes, most, timeout_s, self._turn)
        if taken:
            self._turn = taken[-1][0] + 1
            self._submit(taken)
        if self._under_way and (not taken or len(self._under_way) == self.pipeline.depth):
            self._finish()
        if self._trial and self._trial.is_over(self._clock()):
            self._end_trial(self._trial, self._trial.fault)

    # ---- one call ----------------------------------------------------------------------------------------------

    def _submit(self, taken: list[tuple[int, Item]]) -> None:
        start_s = self._clock()
        try:
            with self._pulse.working():
                streams = [stream(item, source) for source, item in taken]
                self.pipeline.submit_all([item.frame for _, item in taken], streams)
        except FrameError as error:
            self._refuse(taken, error)
        except PoseError as error:
            self._failed(error)
        else:
            self._under_way.append((taken, start_s))

    def _refuse(self, taken: list[tuple[int, Item]], error: FrameError) -> None:
        """A frame is its source's fault: the others of the batch go in again without it."""
        if len(taken) > 1:
            for one in taken:
                self._submit([one])
                self._drain()
            return
        self._stats.refused += 1
        if self._stats.refused.bit_count() == 1:  # the 1st, 2nd, 4th, … : a camera may send nothing else for months
            _LOG.warning("%s: frame refused (%d so far): %s", taken[0][1].name, self._stats.refused, error)

    def _finish(self) -> None:
        taken, start_s = self._under_way.popleft()
        try:
            with self._pulse.working():
                found = self.pipeline.result_all()
        except PoseError as error:
            self._failed(error)
            return
        now_s = self._clock()
        for (source, item), poses in zip(taken, found, strict=True):
            captured_s = item.frame.time_s
            age_s = None if captured_s is None else now_s - captured_s
            self._stats.count(source, len(poses), now_s - start_s, age_s, self.pipeline.timings)
            with self._pulse.working():
                self._deliver(source, item, poses)
        if self._trial:
            self._trial.good()

    def _drain(self) -> None:
        while self._under_way:
            self._finish()

    # ---- going over to another pipeline ------------------------------------------------------------------------

    def _go_over(self) -> None:
        with self._replace:
            trial, self._next = self._next, None
        if trial is None:
            return
        self._drain()
        trial.begin(self.pipeline, self._clock())
        self._trial, self.pipeline = trial, trial.pipeline
        try:
            with self._pulse.working():  # so that there is a result even where no camera is
                self.pipeline([_PROBE])
        except FrameError:
            return  # a network of one size; its sources have that
        except PoseError as error:
            self._failed(error)
        else:
            trial.good()

    def _failed(self, error: PoseError) -> None:
        """The present pipeline did; without another to go back to, the run ends."""
        if self._trial is None:
            raise error
        self._end_trial(self._trial, error)

    def _end_trial(self, trial: Trial, fault: PoseError | None) -> None:
        self._trial = None
        if fault is not None:
            self._under_way.clear()  # newer frames are there already
            self.pipeline = trial.former
        loser = trial.pipeline if fault else trial.former
        loser.close()
        trial.ended(fault)
