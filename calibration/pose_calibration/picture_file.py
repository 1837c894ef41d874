"""A picture before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pose_runtime.geometry import Box


@dataclass(frozen=True, slots=True)
class PictureFile:
    """Where a picture lies, what messages call it, and what annotations know of it."""

    path: Path
    name: str
    boxes: tuple[Box, ...] = ()
    image_id: int | None = None
