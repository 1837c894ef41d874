"""`--data synthetic`: photographs that are rendered when they are first wanted, and kept."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pose_export.download import cache_folder
from pose_export.synthetic.produce import Job, produce
from pose_export.synthetic.stage import read_stage
from pose_export.training.record import Record
from pose_export.training.shards import open_shards
from pose_export.training.source import OnBad, Source
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import Skeleton

ASSETS, BACKGROUNDS = "JETPOSE_ASSETS", "JETPOSE_BACKGROUNDS"
"""Environment variables that name folders; `pose-train` has options that set them."""


@dataclass(frozen=True)
class First:
    """The first `count` records of a source."""

    source: Source
    count: int

    @property
    def skeleton(self) -> Skeleton:
        """Of all its records."""
        return self.source.skeleton

    @property
    def description(self) -> str:
        """What the source says, and how many of it."""
        return f"the first {self.count} of {self.source.description}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        """Record `index` of the source."""
        return self.source[index]


def open_synthetic(rest: str, *, on_bad: OnBad = None) -> Source:
    """`synthetic`, `synthetic:STAGE` or `synthetic:STAGE:COUNT`: a stage, shipped or a file, and how many of it.

    What is missing in the cache is rendered first, by one process per core.

    Raises:
        ExportError: no such stage, a count that is none, assets that cannot be used, no OpenGL.
        SourceError: no pictures in the folder of backgrounds.
    """
    name, _, text = rest.partition(":")
    stage = read_stage(name or "train")
    if text:
        if not text.isdecimal() or not 0 < int(text) <= 10_000_000:
            raise ExportError(f"synthetic: got the count {text!r}, wanted 1 to 10000000")
        stage = msgspec.structs.replace(stage, count=int(text))
    assets, backgrounds = (Path(value) if (value := os.environ.get(key)) else None for key in (ASSETS, BACKGROUNDS))
    recipe = stage.digest(assets, backgrounds)
    job = Job(stage=stage, assets=assets, backgrounds=backgrounds, folder=cache_folder() / "synthetic" / recipe)
    for done in produce(job, workers=os.cpu_count() or 1):
        if done < stage.count:
            print(f"rendering: {done} of {stage.count} pictures in {job.folder}", file=sys.stderr, flush=True)
    shards = open_shards(str(job.folder), on_bad=on_bad)
    return First(shards, min(stage.count, len(shards)))
