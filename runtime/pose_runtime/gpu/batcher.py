"""Several cameras share one pipeline: their frames become a batch, but none waits longer than its deadline.

    with Batcher(pipeline, deadline_ms=8) as batcher:
        poses = batcher(frame)  # in each camera's thread

A batch runs when it is full, or when the deadline of its oldest frame has come. Works over any pipeline.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from time import monotonic
from typing import Any

from numpy.typing import ArrayLike

from pose_runtime.base_pipeline import BasePipeline, Image
from pose_runtime.errors import FrameError
from pose_runtime.poses import Poses

_MAX_DEADLINE_MS = 10_000.0


class _Waiting:
    """One frame on its way, and when it must be taken."""

    def __init__(self, frame: Image, boxes: ArrayLike | None, due_s: float) -> None:
        self.frame, self.boxes, self.due_s = frame, boxes, due_s
        self.future: Future[Poses] = Future()


class Batcher:
    """One thread runs a pipeline for many; use it by `with`, or `close()` it.

    Frames run in the order in which they came. A frame that the pipeline refuses fails alone: the others of its batch
    are run again without it.

    Args:
        pipeline: nobody else may use it meanwhile; the caller closes it, after this.
        deadline_ms: how long a frame may wait for others, 0 to 10 000; a batch that runs just then comes on top.
        max_batch: frames of one batch; None for what the pipeline runs at once.
    """

    def __init__(self, pipeline: BasePipeline, *, deadline_ms: float, max_batch: int | None = None) -> None:
        if not 0 <= deadline_ms <= _MAX_DEADLINE_MS:
            raise FrameError(f"deadline: got {deadline_ms} ms, wanted 0 to {_MAX_DEADLINE_MS:.0f}")
        if max_batch is not None and max_batch < 1:
            raise FrameError(f"batch: got {max_batch}, wanted at least 1")
        self._pipeline = pipeline
        self._deadline_s = deadline_ms / 1e3
        self._max_batch = max_batch or pipeline.max_batch
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._serve, name="batcher", daemon=True)
        self._thread.start()

    def __call__(self, frame: Image, *, boxes: ArrayLike | None = None) -> Poses:
        """The people in a frame, once its batch has run; see `submit`. Raises what the pipeline raises."""
        return self.submit(frame, boxes=boxes).result()

    def submit(self, frame: Image, *, boxes: ArrayLike | None = None) -> Future[Poses]:
        """Hand in a frame from any thread.

        Args:
            frame, boxes: as the pipeline takes them; not to be changed until the result is there.

        Returns:
            Its poses to come. Cancelling it takes the frame out if its batch has not begun.

        Raises:
            FrameError: the batcher is closed.
        """
        with self._changed:
            if not self._is_open:
                raise FrameError("batcher: it is closed; open a new one")
            waiting = _Waiting(frame, boxes, monotonic() + self._deadline_s)
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Cancel what waits, let the batch under way end; a second time does nothing."""
        with self._changed:
            self._is_open = False
            for waiting in self._waiting:
                waiting.future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while taken := self._next_batch():
            batch = [waiting for waiting in taken if waiting.future.set_running_or_notify_cancel()]
            if batch:
                self._run(batch)

    def _next_batch(self) -> list[_Waiting]:
        """Wait until a batch is full or due; empty once this is closed."""
        with self._changed:
            while self._is_open:
                if len(self._waiting) >= self._max_batch:
                    break
                left_s = self._waiting[0].due_s - monotonic() if self._waiting else None
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]

    def _run(self, batch: list[_Waiting]) -> None:
        try:
            found = self._pipeline([one.frame for one in batch], boxes=_boxes(batch))
        except Exception as error:  # whatever it is, it belongs to the one who waits
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:
                for one in batch:
                    self._run([one])
            return
        for one, poses in zip(batch, found, strict=True):
            one.future.set_result(poses)


def _boxes(batch: list[_Waiting]) -> list[Any] | None:
    boxes = [one.boxes for one in batch]
    return None if all(of_frame is None for of_frame in boxes) else boxes
