"""The page's server: who gets in, what they get, and that no client can hold up the run."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from pages import SOURCE, page, source, status, walker  # noqa: E402
from pose_runtime.errors import SinkError  # noqa: E402
from pose_runtime.sinks.page import ServeOptions, open_page, server, viewer  # noqa: E402
from pose_runtime.sinks.page.options import parse_address, read_token  # noqa: E402
from pose_runtime.sinks.page.page import Page  # noqa: E402
from pose_runtime.sinks.page.picture import Encoding  # noqa: E402

TOKEN = "correct-horse-battery"


def port_of(served: Page) -> int:
    found = re.search(r":(\d+)/", served.url)
    assert found
    return int(found[1])


def get(
    served: Page, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(served), timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def said(served: Page, raw: bytes, timeout_s: float = 10) -> bytes:
    """Everything that is answered to these bytes until the connection ends."""
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=timeout_s) as connection:
        connection.sendall(raw)
        answer = b""
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
        return answer


@contextmanager
def running(served: Page, rate_hz: float = 60, **kind: Any) -> Iterator[list[float]]:
    """Frames at that rate meanwhile; gives the seconds that each `write` took."""
    stop, took = threading.Event(), []

    def write() -> None:
        frames = [walker(i, **kind) for i in range(8)]
        n = 0
        while not stop.wait(1 / rate_hz):
            start = time.perf_counter()
            served.write(*frames[n % len(frames)])
            took.append(time.perf_counter() - start)
            n += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def live(served: Page, **options: Any) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port_of(served)}/api/live"
        async with session.ws_connect(url, max_msg_size=0, **options) as opened:
            yield opened


async def picture(opened: Any) -> tuple[dict[str, Any], np.ndarray]:
    """The next picture: its header and its pixels."""
    while True:
        message = await asyncio.wait_for(opened.receive(), 5)
        if message.type is aiohttp.WSMsgType.BINARY:
            length = struct.unpack_from("<I", message.data)[0]
            image = cv2.imdecode(np.frombuffer(message.data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
            return json.loads(message.data[4 : 4 + length]), image
        assert message.type is aiohttp.WSMsgType.TEXT, message


def until(met: Callable[[], bool], timeout_s: float = 5) -> None:
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end
        time.sleep(0.01)


def run(work: Awaitable[None]) -> None:
    asyncio.run(work)  # type: ignore[arg-type]


# ---- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::]:0", ("::", 0)),
        ("localhost:1", ("localhost", 1)),
        ("jetson-1.local:65535", ("jetson-1.local", 65535)),
    ],
)
def test_addresses(text: str, wanted: tuple[str, int]) -> None:
    assert parse_address(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":8080", "8080:", "a b:1", "host", "65536", "-1", "1.2.3:4", "::1:8080", "[1.2.3.4]:1", "[::1]"),
        *("²:1", "localhost:²", "localhost:+1", "http://x:1", "1.2.3.999:1", "[::1]:", "x:1\n", f"{'x' * 300}:1"),
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(SinkError, match=re.escape("wanted [HOST:]PORT")) as caught:
        ServeOptions(address=text)
    assert "\n" not in str(caught.value)


def test_options_are_a_table_with_bounds() -> None:
    assert msgspec.convert({"address": "[::1]:9", "fps": 5}, ServeOptions).fps == 5
    for table in ({"port": 1}, {"quality": 101}, {"width": 1}, {"fps": 0}, {"max_clients": 0}, {"hosts": [""]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table, ServeOptions)


def token_file(folder: Path) -> str:
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return str(path)


def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    path = Path(token_file(tmp_path))
    assert read_token(str(path)) == TOKEN
    for bad in ("", "short", "x" * 257, "with spaces in the middle", "x" * 5000, "schlüssel-schlüssel"):
        path.write_text(bad)
        with pytest.raises(SinkError, match="wanted a token") as caught:
            read_token(str(path))
        assert not bad or bad not in str(caught.value)
    path.chmod(0o644)
    with pytest.raises(SinkError, match="everybody may read this secret"):
        read_token(str(path))
    with pytest.raises(SinkError, match="No such file"):
        read_token(str(tmp_path / "none"))


# ---- start and end -----------------------------------------------------------------------------------------------


def test_a_port_in_use_is_one_line() -> None:
    with page() as first:
        port = port_of(first)
        with pytest.raises(SinkError, match=f"^page: port {port} of 127.0.0.1 is in use; choose another"):
            open_page(ServeOptions(address=str(port)), status)


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "no-such-host.invalid"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(SinkError, match=r"of this machine|cannot listen") as caught:
        open_page(ServeOptions(address=f"{host}:8080"), status)
    assert "\n" not in str(caught.value)


def test_it_starts_again_at_once_on_its_port_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    port = "0"
    for _ in range(3):
        with page(address=port) as served:
            port = str(port_of(served))
            assert get(served, "/healthz")[0] == 200
            start = time.monotonic()
        assert time.monotonic() - start < 2
    served.close()
    until(lambda: set(threading.enumerate()) <= before)


def test_ipv6_and_every_address_that_a_name_stands_for() -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    families = {family for family, *_ in socket.getaddrinfo("localhost", 0)}
    for host in ("[::1]", "[::]", *(["localhost"] if socket.AF_INET6 in families else [])):
        with page(address=f"{host}:0") as served, socket.create_connection(("::1", port_of(served))) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b" 200 " in connection.recv(100)


def test_without_aiohttp_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pose_runtime.sinks.page.page", None)
    with pytest.raises(SinkError, match=re.escape("jetpose[live]")):
        open_page(ServeOptions(), status)


def test_viewers_are_told_of_the_end() -> None:
    async def work() -> None:
        with page() as served:
            async with live(served) as opened:
                assert (await opened.receive()).type is aiohttp.WSMsgType.TEXT
                await asyncio.get_running_loop().run_in_executor(None, served.close)
                while (message := await asyncio.wait_for(opened.receive(), 5)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)

    run(work())


def test_a_bug_in_the_server_ends_the_run() -> None:
    """As loudly as if it had happened in the run's own thread."""
    fine = [True]

    def broken() -> Any:
        if not fine[0]:
            raise ZeroDivisionError("status")
        return status()

    served = open_page(ServeOptions(address="0"), broken)
    served.write(*walker(0))
    fine[0] = False
    until(lambda: not served._thread.is_alive())
    with pytest.raises(ZeroDivisionError):
        served.write(*walker(1))
    served.abandon()


def test_a_frame_that_cannot_be_encoded_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    async def work(served: Page) -> None:
        async with live(served) as opened:
            await opened.send_json({"watch": "front"})
            until(lambda: not served._thread.is_alive())

    monkeypatch.setattr(Encoding, "with_poses", fail)
    served = open_page(ServeOptions(address="0"), status)
    served.write(*walker(0))
    run(work(served))
    with pytest.raises(MemoryError):
        served.close()


# ---- what stands where -------------------------------------------------------------------------------------------


def test_the_page_and_its_parts() -> None:
    with page() as served:
        code, headers, body = get(served, "/")
        assert code == 200
        assert headers["content-type"].startswith("text/html")
        parts = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg))"', body.decode())
        for part in {*parts, "draw.js", "spark.js", "stream.js"}:
            code, found, text = get(served, f"/{part}")
            assert (code, found["x-content-type-options"]) == (200, "nosniff")
            assert len(text) > 200
            assert b"http://" not in text.replace(b"http://www.w3.org/2000/svg", b"")
        assert not re.search(rb"<script(?! type=\"module\" src=)|<style| style=| on[a-z]+=|https?://", body)


def test_every_answer_forbids_foreign_code() -> None:
    with page() as served:
        for path in ("/", "/page.js", "/healthz", "/metrics", "/api/status", "/none"):
            policy = get(served, path)[1]["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "*" not in policy


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/../page.py", 404),
        ("GET", "/static/page.js", 404),
        ("GET", "/%2e%2e/page.py", 404),
        ("POST", "/", 405),
        ("DELETE", "/metrics", 405),
        ("HEAD", "/", 200),
        ("HEAD", "/stream.mjpg", 405),
        ("GET", "/api/live", 426),
        ("GET", "/stream.mjpg?source=none", 404),
        ("GET", "/stream.mjpg", 404),
    ],
)
def test_nothing_else(method: str, path: str, code: int) -> None:
    with page() as served:
        assert get(served, path, method=method)[0] == code


def test_the_status_as_json() -> None:
    with page() as served:
        code, _, body = get(served, "/api/status")
        assert code == 200
        assert json.loads(body)["status"] == json.loads(msgspec.json.encode(status()))


@pytest.mark.parametrize("alive", [True, False])
def test_health_needs_no_token_and_tells_nothing_private(alive: bool, tmp_path: Path) -> None:
    with page(status(alive=alive), token_file=token_file(tmp_path)) as served:
        code, _, body = get(served, "/healthz", {"Host": "probe.example"})
        assert code == (200 if alive else 503)
        assert json.loads(body) == {"alive": alive, "uptime_s": 75.0}


def test_metrics() -> None:
    lost = source('back "yard"\n\\', state="lost", frames=5)
    with page(status(sources=(SOURCE, lost))) as served, page(status(frames=1)):  # two at once share nothing
        code, headers, body = get(served, "/metrics")
        assert code == 200
        assert headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in parser.text_string_to_metric_families(body.decode())}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    for name, value in {
        ("jetpose_frames_total",): 888,
        ("jetpose_alive",): 1,
        ("jetpose_people",): 1,
        ("jetpose_fps",): 14.9,
        ("jetpose_temperature_celsius",): 51.5,
        ("jetpose_power_watts", "VDD_IN"): 7.464,
        ("jetpose_throttled",): 1,
        ("jetpose_check_oks",): 0.97,
        ("jetpose_check_passed",): 1,
        ("jetpose_accuracy", "AP", "crowd", "onnxruntime"): 61.2,
        ("jetpose_latency_seconds", "0.95"): 0.03,
        ("jetpose_age_seconds", "1"): 0.07,
        ("jetpose_stage_seconds", "network"): 0.018,
        ("jetpose_source_up", "front"): 1,
        ("jetpose_source_up", lost.name): 0,
        ("jetpose_source_frames_total", "front"): 900,
        ("jetpose_source_dropped_total", "front"): 12,
        ("jetpose_source_reconnects_total", "front"): 2,
        ("jetpose_sink_up", "mqtt broker:1883"): 0,
        ("jetpose_sink_dropped_total", "mqtt broker:1883"): 5,
        ("jetpose_page_viewers",): 0,
    }.items():
        assert samples[name] == pytest.approx(value), name
    info = families["jetpose_info" if "jetpose_info" in families else "jetpose"].samples[0].labels
    assert (info["version"], info["network"], info["precision"]) == ("0.1.0", "lightweight-tiny", "int8")


def test_metrics_before_the_first_frame() -> None:
    silent = {"temperature_c": None, "watts": {}, "throttled": None, "check": None, "accuracy": ()}
    empty = status(latency_ms=None, age_ms=None, stages_ms=None, sources=(), sinks=(), frames=0, **silent)
    with page(empty) as served:
        body = get(served, "/metrics")[2].decode()
    assert not any(name in body for name in ("temperature", "throttled", "check_", "watts{", "accuracy{"))
    assert "jetpose_frames_total 0.0" in body


# ---- who gets in -------------------------------------------------------------------------------------------------


def test_loopback_is_open_to_this_machine() -> None:
    with page() as served:
        assert "token" not in served.url
        assert get(served, "/api/status")[0] == 200


def test_elsewhere_a_random_token_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), page(address="0.0.0.0:0") as served:
        token = served.url.partition("?token=")[2]
        assert len(token) >= 24
        for path in ("/", "/api/status", "/metrics", "/stream.mjpg", "/page.js", "/api/live", "/none"):
            code, _, body = get(served, path)
            assert code == 401
            assert token.encode() not in body
        assert get(served, "/healthz")[0] == 200
        assert get(served, f"/?token={token}")[0] == 200
        assert get(served, f"/?token={token}x")[0] == 401
    assert sum(token in record.getMessage() for record in caplog.records) == 1
    with page(address="0.0.0.0:0") as other:
        assert other.url.partition("?token=")[2] != token


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Page]:
    with page(token_file=token_file(tmp_path), hosts=("poses.example",)) as served:
        yield served


def test_a_token_file_holds_everywhere_and_is_not_said(guarded: Page, caplog: pytest.LogCaptureFixture) -> None:
    assert TOKEN not in guarded.url + caplog.text
    assert get(guarded, "/")[0] == 401


def test_the_first_visit_leaves_a_cookie_that_scripts_and_other_sites_do_not_get(guarded: Page) -> None:
    cookie = get(guarded, f"/?token={TOKEN}")[1]["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    shown = cookie.partition(";")[0]
    assert get(guarded, "/api/status", {"Cookie": shown})[0] == 200
    assert get(guarded, "/api/status", {"Cookie": shown + "x"})[0] == 401


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
        ({"Cookie": "\x01=;;;="}, 400),
        ({"Cookie": "=;;;=;" + "a=b;" * 500}, 401),
        ({}, 401),
    ],
)
def test_programs_show_it_as_a_bearer(headers: dict[str, str], code: int, guarded: Page) -> None:
    assert get(guarded, "/metrics", headers)[0] == code


def test_metrics_may_be_open(tmp_path: Path) -> None:
    with page(token_file=token_file(tmp_path), open_metrics=True) as served:
        assert get(served, "/metrics")[0] == 200
        assert get(served, "/api/status")[0] == 401


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("LOCALHOST:9000", 200),  # a forwarded port
        ("[::1]:8080", 200),
        ("192.168.1.5:8080", 200),
        (socket.gethostname(), 200),
        (f"{socket.gethostname()}.local:8080", 200),
        ("poses.example", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("127.0.0.1@evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine(host: str, code: int, guarded: Page) -> None:
    """A web site whose name leads here (DNS rebinding) has a name of its own."""
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert get(guarded, "/api/status", headers)[0] == code


def shake(headers: dict[str, str]) -> dict[str, str]:
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    return {"Connection": "Upgrade", "Upgrade": "websocket", **key, **headers}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 101),
        ({"Origin": "http://localhost:5"}, 101),
        ({"Origin": "https://localhost:5"}, 101),
        ({"Origin": "http://localhost:6"}, 403),  # another program's page on this machine
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "websocket"}, 101),
    ],
)
def test_no_other_site_opens_a_websocket(headers: dict[str, str], code: int) -> None:
    with page() as served, socket.create_connection(("127.0.0.1", port_of(served)), timeout=5) as connection:
        lines = "".join(f"{k}: {v}\r\n" for k, v in shake({"Host": "localhost:5", **headers}).items())
        connection.sendall(f"GET /api/live HTTP/1.1\r\n{lines}\r\n".encode())
        assert int(connection.recv(1000).split()[1]) == code


def test_no_other_site_embeds_the_pictures() -> None:
    with page() as served:
        served.write(*walker(0))
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert get(served, "/stream.mjpg", foreign)[0] == 403
        assert get(served, "/", {**foreign, "Sec-Fetch-Mode": "navigate"})[0] == 200  # a link leads here


# ---- pictures ----------------------------------------------------------------------------------------------------


def test_a_viewer_gets_the_status_and_pictures_with_poses() -> None:
    async def work() -> None:
        with page() as served:
            served.write(*walker(3))
            async with live(served) as opened:
                hello = (await opened.receive()).json()
                assert hello["status"]["network"] == "lightweight-tiny"
                assert hello["history"][-1] == [14.9, 20.0, 50.0, 1]
                await opened.send_json({"watch": "front"})
                header, image = await picture(opened)
            assert image.shape == (360, 640, 3)
            assert (header["source"], header["frame"], header["size_wh"]) == ("front", 3, [640, 360])
            assert 0 <= header["age_ms"] < 5000
            person = header["people"][0]
            assert person["id"] == 7
            assert person["keypoints"][3] is None
            assert person["keypoints"][0][:2] == [72.0, 99.0]
            assert header["skeleton"]["names"][0] == "nose"
            assert [11, 12] in header["skeleton"]["limbs"]

    run(work())


def test_large_frames_are_made_smaller() -> None:
    async def work() -> None:
        with page(width=320) as served:
            served.write(*walker(0, size_wh=(1280, 720)))
            async with live(served) as opened:
                await opened.send_json({"watch": "front"})
                header, image = await picture(opened)
        assert image.shape == (180, 320, 3)
        assert header["size_wh"] == [1280, 720]

    run(work())


def test_each_frame_is_encoded_once_and_only_for_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = Encoding.with_poses

    def counting(self: Encoding, *args: Any) -> Any:
        encoded.append(args[0].index)
        return encode(self, *args)

    async def work() -> None:
        with page(fps=60) as served:
            for i in range(5):
                served.write(*walker(i))
            await asyncio.sleep(0.2)
            assert encoded == []
            async with live(served) as first, live(served) as second:
                for opened in (first, second):
                    await opened.send_json({"watch": "front"})
                for index in (4, 5, 6):
                    for opened in (first, second):
                        header, _ = await picture(opened)
                        assert header["frame"] == index
                    served.write(*walker(index + 1))
                await first.send_json({"watch": None})
                await second.send_json({"watch": None})
                await asyncio.sleep(0.3)
                count = len(encoded)
                for index in range(8, 12):
                    served.write(*walker(index))
                    await asyncio.sleep(0.05)
                assert len(encoded) == count
        assert len(encoded) == len(set(encoded))

    monkeypatch.setattr(Encoding, "with_poses", counting)
    run(work())


def test_pictures_come_no_faster_than_wanted() -> None:
    async def work() -> None:
        with page(fps=10) as served, running(served, 60):
            async with live(served) as opened:
                await opened.send_json({"watch": "front"})
                await picture(opened)
                start, count = time.monotonic(), 0
                while time.monotonic() - start < 1.5:
                    header, _ = await picture(opened)
                    await opened.send_json({"got": header["number"]})
                    count += 1
        assert 10 <= count <= 17

    run(work())


def test_who_does_not_say_what_arrived_gets_no_more_and_then_the_newest() -> None:
    async def work() -> None:
        with page(fps=60) as served, running(served, 60):
            async with live(served) as opened:
                await opened.send_json({"watch": "front"})
                numbers = [(await picture(opened))[0]["number"] for _ in range(viewer.ON_THE_WAY)]
                await asyncio.sleep(0.5)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(next_binary(opened), 0.3)
                await opened.send_json({"got": 1})
                header, _ = await picture(opened)
                assert header["number"] > numbers[-1] + 10
                assert header["age_ms"] is not None

    async def next_binary(opened: Any) -> None:
        while (await opened.receive()).type is not aiohttp.WSMsgType.BINARY:
            pass

    run(work())


def test_who_never_says_what_arrived_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        with page() as served, running(served):
            async with live(served) as opened:
                await opened.send_json({"watch": "front"})
                await picture(opened)
                async for _ in opened:
                    pass
                assert opened.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE

    monkeypatch.setattr(viewer, "DEAF_S", 0.5)
    run(work())


def test_sources_are_chosen_also_before_their_first_frame() -> None:
    async def work() -> None:
        with page(status(sources=(source("a"), source("b")))) as served:
            async with live(served) as opened:
                await opened.send_json({"watch": "b"})
                await asyncio.sleep(0.1)
                served.write(*walker(1, "a"))
                served.write(*walker(2, "b"))
                assert (await picture(opened))[0]["source"] == "b"
                await opened.send_json({"watch": "a"})
                assert (await picture(opened))[0]["source"] == "a"

    run(work())


def test_plain_viewers_get_pictures_with_people_drawn() -> None:
    with page(fps=30) as served, running(served, 30):
        served.write(*walker(0))
        with urllib.request.urlopen(served.url + "stream.mjpg", timeout=10) as response:
            assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=jetpose"
            data = b""
            while data.count(b"--jetpose\r\n") < 4:
                data += response.read1(65536)
    jpeg = data.split(b"\r\n\r\n", 1)[1].split(b"\r\n--jetpose")[0]
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    blue, _, red = image.reshape(-1, 3).T
    assert (red - blue > 80).sum() > 20  # the left is orange
    assert (blue - red > 80).sum() > 20  # the right is blue


# ---- rude clients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", 1008),
        ("{", 1008),
        ("[]", 1008),
        ('{"got": "1"}', 1008),
        ('{"watch": 5}', 1008),
        ('{"else": 1}', 1008),
        ("[" * 1000, 1008),
        (b"\x00\xff", 1008),
        ("x" * 2000, 1009),
    ],
)
def test_what_no_page_says_ends_the_connection(message: str | bytes, code: int) -> None:
    async def work() -> None:
        with page() as served:
            async with live(served) as opened:
                await (opened.send_str(message) if isinstance(message, str) else opened.send_bytes(message))
                answer = await opened.receive()
                if answer.type is aiohttp.WSMsgType.TEXT:
                    answer = await opened.receive()
                assert answer.data == code
            assert get(served, "/healthz")[0] == 200

    run(work())


def test_a_flood_of_messages_ends_the_connection() -> None:
    async def work() -> None:
        with page() as served:
            async with live(served) as opened:
                with suppress(ConnectionError):
                    for _ in range(1000):
                        await opened.send_json({"got": 0})
                async for _ in opened:
                    pass
                assert opened.close_code == 1008

    run(work())


def test_unknown_sources_and_numbers_are_harmless() -> None:
    async def work() -> None:
        with page() as served, running(served):
            async with live(served) as opened:
                for wish in ({"watch": "none"}, {"got": -5}, {"got": 10**18}, {"got": 10**30}, {"watch": "front"}):
                    await opened.send_json(wish)
                numbers = [(await picture(opened))[0]["number"] for _ in range(viewer.ON_THE_WAY)]
                assert len(set(numbers)) == viewer.ON_THE_WAY

    run(work())


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500 + b"\r\n\r\n",  # TLS
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    ],
    ids=["binary", "no-path", "version", "tls", "length", "smuggled", "two-hosts", "path", "header", "headers"],
)
def test_malformed_http_is_refused(raw: bytes) -> None:
    with page() as served:
        assert re.match(rb"HTTP/1\.[01] (4\d\d|505) ", said(served, raw) or b"closed")
        assert get(served, "/healthz")[0] == 200


def test_a_body_that_nobody_wants_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINGER_S", 0.3)
    with page() as served:
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
        start = time.monotonic()
        assert b" 200 " in said(served, head + b"x" * 200_000)
        assert time.monotonic() - start < 5


def test_slow_headers_and_silence_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_S", 0.5)
    with page() as served:
        connections = [socket.create_connection(("127.0.0.1", port_of(served)), timeout=5) for _ in range(20)]
        for connection in connections[:10]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        start = time.monotonic()
        for connection in connections:
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
            connection.close()
        assert time.monotonic() - start < 3


def test_viewers_are_bounded_and_places_become_free() -> None:
    async def work() -> None:
        with page(max_clients=2) as served:
            served.write(*walker(0))
            async with live(served), live(served):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    async with live(served):
                        pass
                assert caught.value.status == 503
                code, headers, body = get(served, "/stream.mjpg")
                assert (code, headers["retry-after"]) == (503, "5")
                assert b"All 2 places are taken" in body
                assert get(served, "/api/status")[0] == 200
            await asyncio.sleep(0.2)
            async with live(served) as opened:
                assert (await opened.receive()).type is aiohttp.WSMsgType.TEXT

    run(work())


def test_a_plain_viewer_that_leaves_gives_its_place_back_though_no_frame_comes() -> None:
    with page(max_clients=1) as served:
        served.write(*walker(0))
        for _ in range(3):
            with urllib.request.urlopen(served.url + "stream.mjpg", timeout=5) as response:
                assert response.read1(10)
            until(lambda: b"jetpose_page_viewers 0.0" in get(served, "/metrics")[2])


def test_connections_are_bounded() -> None:
    with page(max_clients=1) as served:
        connections = [socket.create_connection(("127.0.0.1", port_of(served)), timeout=5) for _ in range(80)]
        time.sleep(0.3)
        assert connections[-1].recv(100).startswith(b"HTTP/1.1 503 ")
        for connection in connections:
            connection.close()
        time.sleep(0.3)
        assert get(served, "/healthz")[0] == 200


@pytest.mark.parametrize("path", ["/stream.mjpg", "/api/live"])
def test_who_never_reads_is_cut_off(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.5)
    monkeypatch.setattr(viewer, "SEND_S", 0.5)
    monkeypatch.setattr(viewer, "ON_THE_WAY", 10**9)
    with page(max_clients=1, fps=60) as served, running(served, 60, size_wh=(1280, 720), noise=True) as took:
        until(lambda: len(took) > 0)
        with deaf(served, path):
            until(lambda: b"jetpose_page_viewers 1.0" in get(served, "/metrics")[2])
            until(lambda: b"jetpose_page_viewers 0.0" in get(served, "/metrics")[2], 10)


@contextmanager
def deaf(served: Page, path: str) -> Iterator[socket.socket]:
    """A viewer that asks for pictures and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port_of(served)))
    lines = "".join(f"{k}: {v}\r\n" for k, v in shake({"Host": "localhost"}).items())
    if path == "/stream.mjpg":
        lines = "Host: localhost\r\n"
    connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    if path == "/api/live":
        wish = b'{"watch": "front"}'
        connection.sendall(bytes([0x81, 0x80 | len(wish), 0, 0, 0, 0]) + wish)  # masked by zeros
    try:
        yield connection
    finally:
        connection.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("path", ["/stream.mjpg", "/api/live"])
def test_a_hundred_slow_viewers_neither_slow_the_run_nor_fill_the_memory(path: str) -> None:
    from contextlib import ExitStack

    kind = {"size_wh": (640, 360), "noise": True}  # 230 KB each
    with page(max_clients=100, fps=30) as served, ExitStack() as stack:
        with running(served, 30, **kind) as took:
            until(lambda: len(took) > 0)
            stack.enter_context(deaf(served, path))
            time.sleep(1)
            before = resident_bytes()
            for _ in range(99):
                stack.enter_context(deaf(served, path))
            time.sleep(4)
        assert b"jetpose_page_viewers 100.0" in get(served, "/metrics")[2]
        after = resident_bytes()
    print(f"{after - before} bytes, write() at most {max(took) * 1e3:.2f} ms, median {np.median(took) * 1e3:.3f} ms")
    assert len(took) > 100
    assert np.median(took) < 1e-3
    assert np.quantile(took, 0.95) < 20e-3
    assert after - before < 100 * (1 << 20)


def test_writing_without_viewers_costs_next_to_nothing() -> None:
    with page() as served:
        frame = walker(0)
        start = time.perf_counter()
        for _ in range(1000):
            served.write(*frame)
        assert (time.perf_counter() - start) / 1000 < 50e-6
