"""Networks by name: `find("higherhrnet")`, then `build(entry)`. Only `build` loads torch."""

from __future__ import annotations

from pose_export.networks import _ours as _ours
from pose_export.networks import _published as _published
from pose_export.networks._registry import Entry, Source, build, entries, find, names

__all__ = ["Entry", "Source", "build", "entries", "find", "names"]
