"""Props by chance: things to sit on, to stand behind and to hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pose_export.synthetic.furniture import FURNITURE, Furniture
from pose_export.synthetic.handheld import HANDHELD, Held
from pose_runtime.errors import ExportError


def furniture(rng: np.random.Generator, kind: str | None = None) -> Furniture:
    """One thing that stands on the floor around the origin and faces +z; `kind` is a name in FURNITURE, None any.

    Raises:
        ExportError: no such kind.
    """
    return FURNITURE[_picked(rng, kind, FURNITURE)](rng)


def seat(rng: np.random.Generator) -> Furniture:
    """One thing that people sit on; its `seat` is the height."""
    return furniture(
        rng, str(rng.choice(["chair", "office chair", "stool", "sofa", "bench"], p=[0.35, 0.15, 0.15, 0.2, 0.15]))
    )


def handheld(rng: np.random.Generator, kind: str | None = None) -> Held:
    """One thing to hold, a surface per material: the grip at the origin, a handle along y, its bulk towards +y (from
    the hand past the thumb; bags and sticks hang to -y), its face to +z. `kind` is a name in HANDHELD, None any.

    Raises:
        ExportError: no such kind.
    """
    return HANDHELD[_picked(rng, kind, HANDHELD)](rng)


def _picked(rng: np.random.Generator, kind: str | None, makers: Mapping[str, object]) -> str:
    if kind is None:
        return list(makers)[int(rng.integers(len(makers)))]
    if kind not in makers:
        raise ExportError(f"prop {kind!r}: no such kind; there are {', '.join(makers)}")
    return kind
