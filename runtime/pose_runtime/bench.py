"""How long each stage of a pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec

from pose_runtime.arrays import ByteArray
from pose_runtime.bundle import Bundle
from pose_runtime.errors import SourceError
from pose_runtime.frame import Frame
from pose_runtime.pipeline import BasePipeline, Timings
from pose_runtime.sources import open_source

MAX_FRAMES = 16
"""Of a source that are held in memory and used in turn."""

_WARM_UP = 3


class Medians(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per frame, each stage by itself."""

    pre_ms: float
    network_ms: float
    decode_ms: float
    total_ms: float


def frames_of(bundle: Bundle, source: str | Path | None) -> list[Frame | ByteArray]:
    """The first frames of a source, or where there is none, those of the bundle's check."""
    if source is None:
        from pose_runtime.check import read_frame

        return [read_frame(bundle, frame.file) for frame in bundle.manifest.check.frames[:MAX_FRAMES]]
    with open_source(source) as opened:
        frames: list[Frame | ByteArray] = [item.frame for item in islice(opened, MAX_FRAMES)]
    if not frames:
        raise SourceError(f"{source}: no frames")
    return frames


def measure(pipelines: Sequence[BasePipeline], frames: Sequence[Frame | ByteArray], runs: int) -> list[Medians]:
    """Run the frames in turn, one at a time, after a warm-up: each through all pipelines before the next.

    So whatever else slows the machine down hits all pipelines alike, and their ratios hold.
    """
    timings: list[list[Timings]] = [[] for _ in pipelines]
    for run in range(-_WARM_UP, runs):
        for pipeline, of_pipeline in zip(pipelines, timings, strict=True):
            pipeline(frames[run % len(frames)])
            if run >= 0:
                of_pipeline.append(pipeline.timings)
    return [_medians(of_pipeline) for of_pipeline in timings]


def _medians(timings: Sequence[Timings]) -> Medians:
    return Medians(
        pre_ms=1e3 * median(t.pre_s for t in timings),
        network_ms=1e3 * median(t.network_s for t in timings),
        decode_ms=1e3 * median(t.decode_s for t in timings),
        total_ms=1e3 * median(t.total_s for t in timings),
    )
