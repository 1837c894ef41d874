"""A bundle in one file, to send it: a .tar, plain or compressed by gzip, of NAME.pose/ and, if it is signed,
NAME.pose.sig.

Nothing of an archive is trusted: names, kinds, number and sizes of its members are checked one by one, and no library
function writes where it says.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, cast

from pose_runtime.bundle import MAX_FILE_BYTES, Bundle
from pose_runtime.errors import BundleError
from pose_runtime.folder import MAX_DEPTH
from pose_runtime.manifest import MANIFEST
from pose_runtime.store.signature import SIGNATURE_BYTES, read_signature, signature_path

MAX_MEMBERS = 600
"""Files and folders: a manifest lists at most 256 files, each perhaps in a folder of its own."""

MAX_BYTES = 4 << 30
"""Unpacked, with the archive's own headers."""

_CHUNK = 1 << 16  # also the longest header: tarfile may hold hundreds that extend each other
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_MEMBER = re.compile(rf"(?P<top>{_PART}\.pose)(?:(?P<sig>\.sig)|/(?P<name>{_PART}(?:/{_PART}){{0,{MAX_DEPTH}}}))?\Z")


def unpack(archive: Path, into: Path) -> Path:
    """Unpack an archive into an empty folder; what is in it is not verified yet.

    Returns:
        The folder NAME.pose in `into`. Its signature lies beside it, if the archive has one.

    Raises:
        BundleError: no such archive, truncated, more or larger than bounds, or a member that no bundle has: a link, a
            device, an absolute name, one with `..`, one outside NAME.pose/.
        OSError: it cannot be written.
    """
    with _reading(archive) as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not compressed:
            return _unpack_tar(archive, raw, into)
        with (into / ".tar").open("w+b") as plain:  # tarfile seeks, and going back in gzip starts it anew
            with _decoding(archive):
                _copy(gzip.GzipFile(fileobj=raw), plain, archive, MAX_BYTES)
            plain.seek(0)
            folder = _unpack_tar(archive, plain, into)
        (into / ".tar").unlink()
        return folder


def pack(bundle: Bundle, archive: Path) -> None:
    """Write a bundle, and its signature if it has one, into an archive; the same bundle gives the same bytes.

    Args:
        bundle: loaded.
        archive: NAME.tar, or NAME.tar.gz for a compressed one; replaced if it is there.

    Raises:
        BundleError: the bundle was changed since it was loaded, or the archive cannot be written.
    """
    folder = bundle.path.resolve()
    signature = read_signature(signature_path(bundle.path))
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            if archive.name.endswith(".gz"):
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as out:
                    _pack_tar(bundle, folder.name, signature, cast(IO[bytes], out))
            else:
                _pack_tar(bundle, folder.name, signature, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(archive)
    except OSError as error:
        raise BundleError(f"{archive}: cannot write it: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _pack_tar(bundle: Bundle, top: str, signature: bytes | None, out: IO[bytes]) -> None:
    def add(name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, BytesIO(data))

    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if signature is not None:
            add(f"{top}.sig", signature)
        add(f"{top}/{MANIFEST}", bundle.manifest_bytes())
        for name in sorted(bundle.manifest.files):
            add(f"{top}/{name}", bundle.file_bytes(name))


class _ShortReads:
    """A file for tarfile, which reads a header's extension in one piece, however long the header says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _unpack_tar(archive: Path, file: IO[bytes], into: Path) -> Path:
    tops: set[str] = set()
    left = MAX_BYTES
    with _decoding(archive), tarfile.open(fileobj=cast(IO[bytes], _ShortReads(file)), mode="r:") as tar:
        for count, member in enumerate(_members(tar)):
            if count >= MAX_MEMBERS:
                raise BundleError(f"{archive}: has over {MAX_MEMBERS} members; no bundle has")
            top, target = _checked(archive, member)
            tops.add(top)
            if len(tops) > 1:
                raise BundleError(f"{archive}: holds {' and '.join(sorted(tops))}, wanted one bundle")
            left -= member.size
            if left < 0:
                raise BundleError(f"{archive}: unpacks to over {MAX_BYTES} bytes")
            if target is None:
                continue
            path = into / target
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as out:
                    _copy_member(tar, member, out)
                    out.flush()
                    os.fsync(out.fileno())
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise BundleError(f"{archive}: {target} stands in it twice") from error
        _need_end(tar)
    for top in tops:
        if (into / top).is_dir():
            return into / top
    raise BundleError(f"{archive}: holds no bundle; wanted one folder NAME.pose/, as pose-bundle pack writes it")


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    if tar.firstmember is None:  # type: ignore[attr-defined]  # Python 3.10 would look in front of the file
        return
    while (member := tar.next()) is not None:
        yield member


def _checked(archive: Path, member: tarfile.TarInfo) -> tuple[str, str | None]:
    """The bundle's folder name, and where a member belongs; None for a folder."""
    what = f"{archive}: member {ascii(member.name)[1:-1][:200]}"
    match = _MEMBER.match(member.name.removeprefix("./"))
    if match is None:
        raise BundleError(f"{what}: no name that a bundle has; wanted NAME.pose/FILE, NAME.pose/FOLDER/FILE")
    if member.isdir():
        return match["top"], None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise BundleError(f"{what}: no regular file; a bundle has no links and no devices")
    limit = SIGNATURE_BYTES if match["sig"] else MAX_FILE_BYTES
    if not 0 <= member.size <= limit:
        raise BundleError(f"{what}: got {member.size} bytes, wanted at most {limit}")
    if not match["sig"] and match["name"] is None:
        raise BundleError(f"{what}: is a file, wanted a folder")
    return match["top"], match[0]


def _copy_member(tar: tarfile.TarFile, member: tarfile.TarInfo, out: IO[bytes]) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError("no regular file")
    left = member.size
    while left:
        piece = source.read(min(left, _CHUNK))
        if not piece:
            raise tarfile.ReadError("it ends within a file")
        out.write(piece)
        left -= len(piece)


def _need_end(tar: tarfile.TarFile) -> None:
    """A block of zeros ends an archive; tarfile also takes the end of the file, or any nonsense, for its end."""
    file = cast(IO[bytes], tar.fileobj)
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early")


def _copy(source: IO[bytes] | gzip.GzipFile, out: IO[bytes], archive: Path, limit: int) -> None:
    size = 0
    while piece := source.read(_CHUNK):
        size += len(piece)
        if size > limit:
            raise BundleError(f"{archive}: unpacks to over {limit} bytes")
        out.write(piece)


@contextmanager
def _reading(archive: Path) -> Iterator[IO[bytes]]:
    try:
        file = os.fdopen(os.open(archive, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise BundleError(f"{archive}: {error.strerror or error}") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BundleError(f"{archive}: no regular file")
        yield file


@contextmanager
def _decoding(archive: Path) -> Iterator[None]:
    """What the libraries say of bytes that are no archive."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk
        raise _no_archive(archive, error) from error
    except (tarfile.TarError, EOFError, zlib.error, ValueError, RecursionError, OverflowError) as error:
        raise _no_archive(archive, error) from error


def _no_archive(archive: Path, error: Exception) -> BundleError:
    return BundleError(f"{archive}: no whole archive (.tar, .tar.gz) of a bundle: {error or 'it ends too early'}")
