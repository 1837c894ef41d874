"""Networks by name. Importing this loads no torch: only `build` does.

Names are `architecture.tag`; the architecture alone means its first published weights.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS

if TYPE_CHECKING:
    from torch import nn


class Source(Struct, frozen=True, kw_only=True):
    """Where a published checkpoint lies.

    Attributes:
        url: of the file; `package:NAME` is a file that comes with this package; where else `algorithm` is None, a page
            for people (Google Drive) that no program should fetch.
        licence: that the publisher states (SPDX).
        algorithm, digest: the file's hash begins with the hex digits `digest`.
        file: the name that the publisher gives the file.
    """

    url: str
    licence: str
    file: str
    algorithm: Literal["sha256", "sha384"] | None = None
    digest: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """A published measurement: what (metric and data), the value as the source has it, and the source."""

    metric: str
    value: float
    source: str


class Names(Struct, frozen=True, kw_only=True):
    """How checkpoints call their tensors, beyond the usual prefixes.

    Attributes:
        ignored: regular expressions of whole names, as the checkpoint has them, of tensors that nothing needs.
        renamed: (regular expression, replacement) pairs, applied in order to the checkpoint's names by `re.sub`.
    """

    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


class Entry(Struct, frozen=True, kw_only=True):
    """One network with the weights published for it.

    Attributes:
        name: `architecture.tag`.
        method: what people call it.
        paper: authors, title, where.
        year: of the paper.
        builder: `module:class` below `pose_export.networks`.
        arguments: that the builder is called with.
        skeleton: name of the keypoint set, as in `pose_runtime.skeletons.SKELETONS`.
        preset: name of the preset: pre-processing, outputs' roles, decoder.
        size_wh: input width and height that the weights were trained for.
        sizes_wh: all sizes published for this architecture and data set; others run where they are multiples of `step`.
        step: input width and height must be multiples of this.
        outputs: names of the output tensors, in the order that the module returns them; None drops one, with the
            layers that only it needs (heads that serve training).
        parameters: trainable parameters.
        macs: multiply-accumulates of convolutions and matrix products, for one input of `size_wh`.
        note: why parameters or multiply-accumulates differ from what was published; empty where they do not.
        accuracy: as published for these weights.
        names: of the tensors in published checkpoints.
        sources: of the weights, the preferred one first.
    """

    name: str
    method: str
    paper: str
    year: int
    builder: str
    arguments: Mapping[str, Any]
    skeleton: str
    preset: str
    size_wh: tuple[int, int]
    sizes_wh: tuple[tuple[int, int], ...]
    step: int
    outputs: tuple[str | None, ...]
    parameters: int
    macs: int
    note: str = ""
    accuracy: tuple[Published, ...] = ()
    names: Names = Names()
    sources: tuple[Source, ...]

    @property
    def keypoints(self) -> int:
        """Of the skeleton."""
        return len(SKELETONS[self.skeleton].names)


_ENTRIES: dict[str, Entry] = {}
_ALIASES: dict[str, str] = {}


def register(entry: Entry, *aliases: str) -> None:
    """Make a network known under its name and under shorter ones."""
    for name in (entry.name, *aliases):
        if name in _ENTRIES or name in _ALIASES:
            raise ValueError(f"two networks are called {name}")
    _ENTRIES[entry.name] = entry
    _ALIASES.update(dict.fromkeys(aliases, entry.name))


def names() -> list[str]:
    """All names that `find` takes: short ones, then those with a tag."""
    return [*sorted(_ALIASES), *sorted(_ENTRIES)]


def entries() -> list[Entry]:
    """All networks, by name."""
    return [_ENTRIES[name] for name in sorted(_ENTRIES)]


def find(name: str) -> Entry:
    """The network called `name`; ExportError says which names are valid, close ones first."""
    wanted = name.strip().lower().replace("-", "_")
    entry = _ENTRIES.get(_ALIASES.get(wanted, wanted))
    if entry is None:
        close = difflib.get_close_matches(wanted, names(), n=3, cutoff=0.5)
        ordered = [*close, *(other for other in names() if other not in close)]
        raise ExportError(f"no network is called {name[:80]!r}; valid are {', '.join(ordered)}")
    return entry


def build(entry: Entry) -> nn.Module:
    """The network in evaluation mode, with random weights (load a checkpoint next)."""
    module, _, name = entry.builder.partition(":")
    factory = getattr(importlib.import_module(f"pose_export.networks.{module}"), name)
    network: nn.Module = factory(**entry.arguments)
    return network.eval()
