"""Small TOML files of ours and of users, as plain trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pose_runtime.errors import PoseError

Tree = dict[str, Any]


def read_small(path: Path, kind: str, max_bytes: int, *, hint: str = "", error: type[PoseError]) -> bytes:
    """The bytes of a file that is small if it is what it should be.

    Args:
        path: of the file.
        kind: what it should be, for messages: preset, recipe, stage.
        max_bytes: what more than that is not.
        hint: goes behind the reason why it cannot be read.
        error: what is raised if it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as reason:
        raise error(f"{kind} {path}: {reason.strerror or reason}{hint}") from reason
    if len(data) > max_bytes:
        raise error(f"{kind} {path}: over {max_bytes} bytes, that is no {kind}")
    return data


def parse_toml(data: bytes, where: str, *, error: type[PoseError]) -> Tree:
    """The plain tree of a TOML text; `error` is raised where it is none."""
    try:
        tree: Tree = msgspec.toml.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as reason:
        raise error(f"{where}: no valid TOML: {reason}") from reason
    return tree


def explained(error: msgspec.ValidationError, table: str = "") -> str:
    """`batch: Expected ...`: the key, below `table`, and what is wrong with it."""
    what, _, place = str(error).rpartition(" - at ")
    key = ".".join(filter(None, (table, place.strip("`").removeprefix("$").lstrip("."))))
    if not what:
        return f"{table}: {error}" if table else str(error)
    return f"{key}: {what}"
