"""Folders whose content is not trusted, and folders that appear whole or not at all.

Reading never follows a link inside the folder and never blocks on a pipe; writing is temporary folder, fsync, rename.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pose_runtime.errors import BundleError

MAX_DEPTH = 2
"""Folders within folders: a part of a bundle has a folder of its own, and in it one of check frames."""

_CHUNK = 1 << 20
_NOREPLACE, _EXCHANGE = 1, 2  # flags of renameat2(2)


@contextmanager
def _opened(folder: Path, name: str, limit: int) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a regular file `name`, perhaps in sub-folders, of `folder`; no component is a link."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY))
        *parents, file = name.split("/")
        for parent in parents:
            descriptors.append(os.open(parent, flags | os.O_DIRECTORY, dir_fd=descriptors[-1]))
        descriptors.append(os.open(file, flags, dir_fd=descriptors[-1]))
        status = os.fstat(descriptors[-1])
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{folder / name}: no regular file")
        if status.st_size > limit:
            raise BundleError(f"{folder / name}: got {status.st_size} bytes, wanted at most {limit}")
        yield descriptors[-1], status.st_size
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise BundleError(f"{folder / name}: is or goes through a link or a file; a bundle has none") from error
        raise BundleError(f"{folder / name}: {error.strerror or error}") from error
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


def read_file(folder: Path, name: str, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; raises BundleError."""
    with _opened(folder, name, limit) as (descriptor, size):
        data = bytearray(size)
        view, read = memoryview(data), 0
        while read < size and (count := os.readv(descriptor, [view[read : read + (1 << 30)]])):
            read += count
        if read < size or os.read(descriptor, 1):
            raise BundleError(f"{folder / name}: changed while it was read")
        view.release()
        return bytes(data)


def hash_file(folder: Path, name: str, limit: int) -> str:
    """SHA-256 in hexadecimal digits, read in pieces of 1 MiB; raises BundleError."""
    digest = hashlib.sha256()
    with _opened(folder, name, limit) as (descriptor, size):
        read = 0
        while read <= size and (piece := os.read(descriptor, _CHUNK)):
            digest.update(piece)
            read += len(piece)
    return digest.hexdigest()


def walk(folder: Path) -> Iterator[str]:
    """Names of all that is no folder, as `file` or `sub/file`, and of folders that are empty or too deep, with a `/`.

    Raises:
        BundleError: a link, a pipe, a device or a socket.
    """
    try:
        yield from _walk(folder, "", MAX_DEPTH)
    except OSError as error:
        raise BundleError(f"{folder}: {error.strerror or error}") from error


def _walk(folder: Path, parent: str, depth: int) -> Iterator[str]:
    empty = True
    with os.scandir(folder / parent) as entries:
        for entry in entries:
            empty = False
            name = f"{parent}{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                yield _checked_name(folder, name, entry)
            elif depth:
                yield from _walk(folder, f"{name}/", depth - 1)
            else:
                yield f"{name}/"
    if empty and parent:
        yield parent


def _checked_name(folder: Path, name: str, entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        raise BundleError(f"{folder / name}: is a link; a bundle has none")
    if not entry.is_file(follow_symlinks=False):
        raise BundleError(f"{folder / name}: no regular file")
    return name


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes when it does not.

    overwrite: whether a folder at `path` may be replaced; it is exchanged in one step and then removed.

    Raises:
        BundleError: `path` exists and may not be replaced, or the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise BundleError(f"{path.parent}: {error.strerror or error}") from error
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for folder in [*(f for f in temporary.rglob("*") if f.is_dir()), temporary]:
            sync_folder(folder)
        put_folder(temporary, path, overwrite=overwrite)
        sync_folder(path.parent)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # the failed new one, or the replaced old one


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write new files (`file` or `sub/file`) and fsync each."""
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_folder(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Rename `temporary` to `path`; afterwards `temporary` is gone or holds what was replaced.

    overwrite: whether a folder at `path` may be replaced; it is exchanged in one step.

    Raises:
        BundleError: `path` exists and may not be replaced.
        OSError: it cannot be renamed.
    """
    exists = os.path.lexists(path)
    if not exists:
        try:
            _rename(temporary, path, _NOREPLACE)
            return
        except FileExistsError:  # it appeared meanwhile
            exists = True
    if not overwrite:
        raise BundleError(f"{path}: exists already; choose another name or ask to overwrite it")
    if path.is_symlink() or not (path / "manifest.json").is_file():
        raise BundleError(f"{path}: exists and is no bundle; not overwritten")
    _rename(temporary, path, _EXCHANGE)


def _rename(source: Path, target: Path, flag: int) -> None:
    """renameat2(2), or its nearest steps where the file system or the C library has none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd = -100
    if function is not None:
        if function(at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), flag) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(target))
    if flag == _NOREPLACE:
        source.rename(target)
        return
    aside = source.with_suffix(".old")
    target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        aside.rename(target)
        raise
    aside.rename(source)
