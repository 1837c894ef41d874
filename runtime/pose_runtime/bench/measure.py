"""Stages, the bare network, batches and people: each target in turn with the others, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from pose_runtime.bench.crowd import crowd_boxes, crowd_outputs
from pose_runtime.bench.result import Bare, Batch, Crowd, GraphTimes, Stage
from pose_runtime.bench.target import Target, size_wh
from pose_runtime.bundle import Bundle
from pose_runtime.errors import SourceError
from pose_runtime.geometry import Crop
from pose_runtime.pipeline import Image, Timings
from pose_runtime.sources import open_source

MAX_FRAMES = 16
"""Of a source that are held in memory and used in turn."""

BATCHES = (1, 4, 8)
PEOPLE = (1, 5, 30)

_WARM_UP = 3  # a GPU's first run is on the stream, then each of its two slots is captured
_STAGES = ("pre", "network", "decode")


@dataclass
class Runs:
    """What was timed of one target, one entry per run: seconds of the call, of the bare network, and the stages."""

    frame_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    timings: list[Timings] = field(default_factory=list)


def frames_of(bundle: Bundle, source: str | Path | None) -> list[Image]:
    """The first frames of a source, or where there is none, those of the bundle's check."""
    if source is None:
        from pose_runtime.check import read_frame

        return [read_frame(bundle, frame.file) for frame in bundle.manifest.check.frames[:MAX_FRAMES]]
    with open_source(source) as opened:
        frames: list[Image] = [item.frame for item in islice(opened, MAX_FRAMES)]
    if not frames:
        raise SourceError(f"{source}: no frames")
    return frames


def measure(
    targets: Sequence[Target], frames: Sequence[Image], runs: int, between: Callable[[], None] = lambda: None
) -> list[Runs]:
    """Run the frames in turn, one at a time, after a warm-up: each through all targets before the next.

    So whatever else slows the machine down hits all targets alike, and their ratios hold. The order of the targets
    turns round with every frame, so that none is always the one that finds the caches cold. Right after a frame its
    input goes through the bare network once more.

    Args:
        between: called after each frame, outside of what is timed.
    """
    measured = [Runs() for _ in targets]
    pairs = list(zip(targets, measured, strict=True))
    for run in range(-_WARM_UP, runs):
        for target, of_target in pairs if run % 2 == 0 else reversed(pairs):
            start = perf_counter()
            target(frames[run % len(frames)])
            frame_s = perf_counter() - start
            bare_s = target.bare()
            if run >= 0:
                of_target.frame_s.append(frame_s)
                of_target.bare_s.append(bare_s)
                of_target.timings.append(target.timings)
        between()
    return measured


def measure_batches(target: Target, frame: Image, runs: int, sizes: Sequence[int] = BATCHES) -> tuple[Batch, ...]:
    """Calls with several frames: of the sizes that the network takes in one run, so only 1 or its own fixed one."""
    fixed = target.manifest.input.batch
    results = []
    for size in sizes if fixed == 0 else sorted({1, fixed}):
        target.restart()
        call_s = _median_s(lambda size=size: target([frame] * size), runs)  # type: ignore[misc]
        results.append(Batch(size=size, call_ms=1e3 * call_s, frames_per_s=size / call_s))
    return tuple(results)


def measure_crowds(target: Target, frame: Image, runs: int, counts: Sequence[int] = PEOPLE) -> tuple[Crowd, ...]:
    """A frame with few and many people in it.

    A network of one person per crop gets so many boxes. Any other runs as always, but what is decoded are synthetic
    outputs in which so many people stand (see `crowd_outputs`); nothing where it finds one person per frame.
    """
    if isinstance(target.manifest.input.resize, Crop):
        return tuple(_boxes(target, frame, runs, people, max(counts)) for people in counts)
    target(frame)
    shapes = {name: array.shape for name, array in target.outputs_now().items()}
    results = []
    for people in counts:
        outputs = crowd_outputs(target.manifest, shapes, people, max(counts))
        if outputs is None:
            return ()
        dtypes = {name: array.dtype for name, array in target.outputs_now().items()}
        target.replace_outputs({name: array.astype(dtypes[name]) for name, array in outputs.items()})
        try:
            results.append(_crowd(target, people, lambda: target(frame), runs))
        finally:
            target.replace_outputs(None)
    return tuple(results)


def _boxes(target: Target, frame: Image, runs: int, people: int, most: int) -> Crowd:
    boxes = crowd_boxes(size_wh(frame), people, most)
    return _crowd(target, people, lambda: target(frame, boxes=boxes), runs)


def _crowd(target: Target, people: int, call: Callable[[], object], runs: int) -> Crowd:
    found, decode_s, frame_s = 0, [], []
    target.restart()
    for run in range(-_WARM_UP, runs):
        start = perf_counter()
        poses = call()
        if run >= 0:
            frame_s.append(perf_counter() - start)
            decode_s.append(target.timings.decode_s)
        found = len(poses)  # type: ignore[arg-type]
    return Crowd(people=people, found=found, decode_ms=1e3 * median(decode_s), frame_ms=1e3 * median(frame_s))


def _median_s(call: Callable[[], object], runs: int) -> float:
    times = []
    for run in range(-_WARM_UP, runs):
        start = perf_counter()
        call()
        if run >= 0:
            times.append(perf_counter() - start)
    return median(times)


def graph_times(
    target: Target, runs: Runs, batches: tuple[Batch, ...] = (), crowds: tuple[Crowd, ...] = ()
) -> GraphTimes:
    """All of one target as `pose-bench` gives it out."""
    stages = {name: stage([getattr(t, f"{name}_s") for t in runs.timings]) for name in _STAGES}
    frame, bare = np.array(runs.frame_s), np.array(runs.bare_s)
    return GraphTimes(
        device=target.device,
        engine=target.engine,
        pre_ms=stages["pre"].p50_ms,
        network_ms=stages["network"].p50_ms,
        decode_ms=stages["decode"].p50_ms,
        total_ms=1e3 * median(t.total_s for t in runs.timings),
        frame=stage(runs.frame_s),
        stages=stages,
        bare=Bare(
            network=stage(runs.bare_s),
            added_ms=1e3 * float(np.median(frame - bare)),
            ratio=float(np.median(frame / bare)),
        ),
        batches=batches,
        crowds=crowds,
        settings=dict(target.settings),
        device_memory_bytes=target.device_memory_bytes,
    )


def stage(seconds: Sequence[float]) -> Stage:
    """Percentiles in milliseconds, between neighbours linearly; of few runs the 99th is nearly the slowest."""
    p50, p95, p99 = (1e3 * float(value) for value in np.percentile(seconds, (50, 95, 99)))
    return Stage(p50_ms=p50, p95_ms=p95, p99_ms=p99)
