"""A new pipeline's first seconds, while the former one stands by."""

from __future__ import annotations

from collections.abc import Callable

from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.errors import EngineError, PoseError

ENOUGH = 10
"""Results after which a pipeline is taken for healthy before its time is over."""

Verdict = Callable[[PoseError | None], None]
"""Told why the pipeline lost, or None: it stays."""


class Trial:
    """One pipeline on trial; the worker's thread leads it.

    It is kept once `ENOUGH` results came, or any by the end of its time: where no camera is, only the worker's own
    black frame is there to be answered. A pipeline that hangs keeps the worker from ending the trial; the watchdog ends
    the process then, and the next start takes the former bundle (see the bundle store).

    Args:
        pipeline: the new one.
        patience_s: from when it begins to serve.
        ended: the verdict; called in the worker's thread after the pipeline that lost was closed.
    """

    def __init__(self, pipeline: BasePipeline, patience_s: float, ended: Verdict) -> None:
        self.pipeline = pipeline
        self.ended = ended
        self._patience_s = patience_s
        self._end_s = float("inf")
        self._results = 0

    def begin(self, former: BasePipeline, now_s: float) -> None:
        """It serves from now on, and `former` stands by."""
        self.former = former
        self._end_s = now_s + self._patience_s

    def good(self) -> None:
        """It gave a result."""
        self._results += 1

    def is_over(self, now_s: float) -> bool:
        """There is something to judge by."""
        return self._results >= ENOUGH or now_s >= self._end_s

    @property
    def fault(self) -> PoseError | None:
        """What is wrong once it is over."""
        return None if self._results else EngineError(f"no result within {self._patience_s:g} s")
