"""Networks by name. Importing this loads no torch: only `build` does.

Names are `architecture.tag`; the architecture alone means its first published weights.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from pose_runtime.errors import ExportError

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


class Entry(Struct, frozen=True, kw_only=True):
    """One network with the weights published for it.

    Attributes:
        name: `architecture.tag`.
        builder: `module:class` below `pose_export.networks`, called with width and joints.
        width: channels of the finest branch.
        joints: heat-maps.
        skeleton: name of the keypoint set, as in `pose_runtime.skeletons.SKELETONS`.
        preset: name of the preset: pre-processing, outputs' roles, decoder.
        size_wh: input width and height that the weights were trained for.
        sizes_wh: all sizes published for this architecture and data set; others run where they are multiples of `step`.
        step: input width and height must be multiples of this.
        outputs: names of the output tensors, in the order that the module returns them.
        parameters: trainable parameters.
        sources: of the weights, the preferred one first.
    """

    name: str
    builder: str
    width: int
    joints: int
    skeleton: str
    preset: str
    size_wh: tuple[int, int]
    sizes_wh: tuple[tuple[int, int], ...]
    step: int
    outputs: tuple[str, ...]
    parameters: int
    sources: tuple[Source, ...]


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
    network: nn.Module = factory(width=entry.width, joints=entry.joints)
    return network.eval()
