"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from pose_runtime.errors import SinkError


def check_writable(path: Path) -> None:
    """Refuse a place that `write_atomically` would refuse, before the minutes of work whose result goes there.

    Raises:
        SinkError: the folder is missing or may not be written, or the place is a folder.
    """
    if path.is_dir():
        raise SinkError(f"{path}: cannot write it: it is a folder")
    if not path.parent.is_dir():
        raise SinkError(f"{path}: cannot write it: no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SinkError(f"{path}: cannot write it: the folder {path.parent} is not writable")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file: temporary file beside it, fsync, rename. What stood there is replaced, or kept where this fails.

    Raises:
        SinkError: the folder is missing, may not be written, or is full.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise SinkError(f"{path}: cannot write it: {error.strerror}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
