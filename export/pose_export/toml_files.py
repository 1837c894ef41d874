"""Small TOML files of ours and of users, as plain trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pose_runtime.errors import ExportError

Tree = dict[str, Any]


def read_small(path: Path, kind: str, max_bytes: int, *, hint: str = "") -> bytes:
    """The bytes of a file that is small if it is what it should be.

    Args:
        path: of the file.
        kind: what it should be, for messages: preset, recipe, stage.
        max_bytes: what more than that is not.
        hint: goes behind the reason why it cannot be read.

    Raises:
        ExportError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ExportError(f"{kind} {path}: {error.strerror or error}{hint}") from error
    if len(data) > max_bytes:
        raise ExportError(f"{kind} {path}: over {max_bytes} bytes, that is no {kind}")
    return data


def parse_toml(data: bytes, where: str) -> Tree:
    """The plain tree of a TOML text; ExportError where it is none."""
    try:
        tree: Tree = msgspec.toml.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ExportError(f"{where}: no valid TOML: {error}") from error
    return tree
