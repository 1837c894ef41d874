"""Small relatives of networks in the registry: the same layers, few channels; for tests that run them."""

from __future__ import annotations

from typing import Any

import msgspec

from pose_export.networks import Entry, find

_FEW = (1, 2, 2, 1)
SMALL: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "deeppose": ({"width": 12, "hidden": 16}, (220, 220)),
    "deeppose_res50": ({"width": 4, "blocks": _FEW}, (64, 96)),
    "grmi": ({"width": 4, "blocks": _FEW}, (65, 97)),
    "tompson": ({"width": 4}, (64, 96)),
}
"""Name -> arguments that differ, input size."""


def small(name: str) -> Entry:
    """The network called `name`, but small."""
    arguments, size_wh = SMALL[name]
    entry = find(name)
    return msgspec.structs.replace(
        entry, arguments={**entry.arguments, **arguments}, size_wh=size_wh, sizes_wh=(size_wh,)
    )
