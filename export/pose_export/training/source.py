"""Where records come from: the interface of every source, and sources by name."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pose_export.training.record import Record
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import Skeleton


class RecordError(ExportError):
    """One record that cannot be read, though others of its source can."""


OnBad = Callable[[RecordError], None] | None
"""Told of each thing that is left out because it is damaged; None refuses it instead."""


class Source(Protocol):
    """Records by number. Sources travel to worker processes, so they can be pickled and keep no open files.

    Attributes:
        skeleton: of all its records.
        description: one line on what was found and where.
    """

    @property
    def skeleton(self) -> Skeleton:
        """Of all its records."""

    @property
    def description(self) -> str:
        """One line on what was found and where."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """The same record for the same index, always; raises RecordError where it cannot be read."""


SOURCES = {
    "coco": "pose_export.training.coco:open_coco",
    "synthetic": "pose_export.synthetic.source:open_synthetic",
    "shards": "pose_export.training.shards:open_shards",
}
"""Kind -> `module:function`, called with what follows the colon and with on_bad."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A source and its part of the samples; parts are relative to each other."""

    source: Source
    weight: float


def open_data(spec: str, *, on_bad: OnBad = None) -> Source:
    """The source that a text names.

    Args:
        spec: `coco:DIR`, `coco:DIR:SPLIT`, `coco:FILE.json`, `shards:DIR`, ...: a kind of `SOURCES`, and what it
            reads.
        on_bad: told of annotations and files that are left out; None refuses the source where one is damaged.

    Raises:
        ExportError: an unknown kind, nothing there, or no data of that kind.
    """
    kind, _, rest = spec.partition(":")
    if kind not in SOURCES:
        raise ExportError(f"data: got {spec!r}, wanted one of {', '.join(name + ':...' for name in SOURCES)}")
    module, _, function = SOURCES[kind].partition(":")
    try:
        opener = getattr(importlib.import_module(module), function)
    except ImportError as error:
        hint = "pip install 'jetpose[export]'"
        raise ExportError(f"data {kind}: cannot import {error.name or module} ({error}); {hint}") from error
    source: Source = opener(rest, on_bad=on_bad)
    return source


def open_mix(specs: Sequence[str], *, on_bad: OnBad = None) -> tuple[Share, ...]:
    """Several sources with their shares: `shards:DIR@0.8`, `coco:DIR@0.2`; without `@`, 1.

    Raises:
        ExportError: as `open_data`; a share that is not positive; sources of different skeletons.
    """
    shares = []
    for spec in specs:
        name, weight = _weight(spec)
        shares.append(Share(source=open_data(name, on_bad=on_bad), weight=weight))
    one_skeleton(share.source for share in shares)
    return tuple(shares)


def one_skeleton(sources: Iterable[Source]) -> Skeleton:
    """The skeleton that all sources have; ExportError where they differ or where there is none."""
    skeletons = [source.skeleton for source in sources]
    if not skeletons:
        raise ExportError("data: got none, wanted one source at least")
    for other in skeletons[1:]:
        if other.names != skeletons[0].names:
            raise ExportError(f"data: got skeletons {skeletons[0].name} and {other.name}, wanted one for all sources")
    return skeletons[0]


def _weight(spec: str) -> tuple[str, float]:
    name, at, text = spec.rpartition("@")
    if not at:
        return spec, 1.0
    try:
        weight = float(text)
    except ValueError:
        return spec, 1.0  # an @ of the path
    if not (math.isfinite(weight) and weight > 0):
        raise ExportError(f"data {name}: got the share {text}, wanted a positive number")
    return name, weight
