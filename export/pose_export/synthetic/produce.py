"""Rendering ahead: scenes go to shards, which training then reads again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import cv2

from pose_export.synthetic.people import SCENES_PER_CAST, Stage, SyntheticPeople
from pose_export.training.shards import write_shard

DATA_VERSION = 1
"""Grows when the renderer changes what it draws, so that shards of different kinds never mix."""


def recipe_of(stage: Stage) -> str:
    """Names what a stage renders: 16 of 0-9 and a-f."""
    text = f"{DATA_VERSION} {stage.backgrounds is None} {stage.seed} {stage.split} {stage.size_wh} {stage.direction}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def produce(stage: Stage, count: int, folder: Path, *, workers: int = 1) -> Iterator[int]:
    """Render scenes 0 to `count` into shards, those that are there already left out.

    Yields:
        How many scenes are there, after each shard.

    Raises:
        ExportError: assets that cannot be used, a folder that cannot be written.
    """
    recipe = recipe_of(stage)
    firsts = range(0, count, SCENES_PER_CAST)
    missing = [first for first in firsts if not (folder / f"{recipe}-{first:09d}.shard").exists()]
    done = sum(min(SCENES_PER_CAST, count - first) for first in firsts if first not in missing)
    yield done
    jobs = [(stage, first, min(first + SCENES_PER_CAST, count), folder) for first in missing]
    if workers == 1:
        for job in jobs:
            done += _produce(*job)
            yield done
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for finished in as_completed([pool.submit(_produce, *job) for job in jobs]):
            done += finished.result()
            yield done


_open: dict[Stage, SyntheticPeople] = {}
"""One renderer per process."""


def _produce(stage: Stage, first: int, last: int, folder: Path) -> int:
    cv2.setNumThreads(1)
    if stage not in _open:
        for people in _open.values():
            people.close()
        _open.clear()
        _open[stage] = SyntheticPeople(stage)
    people = _open[stage]
    write_shard(folder, (people[i] for i in range(first, last)), recipe=recipe_of(stage), first=first)
    return last - first
