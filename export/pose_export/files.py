"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pose_runtime.errors import ExportError


def check_folder(path: Path) -> None:
    """Refuse a file whose folder is missing, before much work is done for it; ExportError names both."""
    if not path.absolute().parent.is_dir():
        raise ExportError(f"{path}: cannot write: there is no folder {path.parent}")


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step: a temporary file beside it, fsync, rename. An older file is replaced.

    Raises:
        ExportError: the file cannot be written; what stood there still stands.
    """
    path = path.absolute()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ExportError(f"{path}: cannot write: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot write: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)
