"""Published checkpoints into a cache on this machine, resumed where they broke off, checked by their hash."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

from pose_export.networks import Source
from pose_runtime.errors import ExportError

MAX_BYTES = 2 << 30
TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ELSEWHERE = "download it on another machine and pass it with --checkpoint FILE"

Progress = Callable[[int, "int | None"], None]
"""Called with bytes so far and in all (None where the server does not say)."""


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/jetpose`, or `~/.cache/jetpose`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "jetpose"


PACKAGE = "package:"


def _packaged(source: Source) -> Path:
    path = Path(__file__).parent / "weights" / source.url.removeprefix(PACKAGE)
    if not path.is_file():
        raise ExportError(f"{source.file} is not in this installation; pass weights with --checkpoint FILE")
    return path


def fetch(
    source: Source, *, folder: Path | None = None, max_bytes: int = MAX_BYTES, progress: Progress | None = None
) -> Path:
    """The checkpoint's path: in this package, or in the cache, downloaded where it is not there yet.

    A broken download stays as `NAME.part` and is resumed by the next call. A file whose hash differs is deleted.
    """
    if source.url.startswith(PACKAGE):
        return _packaged(source)
    if source.algorithm is None:
        raise ExportError(
            f"{source.file} lies on a web page: download it from {source.url}, then pass it with --checkpoint FILE"
        )
    _check_url(source.url)
    folder = folder or cache_folder()
    name = Path(urllib.parse.urlsplit(source.url).path).name or "checkpoint"
    target = folder / f"{hashlib.sha256(source.url.encode()).hexdigest()[:8]}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _hash_fits(target, source):
            return target
        path = target.with_name(target.name + ".part")
        with path.open("ab") as part:
            _lock(part, path, source.url)
            if not _hash_fits(path, source):  # it may be whole: a crash before the last line
                _download(source.url, part, max_bytes, progress)
                os.fsync(part.fileno())
                _check_hash(path, source)
            path.replace(target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        code = ""
        if isinstance(error, urllib.error.HTTPError):
            code = f"{error.code} "
            error.close()
        raise ExportError(
            f"cannot download {source.url}: {code}{reason}; run again to resume, or {_ELSEWHERE}"
        ) from error
    except OSError as error:
        raise ExportError(f"cannot keep {source.url} in {folder}: {error.strerror or error}") from error
    return target


def _check_url(url: str) -> None:
    """Only https, but for servers on this machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ExportError(f"refused to download {url}: not https")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that would be taken at first hand."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            _check_url(newurl)
            if req.full_url.startswith("https:") and not newurl.startswith("https:"):
                raise ExportError(f"refused to download {newurl}: not https")
        except ExportError:
            fp.close()  # the answer that redirects
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _lock(part: BinaryIO, path: Path, url: str) -> None:
    """One download of a file at a time; the lock goes with the process."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        moved = not os.path.samestat(path.stat(), os.fstat(part.fileno()))  # finished between open and lock
    except (BlockingIOError, FileNotFoundError):
        moved = True
    if moved:
        raise ExportError(f"{url} is being downloaded by another process; run again when it has finished")


def _download(url: str, part: BinaryIO, max_bytes: int, progress: Progress | None) -> None:
    """Append what is missing of `url` to `part`, from the start where the server cannot resume."""
    done = part.seek(0, os.SEEK_END)
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not done:
            raise
        error.close()
        part.truncate(0)  # complete already, or of another file: its hash decides, so fetch it anew
        done, response = 0, _open(url, 0)
    with response:
        if done and not _resumes(response, done):
            part.truncate(0)
            done = 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        if (total or done) > max_bytes:
            raise ExportError(f"{url} has {total or done} bytes; {max_bytes} are allowed")
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if done > max_bytes:
                raise ExportError(f"{url} has more than the {max_bytes} bytes allowed")
            part.write(chunk)
            if progress:
                progress(done, total)
        part.flush()
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _open(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "jetpose"})  # noqa: S310 - _check_url
    if start:
        request.add_header("Range", f"bytes={start}-")
    response: http.client.HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
    return response


def _resumes(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer is the rest from `start` on; a plain 200 is the whole file."""
    given = response.headers.get("Content-Range", "")
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and given.startswith(f"bytes {start}-")


def _digest(path: Path, algorithm: str) -> str:
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _hash_fits(path: Path, source: Source) -> bool:
    assert source.algorithm is not None
    return bool(source.digest) and _digest(path, source.algorithm).startswith(source.digest)


def _check_hash(part: Path, source: Source) -> None:
    assert source.algorithm is not None
    if not _hash_fits(part, source):
        got = _digest(part, source.algorithm)[: max(len(source.digest), 8)]
        part.unlink()
        raise ExportError(
            f"{source.url}: {source.algorithm} begins with {got}, wanted {source.digest}; damaged or replaced, deleted"
        )
