"""A source through a pipeline into sinks, one frame after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from time import perf_counter

import numpy as np

from pose_runtime.pipeline import BasePipeline
from pose_runtime.poses import Poses
from pose_runtime.sinks import Sink
from pose_runtime.sources import Item, Source

_RATE_HZ = 25.0


@dataclass(slots=True)
class Summary:
    """What a run did: how many frames and people, images that could not be read, and seconds in all and per stage."""

    frames: int = 0
    people: int = 0
    skipped: int = 0
    wall_s: float = 0.0
    read_s: float = 0.0
    pre_s: float = 0.0
    network_s: float = 0.0
    decode_s: float = 0.0
    write_s: float = 0.0

    @property
    def fps(self) -> float:
        """Frames per second of the whole run."""
        return self.frames / self.wall_s if self.wall_s else 0.0

    def since(self, before: Summary) -> Summary:
        """What came after an earlier state of the same run."""
        return Summary(*(getattr(self, f.name) - getattr(before, f.name) for f in fields(self)))


def run(
    pipeline: BasePipeline,
    source: Source,
    sinks: Sequence[Sink],
    *,
    min_score: float = 0.0,
    follow: Callable[[Poses, float], Poses] = lambda poses, _: poses,
    on_frame: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Every frame of the source, until it ends or a sink has had enough.

    Args:
        min_score: people below it are left out; what a score means is the decoder's.
        follow: gives people ids or calms them; called with those of each frame and its time in seconds.
        on_frame: called after each frame with the summary so far.

    Raises:
        PoseError: whatever the source, the pipeline or a sink raises; the caller closes all three.
    """
    summary, start = Summary(), perf_counter()
    items = iter(source)
    while not any(sink.finished for sink in sinks):
        before = perf_counter()
        item = next(items, None)
        if item is None:
            break
        summary.read_s += perf_counter() - before
        pipeline.submit_all([item.frame], [stream(item, 0)])
        poses = follow(at_least(pipeline.result_all()[0], min_score), time_s(item, source.rate_hz))
        summary.pre_s += pipeline.timings.pre_s
        summary.network_s += pipeline.timings.network_s
        summary.decode_s += pipeline.timings.decode_s
        before = perf_counter()
        for sink in sinks:
            sink.write(item, poses)
        summary.write_s += perf_counter() - before
        summary.frames += 1
        summary.people += len(poses)
        summary.wall_s = perf_counter() - start
        on_frame(summary)
    summary.skipped = source.skipped
    return summary


def stream(item: Item, source: int) -> int | None:
    """Which stream a source's frame is the next of; None for a picture, which follows no other."""
    return None if item.time_s is None else source


def time_s(item: Item, rate_hz: float | None) -> float:
    """When a frame was shown, in seconds; by its number where nothing tells."""
    return item.index / (rate_hz or _RATE_HZ) if item.time_s is None else item.time_s


def at_least(poses: Poses, min_score: float) -> Poses:
    """The people whose score is not below `min_score`."""
    keep = poses.scores >= min_score
    if np.all(keep):
        return poses
    ids = None if poses.ids is None else poses.ids[keep]
    return Poses(poses.keypoints[keep], poses.scores[keep], poses.skeleton, ids)
