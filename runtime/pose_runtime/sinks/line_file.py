"""A file of whole lines that is appended to for months: it rotates by size, and outlives full disks and moved folders.

Rotated files are NAME.1 (the newest), NAME.2, ...; with compression NAME.1.gz and so on. Every file starts with the
header, and each time the file is opened again the header comes once more: what follows may be another network's.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
from pathlib import Path
from threading import Thread

_LONGEST_TAIL = 1 << 20  # bytes of a line that was cut off, at most
_GZIP_LEVEL = 3


class LineFile:
    """Appends lines; after every call, also one that raises, the file consists of whole lines.

    Args:
        path: of the file; one that is there is continued, less a last line without its end.
        header: first line of each file, without its end.
        most_bytes: size at which the file is rotated.
        keep: rotated files kept beside it; the oldest goes.
        compress: rotated files with gzip, in a thread of their own.

    Raises:
        OSError: it cannot be opened or written; `write` likewise.
    """

    def __init__(self, path: Path, header: bytes, *, most_bytes: int, keep: int, compress: bool) -> None:
        self._path, self._header = path, header
        self._most_bytes, self._keep, self._compress = most_bytes, keep, compress
        self._compressing: Thread | None = None
        self._file = -1
        self._open()

    def write(self, line: bytes) -> None:
        """Add a line, given without its end."""
        if not self._is_ours():  # somebody moved or deleted it: what is written now would be found nowhere
            self._open()
        elif self._rotates and self._bytes + len(line) >= self._most_bytes:
            self._rotate()
        self._append(line)

    def renew(self, header: bytes) -> None:
        """Add another header, which every file begins with from now on."""
        self._header = header
        self.write(header)

    def close(self) -> None:
        """Close the file, and finish compressing."""
        self._close_file()
        if self._compressing:
            self._compressing.join()

    def _open(self) -> None:
        self._close_file()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o644)
        try:
            self._rotates = stat.S_ISREG(os.fstat(self._file).st_mode)  # /dev/null shall stay where it is
            self._bytes = _without_tail(self._file) if self._rotates else 0
            self._append(self._header)
        except BaseException:
            self._close_file()
            raise

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _is_ours(self) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return self._file >= 0 and os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def _append(self, line: bytes) -> None:
        data = memoryview(line + b"\n")
        try:
            while data:  # a full disk may take a part
                data = data[os.write(self._file, data) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._bytes)
            raise
        self._bytes += len(line) + 1

    def _rotate(self) -> None:
        """Every step is one rename, so that a power cut loses no file; a step that fails is tried again next time."""
        if self._compressing:
            self._compressing.join()
        for number in range(self._keep, 0, -1):
            for suffix in ("", ".gz"):
                self._shift(number, suffix)
        if self._keep:
            self._path.replace(self._rotated(1))
        else:
            self._path.unlink()
        self._open()
        if self._keep and self._compress:
            self._compressing = Thread(target=_compress, args=(self._rotated(1),), name="gzip", daemon=True)
            self._compressing.start()

    def _shift(self, number: int, suffix: str) -> None:
        old = self._rotated(number, suffix)
        with contextlib.suppress(FileNotFoundError):
            if number == self._keep:
                old.unlink()
            else:
                old.replace(self._rotated(number + 1, suffix))

    def _rotated(self, number: int, suffix: str = "") -> Path:
        return self._path.with_name(f"{self._path.name}.{number}{suffix}")


def _without_tail(file: int) -> int:
    """Cut off what follows the last line's end, such as after a power cut; the size then."""
    size = os.fstat(file).st_size
    start = max(0, size - _LONGEST_TAIL)
    end = start + os.pread(file, size - start, start).rfind(b"\n") + 1
    if end < size:
        os.ftruncate(file, end)
    return end


def _compress(path: Path) -> None:
    """Put PATH.gz in place of a file; where that fails, as on a full disk, the file stays as it is."""
    part, done = path.with_name(f".{path.name}.gz.part"), path.with_name(f"{path.name}.gz")
    try:
        with path.open("rb") as plain, gzip.open(part, "wb", _GZIP_LEVEL) as packed:
            shutil.copyfileobj(plain, packed, 1 << 18)
        part.replace(done)
        path.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
