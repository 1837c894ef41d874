"""Rendering ahead: scenes go to shards, which training then reads again and again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2

from pose_export.synthetic.people import SCENES_PER_CAST, SyntheticPeople
from pose_export.synthetic.stage import Stage
from pose_export.training.shards import write_shard


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to render, and where to.

    Attributes:
        stage: which photographs.
        assets, backgrounds: as `SyntheticPeople` takes them.
        folder: for the shards.
    """

    stage: Stage
    folder: Path
    assets: Path | None = None
    backgrounds: Path | None = None

    @property
    def recipe(self) -> str:
        """Names the shards."""
        return self.stage.digest(self.assets, self.backgrounds)


def produce(job: Job, *, workers: int = 1) -> Iterator[int]:
    """Render all photographs of a stage into shards, leaving out those that are there.

    Yields:
        How many photographs are there, at the start and after each shard.

    Raises:
        ExportError: assets that cannot be used, no OpenGL, a folder that cannot be written.
    """
    firsts = range(0, job.stage.count, SCENES_PER_CAST)
    missing = [first for first in firsts if not (job.folder / f"{job.recipe}-{first:09d}.shard").exists()]
    done = job.stage.count - sum(_length(job, first) for first in missing)
    yield done
    if workers == 1:
        for first in missing:
            done += _render(job, first)
            yield done
    elif missing:
        with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
            for finished in as_completed([pool.submit(_render, job, first) for first in missing]):
                done += finished.result()
                yield done


def _length(job: Job, first: int) -> int:
    return min(SCENES_PER_CAST, job.stage.count - first)


_open: dict[str, SyntheticPeople] = {}
"""One renderer per process."""


def _render(job: Job, first: int) -> int:
    cv2.setNumThreads(1)  # the processes share the cores already
    if job.recipe not in _open:
        for people in _open.values():
            people.close()
        _open.clear()
        _open[job.recipe] = SyntheticPeople(job.stage, job.assets, job.backgrounds)
    people = _open[job.recipe]
    length = _length(job, first)
    write_shard(job.folder, (people[i] for i in range(first, first + length)), recipe=job.recipe, first=first)
    return length
