"""The thread of the network: age of frames, turns of sources, going over to another pipeline."""

from __future__ import annotations

import threading
from random import Random

import pytest

from live import Clock, SlowPipeline, item
from pose_runtime.errors import EngineError, FrameError, PoseError
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.live.pulse import Pulse
from pose_runtime.live.stats import Stats
from pose_runtime.live.trial import ENOUGH, Trial
from pose_runtime.live.worker import Worker
from pose_runtime.poses import Poses
from pose_runtime.sources import Item


class Bench:
    """A worker over simulated time, led step by step; it keeps what was delivered."""

    def __init__(self, pipeline: SlowPipeline, sources: int = 1, *, drops: bool = True, clock: Clock | None = None):
        changed = threading.Condition()
        self.clock = clock or Clock()
        self.boxes: list[Mailbox[Item]] = [Mailbox(1, drops=drops, changed=changed) for _ in range(sources)]
        self.stats = Stats(sources, self.clock)
        self.delivered: list[tuple[int, Item, float]] = []
        self.pulse = Pulse("network", 1.0, self.clock)
        self.worker = Worker(pipeline, self.boxes, self.deliver, stats=self.stats, pulse=self.pulse, clock=self.clock)

    def deliver(self, source: int, item: Item, poses: Poses) -> None:
        self.delivered.append((source, item, self.clock()))

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.worker.step()


def test_an_hour_at_a_third_of_the_cameras_rate() -> None:
    """30 frames/s into a network of 10: no frame waits for another's turn, for an hour."""
    takes_s = 0.1
    clock, random = Clock(), Random(1)
    bench = Bench(SlowPipeline(clock, takes_s), clock=clock)
    clock.camera(bench.boxes[0], 30.0, jitter=lambda: random.uniform(0, 0.01))
    clock.advance(0.0)
    while clock() < 3600:
        bench.worker.step()
    ages_s = [done_s - item.frame.time_s for _, item, done_s in bench.delivered if item.frame.time_s is not None]
    assert len(ages_s) == pytest.approx(36_000, rel=0.01)
    assert max(ages_s) < 1.5 * takes_s
    assert bench.boxes[0].dropped == pytest.approx(72_000, rel=0.01)
    assert bench.stats.fps == pytest.approx(10, rel=0.02)
    spread = bench.stats.latency_ms
    assert spread is not None
    assert spread.p50 == pytest.approx(100, rel=0.01)


def test_every_source_has_its_turn() -> None:
    clock = Clock()
    bench = Bench(SlowPipeline(clock, 0.1), sources=3, clock=clock)
    for i, box in enumerate(bench.boxes):
        clock.camera(box, 30.0 if i else 200.0, f"camera{i}")
    clock.advance(0.0)
    bench.steps(300)
    for i in range(3):
        assert sum(source == i for source, _, _ in bench.delivered) == 100


def test_frames_that_are_there_share_a_batch_on_a_gpu() -> None:
    pipeline = SlowPipeline(depth=2, max_batch=2)
    bench = Bench(pipeline, sources=3)
    for i, box in enumerate(bench.boxes):
        box.put(item(i))
    bench.steps(3)
    assert pipeline.calls == [2, 1]
    assert [source for source, _, _ in bench.delivered] == [0, 1, 2]


def test_files_lose_no_frame_and_end_the_run() -> None:
    bench = Bench(SlowPipeline(), drops=False)

    def read() -> None:
        for index in range(50):
            bench.boxes[0].put(item(index))
        bench.boxes[0].close()

    reader = threading.Thread(target=read)
    reader.start()
    bench.worker.run()
    reader.join(5)
    assert [item.index for _, item, _ in bench.delivered] == list(range(50))


class Picky(SlowPipeline):
    """Refuses frames of odd number."""

    def submit_all(self, frames: object, streams: object = None) -> None:
        assert isinstance(frames, list)
        if any(frame.time_s for frame in frames):
            raise FrameError("not this one")
        super().submit_all(frames, streams)


def test_a_frame_that_is_refused_is_its_sources_fault(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Picky(depth=2, max_batch=4), sources=3)
    for i, box in enumerate(bench.boxes):
        box.put(item(i, 1.0 if i == 1 else 0.0))
    bench.steps(2)
    assert [source for source, _, _ in bench.delivered] == [0, 2]
    assert bench.stats.refused == 1
    assert "camera: frame refused (1 so far): not this one" in caplog.text


def test_a_failure_ends_the_run() -> None:
    pipeline = SlowPipeline()
    bench = Bench(pipeline)
    bench.boxes[0].put(item())
    pipeline.fault = EngineError("gone")
    with pytest.raises(EngineError, match="gone"):
        bench.worker.step()
    assert bench.pulse.alive


def test_a_pipeline_that_hangs_is_not_alive() -> None:
    clock = Clock()
    pipeline = SlowPipeline(clock, 1.5)
    bench = Bench(pipeline, clock=clock)
    seen: list[bool] = []
    for time_s in (0.5, 1.4):
        clock.at(time_s, lambda: seen.append(bench.pulse.alive))
    bench.boxes[0].put(item())
    bench.worker.step()
    assert seen == [True, False]


# ---- going over to another pipeline ------------------------------------------------------------------------------


def trial_of(bench: Bench, pipeline: SlowPipeline) -> list[PoseError | None]:
    verdicts: list[PoseError | None] = []
    bench.worker.try_out(Trial(pipeline, 5.0, verdicts.append))
    return verdicts


def test_a_new_pipeline_stays_once_it_gave_results() -> None:
    old, new = SlowPipeline(), SlowPipeline()
    bench = Bench(old)
    verdicts = trial_of(bench, new)
    for _ in range(ENOUGH - 1):  # the black frame was the first
        assert verdicts == []
        assert not old.is_closed
        bench.boxes[0].put(item())
        bench.worker.step()
    assert verdicts == [None]
    assert old.is_closed
    assert bench.worker.pipeline is new
    assert len(bench.delivered) == ENOUGH - 1


def test_without_a_camera_the_black_frame_tells() -> None:
    clock = Clock()
    old, new = SlowPipeline(), SlowPipeline()
    bench = Bench(old, clock=clock)
    verdicts = trial_of(bench, new)
    bench.worker.step()
    assert verdicts == []
    clock.advance(5.0)
    bench.worker.step()
    assert verdicts == [None]
    assert bench.worker.pipeline is new


@pytest.mark.parametrize("good", [0, 3])
def test_a_pipeline_that_fails_its_trial_makes_way(good: int) -> None:
    old, new = SlowPipeline(), SlowPipeline()
    bench = Bench(old)
    fault = EngineError("NaN")
    if not good:
        new.fault = fault  # for the black frame already
    verdicts = trial_of(bench, new)
    for _ in range(good):
        bench.boxes[0].put(item())
        bench.worker.step()
    new.fault = fault
    for _ in range(2):
        bench.boxes[0].put(item())
        bench.worker.step()
    assert verdicts == [fault]
    assert new.is_closed
    assert bench.worker.pipeline is old
    assert old.calls
    assert len(bench.delivered) == good + (1 if good else 2)  # the frame that failed is lost


def test_a_pipeline_without_results_makes_way() -> None:
    clock = Clock()
    old, new = SlowPipeline(), SlowPipeline()
    new.fault = FrameError("of another size")
    bench = Bench(old, clock=clock)
    verdicts = trial_of(bench, new)
    bench.worker.step()
    clock.advance(5.0)
    bench.worker.step()
    assert [str(verdict) for verdict in verdicts] == ["no result within 5 s"]
    assert bench.worker.pipeline is old


def test_one_trial_at_a_time() -> None:
    bench = Bench(SlowPipeline())
    trial_of(bench, SlowPipeline())
    with pytest.raises(PoseError, match="on trial already"):
        trial_of(bench, SlowPipeline())
