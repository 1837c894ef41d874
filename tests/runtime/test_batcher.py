"""Frames of several threads become batches: full ones, due ones, and everybody gets their own poses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

import tiny
from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.errors import EngineError, FrameError
from pose_runtime.gpu.batcher import Batcher
from pose_runtime.pipeline import Pipeline
from pose_runtime.poses import Poses


class Counting(BasePipeline):
    """A pipeline whose poses say which frame they are of: x is the first byte of it.

    batches: the first bytes of each call. before: called ahead of each.
    """

    def __init__(self, before: Callable[[], None] = lambda: None, max_batch: int = 4) -> None:
        super().__init__(tiny.make_manifest(), None, max_batch)
        self.batches: list[list[int]] = []
        self.boxes: list[Any] = []
        self._before = before

    def close(self) -> None: ...

    def _all(self, frames: Sequence[Any], boxes: Sequence[Any]) -> list[Poses]:
        self._before()
        numbers = [int(frame.flat[0]) for frame in frames]
        self.batches.append(numbers)
        self.boxes.append(list(boxes))
        if 255 in numbers:
            raise EngineError("frame 255 is broken")
        keypoints = [np.full((1, 3, 3), number, np.float32) for number in numbers]
        return [Poses(each, np.ones(1, np.float32), tiny.SKELETON) for each in keypoints]


def frame(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


def number_of(poses: Poses) -> int:
    return int(poses.keypoints[0, 0, 0])


def test_a_full_batch_runs_at_once_and_in_order() -> None:
    pipeline = Counting()
    with Batcher(pipeline, deadline_ms=10_000) as batcher:
        futures = [batcher.submit(frame(i)) for i in range(8)]
        assert [number_of(each.result(timeout=5)) for each in futures] == list(range(8))
    assert pipeline.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_deadline_of_the_oldest_runs_a_part_of_a_batch() -> None:
    pipeline = Counting()
    with Batcher(pipeline, deadline_ms=60) as batcher:
        start = time.monotonic()
        first = batcher.submit(frame(1))
        time.sleep(0.02)
        second = batcher.submit(frame(2))
        assert [number_of(first.result(timeout=5)), number_of(second.result(timeout=5))] == [1, 2]
        assert time.monotonic() - start >= 0.06
    assert pipeline.batches == [[1, 2]]


def test_no_deadline_takes_what_came_during_the_last_batch() -> None:
    in_batch, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        in_batch.set()
        assert go_on.wait(5)

    pipeline = Counting(hold)
    with Batcher(pipeline, deadline_ms=0) as batcher:
        first = batcher.submit(frame(1))
        assert in_batch.wait(5)
        others = [batcher.submit(frame(i)) for i in (2, 3, 4)]
        go_on.set()
        assert [number_of(each.result(timeout=5)) for each in (first, *others)] == [1, 2, 3, 4]
    assert pipeline.batches == [[1], [2, 3, 4]]


def test_many_cameras_each_get_their_own() -> None:
    pipeline, wrong = Counting(), []

    def camera(number: int) -> None:
        for i in range(20):
            got = number_of(batcher(frame(number * 20 + i)))
            if got != number * 20 + i:
                wrong.append((number, i, got))

    with Batcher(pipeline, deadline_ms=5) as batcher:
        threads = [threading.Thread(target=camera, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert sum(map(len, pipeline.batches)) == 120
    assert max(map(len, pipeline.batches)) == 4


def test_a_broken_frame_fails_alone() -> None:
    pipeline = Counting()
    with Batcher(pipeline, deadline_ms=10_000) as batcher:
        futures = [batcher.submit(frame(i)) for i in (1, 255, 2, 3)]
        with pytest.raises(EngineError, match="255"):
            futures[1].result(timeout=5)
        assert [number_of(futures[i].result(timeout=5)) for i in (0, 2, 3)] == [1, 2, 3]


def test_boxes_go_with_their_frame() -> None:
    pipeline = Counting()
    with Batcher(pipeline, deadline_ms=10_000, max_batch=2) as batcher:
        futures = [batcher.submit(frame(1)), batcher.submit(frame(2), boxes=[(0, 0, 2, 2)])]
        assert [number_of(each.result(timeout=5)) for each in futures] == [1, 2]
    assert pipeline.boxes == [[None, [(0, 0, 2, 2)]]]


def test_closing_cancels_what_waits() -> None:
    batcher = Batcher(Counting(), deadline_ms=10_000)
    waiting = batcher.submit(frame(1))
    batcher.close()
    batcher.close()
    with pytest.raises(CancelledError):
        waiting.result(timeout=5)
    with pytest.raises(FrameError, match="closed"):
        batcher.submit(frame(2))


def test_a_cancelled_frame_is_not_run() -> None:
    pipeline = Counting()
    with Batcher(pipeline, deadline_ms=50) as batcher:
        first, second = batcher.submit(frame(1)), batcher.submit(frame(2))
        assert first.cancel()
        assert number_of(second.result(timeout=5)) == 2
        only = batcher.submit(frame(3))
        assert only.cancel()
        assert number_of(batcher(frame(4))) == 4
    assert pipeline.batches == [[2], [4]]


@pytest.mark.parametrize("options", [{"deadline_ms": -1}, {"deadline_ms": 1e9}, {"deadline_ms": 1, "max_batch": 0}])
def test_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        Batcher(Counting(), **options)


def test_over_a_real_pipeline() -> None:
    of = tiny.make_manifest(batch=0)
    engine = tiny.fake_engine(of, lambda inputs: {"maps": inputs["image"][:, :, ::4, ::4]})
    with Pipeline(of, engine) as pipeline, Batcher(pipeline, deadline_ms=20) as batcher:
        frames = [tiny.frame((20 + 8 * i, 30), None, None) for i in range(5)]
        together = [each.result(timeout=5) for each in [batcher.submit(f) for f in frames]]
        alone = pipeline(frames)
        for got, wanted in zip(together, alone, strict=True):
            np.testing.assert_array_equal(got.keypoints, wanted.keypoints)
