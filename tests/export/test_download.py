from __future__ import annotations

import fcntl
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_export import download
from pose_export.networks import Source, entries
from pose_runtime.errors import ExportError

BODY = bytes(range(256)) * 5000


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; `ranges` on or off, `cut` ends an answer after so many bytes."""

    daemon_threads = True
    ranges = True
    cut: int | None = None
    length = True
    redirect = ""
    starts: list[int]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        self.server.starts.append(start)
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        if self.server.length:
            self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start:][: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as httpd:
        httpd.starts = []
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def source(server: Server, file: str = "net.pth", algorithm: str = "sha256", digits: int = 8) -> Source:
    digest = hashlib.new(algorithm, BODY).hexdigest()[:digits]
    url = f"http://127.0.0.1:{server.server_port}/{file}"
    return Source(url=url, licence="MIT", file=file, algorithm=algorithm, digest=digest)  # type: ignore[arg-type]


@pytest.mark.parametrize(("algorithm", "digits"), [("sha256", 8), ("sha384", 96)])
def test_fetch_downloads_once(server: Server, tmp_path: Path, algorithm: str, digits: int) -> None:
    seen: list[tuple[int, int | None]] = []
    wanted = source(server, algorithm=algorithm, digits=digits)
    path = download.fetch(wanted, folder=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert download.fetch(wanted, folder=tmp_path) == path
    assert server.starts == [0]
    assert list(tmp_path.iterdir()) == [path]


def test_fetch_replaces_a_damaged_file(server: Server, tmp_path: Path) -> None:
    path = download.fetch(source(server), folder=tmp_path)
    path.write_bytes(b"rotten")
    assert download.fetch(source(server), folder=tmp_path).read_bytes() == BODY


def test_fetch_resumes(server: Server, tmp_path: Path) -> None:
    server.cut = 700_000
    with pytest.raises(ExportError, match="run again to resume"):
        download.fetch(source(server), folder=tmp_path)
    server.cut = None
    assert download.fetch(source(server), folder=tmp_path).read_bytes() == BODY
    assert server.starts == [0, 700_000]


def test_fetch_starts_over_where_the_server_cannot_resume(server: Server, tmp_path: Path) -> None:
    server.cut = 700_000
    with pytest.raises(ExportError):
        download.fetch(source(server), folder=tmp_path)
    server.cut, server.ranges = None, False
    assert download.fetch(source(server), folder=tmp_path).read_bytes() == BODY
    assert server.starts == [0, 0]


@pytest.mark.parametrize("rest", [BODY, BODY + b"more"])
def test_fetch_takes_or_restarts_a_part_of_full_length(server: Server, tmp_path: Path, rest: bytes) -> None:
    path = download.fetch(source(server), folder=tmp_path)
    path.rename(path.with_name(path.name + ".part")).write_bytes(rest)
    assert download.fetch(source(server), folder=tmp_path).read_bytes() == BODY


def test_fetch_without_length(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert download.fetch(source(server), folder=tmp_path).read_bytes() == BODY
    server.cut = 1000
    with pytest.raises(ExportError, match="damaged or replaced"):
        download.fetch(source(server, "other.pth"), folder=tmp_path)


def test_fetch_refuses_a_wrong_hash(server: Server, tmp_path: Path) -> None:
    good = source(server)
    wrong = Source(url=good.url, licence="MIT", file="net.pth", algorithm="sha256", digest="00000000")
    with pytest.raises(ExportError, match=f"begins with {good.digest}, wanted 00000000"):
        download.fetch(wrong, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_fetch_says_what_is_missing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"missing\.pth: 404 .*--checkpoint FILE") as error:
        download.fetch(source(server, "missing.pth"), folder=tmp_path)
    assert "\n" not in str(error.value)


def test_fetch_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    nobody = Source(url="http://127.0.0.1:9/a.pth", licence="MIT", file="a.pth", algorithm="sha256", digest="00")
    with pytest.raises(
        ExportError, match=r"cannot download http://127\.0\.0\.1:9/a\.pth: .*refused.*--checkpoint FILE"
    ):
        download.fetch(nobody, folder=tmp_path)


@pytest.mark.parametrize("length", [True, False])
def test_fetch_is_bounded(server: Server, tmp_path: Path, length: bool) -> None:
    server.length = length
    with pytest.raises(ExportError, match=r"1000 (bytes )?a"):
        download.fetch(source(server), folder=tmp_path, max_bytes=1000)


@pytest.mark.parametrize("url", ["http://example.org/a.pth", "file:///etc/passwd", "ftp://127.0.0.1/a.pth"])
def test_fetch_wants_https(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(ExportError, match="not https"):
        download.fetch(Source(url=url, licence="MIT", file="a", algorithm="sha256", digest="00"), folder=tmp_path)
    server.redirect = url
    with pytest.raises(ExportError, match=r"not https|not allowed"):
        download.fetch(source(server), folder=tmp_path)


def test_fetch_once_at_a_time(server: Server, tmp_path: Path) -> None:
    path = download.fetch(source(server), folder=tmp_path)
    with path.rename(path.with_name(path.name + ".part")).open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match="another process"):
            download.fetch(source(server), folder=tmp_path)


def test_fetch_where_nothing_can_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot keep"):
        download.fetch(source(server), folder=tmp_path / "file")


def test_google_drive_is_for_people() -> None:
    (drive,) = (s for e in entries() if e.name == "higherhrnet_w48.coco_640" for s in e.sources)
    with pytest.raises(ExportError, match=r"w48_640\.pth\.tar .*drive\.google\.com.*--checkpoint FILE"):
        download.fetch(drive)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert download.cache_folder() == Path("/some/cache/jetpose")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert download.cache_folder() == Path("/home/someone/.cache/jetpose")
