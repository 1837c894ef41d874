"""Small changes to a folder that happen wholly or not at all, and last through a power cut once they returned."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from pose_runtime.errors import BundleError
from pose_runtime.folder import sync_folder

_POLL_S = 0.02


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file in one step. At most one process at a time writes this path. Raises OSError; the old one stays."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a writer that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def replace_link(path: Path, target: str) -> None:
    """Point a link elsewhere in one step. At most one process at a time does. Raises OSError; the old one stays."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
    sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file or link, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Keep other processes and threads out; the kernel lets go when this process ends, however it does.

    Args:
        path: of the lock, an empty file.
        wait_s: for another one to let go; one that is stopped must not stop this one for ever.

    Raises:
        BundleError: it did not let go, or the lock cannot be made.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; run this as the user who owns {path.parent}") from error
    try:
        end_s = monotonic() + wait_s
        while not _try_lock(descriptor):
            if monotonic() >= end_s:
                raise BundleError(f"{path}: held by another process for {wait_s:g} s; try again when that has ended")
            sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def use(folder: Path) -> int:
    """Mark a folder as in use, as any number of processes may at a time.

    Returns:
        A descriptor; closing it, or the end of the process, ends the use. Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_used(folder: Path) -> bool:
    """Whether any process has marked the folder as in use. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)
