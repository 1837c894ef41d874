"""Networks by name: `find("higherhrnet")`, then `build(entry)`. Only `build` loads torch."""

from __future__ import annotations

from pose_export.networks import entries as _entries  # noqa: F401  # importing it registers every network
from pose_export.networks._registry import Entry, Names, Published, Source, build, entries, find, names

__all__ = ["Entry", "Names", "Published", "Source", "build", "entries", "find", "names"]
