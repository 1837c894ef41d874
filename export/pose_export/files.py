"""Files that appear whole or not at all, and folders that one process at a time writes to."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from pose_runtime.errors import ExportError


def check_folder(path: Path) -> None:
    """Refuse a file whose folder is missing, or that is one, before much work is done; ExportError says so."""
    if path.is_dir():
        raise ExportError(f"{path}: cannot write: it is a folder; wanted a file")
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


def lock_folder(folder: Path) -> BinaryIO:
    """Keep other processes out of a folder as long as the returned file is open; the lock goes with the process.

    Raises:
        ExportError: another process has it, or the folder cannot be written.
    """
    try:
        file = (folder / ".lock").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ExportError(f"{folder}: another process writes there; wait for it or choose another folder") from error
    except OSError as error:
        raise ExportError(f"{folder}: cannot write: {error.strerror or error}") from error
    return file
