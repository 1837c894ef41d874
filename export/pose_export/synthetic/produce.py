"""Rendering ahead: scenes go to shards, which training then reads again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import cv2

from pose_export.synthetic.people import SCENES_PER_CAST, SyntheticPeople
from pose_export.synthetic.stage import Stage
from pose_export.training.shards import shard_length, shard_path, write_shard
from pose_runtime.errors import ExportError


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to render, and where to.

    Attributes:
        stage: which photographs.
        assets, backgrounds: as `SyntheticPeople` takes them.
        folder: for the shards.
        shard: photographs in each; the same for all that render into one folder.
    """

    stage: Stage
    folder: Path
    assets: Path | None = None
    backgrounds: Path | None = None
    shard: int = SCENES_PER_CAST

    @cached_property
    def recipe(self) -> str:
        """Names the shards."""
        return self.stage.digest(self.assets, self.backgrounds)

    def path(self, first: int) -> Path:
        """The shard that begins with photograph `first`."""
        return shard_path(self.folder, self.recipe, first)

    def length(self, first: int) -> int:
        """How many photographs belong into it."""
        return min(self.shard, self.stage.count - first)


def produce(job: Job, *, workers: int = 1) -> Iterator[int]:
    """Render all photographs of a stage into shards, leaving out those that are there.

    Yields:
        How many photographs are there, at the start and after each shard.

    Raises:
        ExportError: assets that cannot be used, no OpenGL, a folder that cannot be written, a process that died.
    """
    firsts = range(0, job.stage.count, job.shard)
    # the last shard of a smaller count is too short for a larger one
    missing = [first for first in firsts if shard_length(job.path(first)) < job.length(first)]
    done = job.stage.count - sum(map(job.length, missing))
    yield done
    for length in _render_here(job, missing) if workers == 1 else _render_there(job, missing, workers):
        done += length
        yield done


def _render_here(job: Job, missing: list[int]) -> Iterator[int]:
    try:
        for first in missing:
            yield _render(job, first)
    finally:
        _close()


def _render_there(job: Job, missing: list[int], workers: int) -> Iterator[int]:
    if not missing:
        return
    pool = ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn"))
    try:
        for finished in as_completed([pool.submit(_work, job, first) for first in missing]):
            yield finished.result()
    except BrokenProcessPool as error:
        wanted = "what is finished is kept: try again, with fewer workers if memory was short"
        raise ExportError(f"a process that renders ended early; {wanted}") from error
    finally:
        pool.shutdown(cancel_futures=True)


_open: dict[str, SyntheticPeople] = {}
"""One renderer per process."""


def _work(job: Job, first: int) -> int:
    """`_render` in a process of the pool."""
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        return _render(job, first)
    except KeyboardInterrupt:
        os._exit(130)  # the pool would hand it the next shard


def _render(job: Job, first: int) -> int:
    if job.recipe not in _open:
        _close()
        _open[job.recipe] = SyntheticPeople(job.stage, job.assets, job.backgrounds)
    people = _open[job.recipe]
    length = job.length(first)
    write_shard(job.folder, (people[i] for i in range(first, first + length)), recipe=job.recipe, first=first)
    return length


def _close() -> None:
    while _open:
        _open.popitem()[1].close()
