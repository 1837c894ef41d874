"""A file that is whole or absent, and that shows any change: made for plans, which load as code does.

    8 bytes   "JETPOSE" and the format's number
    32 bytes  SHA-256 of all that follows
    4 bytes   length of the header, little-endian
    header    JSON: the key under which the file was written, and a report of any kind
    payload

Writing is temporary file, fsync, rename, fsync of the folder: a kill at any moment leaves the old file or the new one.
A plan is trusted by the library that loads it, so a file counts only if it is this user's or root's and nobody else may
write to it. The hash finds damage; it is no signature.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pose_runtime.folder import sync_folder

MAX_BYTES = 4 << 30
"""Largest file that is read or written."""

_MAGIC = b"JETPOSE\x01"
_MAX_HEADER = 1 << 20


class Sealed(NamedTuple):
    """What a file holds: its report, still JSON, its payload, and the SHA-256 of both with the key."""

    report: msgspec.Raw
    payload: bytes
    sha256: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: msgspec.Raw
    report: msgspec.Raw


def write_sealed(path: Path, key: Any, report: Any, payload: bytes) -> str:
    """Write a file in one step; its folder is there, and at most one process at a time writes this path.

    Args:
        path: what it replaces is gone afterwards.
        key, report: msgspec structs.
        payload: the content.

    Returns:
        The SHA-256 in it.

    Raises:
        OSError: it cannot be written; what was at `path` is still there, and no part of the new one.
    """
    header = msgspec.json.encode(_Header(_raw(key), _raw(report)))
    body = len(header).to_bytes(4, "little") + header
    digest = hashlib.sha256(body)
    digest.update(payload)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a writer that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(_MAGIC + digest.digest() + body)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
    return digest.hexdigest()


def read_sealed(path: Path, key: Any) -> Sealed | None:
    """The file that was written at `path` under this key; None where there is none that can be trusted whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not _is_ours(status):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return _read(file, status.st_size, key)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def _is_ours(status: os.stat_result) -> bool:
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid()) and not writable


def _read(file: Any, size: int, key: Any) -> Sealed | None:
    start = len(_MAGIC) + 32 + 4
    if not start <= size <= MAX_BYTES:
        return None
    head = file.read(start)
    length = int.from_bytes(head[-4:], "little")
    if head[: len(_MAGIC)] != _MAGIC or length > min(_MAX_HEADER, size - start):
        return None
    header = file.read(length)
    parts = msgspec.json.decode(header, type=_Header)
    if bytes(parts.key) != bytes(_raw(key)):
        return None
    payload = file.read(size - start - length)
    digest = hashlib.sha256(head[-4:] + header)
    digest.update(payload)
    if digest.digest() != head[len(_MAGIC) : len(_MAGIC) + 32]:
        return None
    return Sealed(parts.report, payload, digest.hexdigest())


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
