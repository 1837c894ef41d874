"""Network streams, from a real RTSP server and from servers that misbehave."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SourceError
from pose_runtime.frame import Frame
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.capture import Capture
from pose_runtime.live.mailbox import Mailbox
from pose_runtime.sources import Item
from pose_runtime.sources._live import StreamClock
from pose_runtime.sources._picture import Converter
from pose_runtime.sources.live import SourceOptions, open_live
from rtsp import RtspServer, free_port

BARS = np.array(  # of videotestsrc's pattern smpte75, B, G, R
    [(191, 191, 191), (0, 191, 191), (191, 191, 0), (0, 191, 0), (191, 0, 191), (0, 0, 191), (191, 0, 0)]
)


def image(frame: Frame) -> ByteArray:
    """B, G, R of a frame, by OpenCV."""
    width, height = frame.size_wh
    first, *rest = (
        np.concatenate([plane.reshape(-1), np.zeros(-plane.size % stride, np.uint8)]).reshape(-1, stride)
        for plane, stride in zip(frame.planes, frame.strides, strict=True)
    )
    if frame.format == "bgr8":
        return first[:height, : 3 * width].reshape(height, width, 3)
    assert frame.format == "nv12"
    chroma = rest[0][: height // 2, :width].reshape(height // 2, width // 2, 2)
    return np.asarray(cv2.cvtColorTwoPlane(first[:height, :width].copy(), chroma, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def bars_error(frame: Frame) -> int:
    """How far the colours of the bars are from what was sent."""
    width, height = frame.size_wh
    seen = image(frame)[height // 4, [int(width * (2 * i + 1) / 14) for i in range(7)]]
    return int(np.abs(seen.astype(int) - BARS).max())


@contextmanager
def tcp_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that talks to each client in a thread; gives its port."""
    server = socket.create_server(("127.0.0.1", 0))
    clients: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        try:
            talk(client)
        except OSError:
            pass
        finally:
            client.close()

    def accept() -> None:
        try:
            while True:
                client, _ = server.accept()
                clients.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for client in clients:
            client.close()


def http(body: bytes, kind: str, *, close: bool = True) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body)
        if not close:
            time.sleep(20)

    return talk


def mjpeg(pictures: list[bytes]) -> bytes:
    head = "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    return b"".join(head.format(len(data)).encode() + data + b"\r\n" for data in pictures)


# ---- frames of a real server ---------------------------------------------------------------------------------------


def test_frames_arrive() -> None:
    with RtspServer() as server, open_live(SourceOptions(address=server.url(), name="yard")) as source:
        assert (source.is_live, source.is_video) == (True, True)
        items = list(itertools.islice(source, 20))
        ages_s = [time.monotonic() - items[-1].frame.time_s]  # type: ignore[operator]
    assert [item.index for item in items] == list(range(20))
    assert {item.name for item in items} == {"yard"}
    times = [item.time_s for item in items]
    assert times[0] == 0
    assert np.diff(times).min() > 0
    assert times[-1] == pytest.approx(19 / 15, abs=0.1)
    captured = [item.frame.time_s for item in items]
    assert sorted(captured) == captured  # type: ignore[type-var]
    assert 0.04 < ages_s[0] < 1  # FFmpeg gives a frame when the next one, 1 / 15 s later, begins
    assert {item.frame.size_wh for item in items} == {(320, 240)}
    assert bars_error(items[-1].frame) <= 12


def test_720p_is_bt709() -> None:
    with RtspServer() as server, open_live(SourceOptions(address=server.url("/live"))) as source:
        frame = next(iter(source)).frame
    assert frame.size_wh == (1280, 720)
    assert bars_error(frame) <= 12


def test_the_size_may_change() -> None:
    sizes = []
    with RtspServer() as server, open_live(SourceOptions(address=server.url("/sizes"))) as source:
        for item in source:
            if item.frame.size_wh not in sizes:
                sizes.append(item.frame.size_wh)
                assert bars_error(item.frame) <= 12
            if len(sizes) == 2:
                break
            assert item.time_s is not None
            assert item.time_s < 5
    assert sizes == [(320, 240), (640, 480)]


def test_a_stall_is_a_loss() -> None:
    with RtspServer() as server, open_live(SourceOptions(address=server.url(), stall_s=0.7)) as source:
        frames = iter(source)
        next(frames)
        server.pause()
        start_s = time.monotonic()
        with pytest.raises(SourceError, match=r"rtsp://127.0.0.1:\d+/small: no frame for 0.7 s$"):
            list(frames)
        assert time.monotonic() - start_s < 2.5


def test_credentials(tmp_path: Path) -> None:
    file = tmp_path / "login"
    with RtspServer("ann:p:w@/ö") as server:
        file.write_text("ann:p:w@/ö\n")
        options = SourceOptions(address=server.url(), credentials_file=str(file))
        with open_live(options) as source:
            assert next(iter(source)).frame.size_wh == (320, 240)
            assert "ann" not in source.shown  # type: ignore[attr-defined]
        file.write_text("ann:secret")
        with pytest.raises(SourceError, match=r"Unauthorized|401") as caught:
            open_live(options)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def watch(url: str, **more: float) -> Capture:
    options = SourceOptions(address=url, **more)  # type: ignore[arg-type]
    box: Mailbox[Item] = Mailbox()
    return Capture("s", url, lambda: open_live(options), box, is_live=True, backoff=Backoff(0.05, 0.2))


def restarts(count: int) -> list[float]:
    """Seconds from the server's `ready` to the next frame, for each time that it was killed and started again."""
    took_s = []
    server = RtspServer()
    capture = watch(server.url(), stall_s=2.0)
    with server:
        capture.start()
        assert capture.box.take(10.0)
        for i in range(count):
            server.kill()
            end_s = time.monotonic() + 5
            while capture.status.state != "lost":
                assert time.monotonic() < end_s
                time.sleep(0.01)
            while capture.box.take(0.0):
                pass
            server.start()
            start_s = time.monotonic()
            assert capture.box.take(10.0), capture.status
            took_s.append(time.monotonic() - start_s)
            assert capture.status.reconnects == i + 1
        assert capture.status.state == "live"
    assert capture.stop()
    return took_s


def test_a_server_that_is_restarted() -> None:
    assert max(restarts(2)) < 5


@pytest.mark.slow
def test_a_server_that_is_restarted_20_times() -> None:
    took_s = restarts(20)
    print(f"back after {np.median(took_s):.2f} s in the median, {max(took_s):.2f} s at most")
    assert max(took_s) < 5


def test_several_sources_at_once() -> None:
    with RtspServer() as server, RtspServer() as other:
        captures = [watch(server.url()), watch(other.url()), watch(server.url("/live"))]
        for capture in captures:
            capture.start()
        sizes = []
        for capture in captures:
            item = capture.box.take(10.0)
            assert item is not None
            sizes.append(item.frame.size_wh)
        other.kill()
        time.sleep(0.5)
        assert [capture.status.state for capture in captures] == ["live", "lost", "live"]
        assert all(capture.stop() for capture in captures)
    assert sizes == [(320, 240), (320, 240), (1280, 720)]


# ---- servers that misbehave ----------------------------------------------------------------------------------------


def nonsense(client: socket.socket) -> None:
    client.recv(1024)
    client.sendall(np.random.default_rng(3).bytes(100_000))


def half_rtsp(client: socket.socket) -> None:
    """Answers well at first, then with a description that is none."""
    while request := client.recv(65536).decode():
        number = request.split("CSeq: ")[1].split("\r\n")[0]
        text = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 \xff\r\n" * 50
        body = text if request.startswith("DESCRIBE") else ""
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}"
        client.sendall(f"{head}\r\n\r\n{body}".encode("latin-1"))


@pytest.mark.parametrize(
    ("scheme", "talk"),
    [
        ("rtsp", nonsense),
        ("rtsp", half_rtsp),
        ("rtsp", lambda client: None),
        ("http", nonsense),
        ("http", http(np.random.default_rng(4).bytes(200_000), "video/mp4")),
        ("http", http(np.random.default_rng(5).bytes(200_000), "multipart/x-mixed-replace; boundary=frame")),
        ("http", http(mjpeg([b"\xff\xd8\xff\xe0 no picture"] * 20), "multipart/x-mixed-replace; boundary=frame")),
        ("http", http(b"", "video/mp4")),
        ("http", http(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "application/vnd.apple.mpegurl")),
    ],
)
def test_garbage_is_a_source_error(scheme: str, talk: Callable[[socket.socket], None]) -> None:
    with tcp_server(talk) as port:
        options = SourceOptions(address=f"{scheme}://127.0.0.1:{port}/x", open_s=2.0, stall_s=1.0)
        with pytest.raises(SourceError, match=rf"^{scheme}://127.0.0.1:{port}/x: "), open_live(options) as source:
            list(source)


def test_a_server_that_does_not_answer() -> None:
    with tcp_server(lambda client: time.sleep(20)) as port:
        start_s = time.monotonic()
        with pytest.raises(SourceError, match=r"no answer within 0.5 s$"):
            open_live(SourceOptions(address=f"rtsp://127.0.0.1:{port}/", open_s=0.5))
        assert time.monotonic() - start_s < 2
    with pytest.raises(SourceError, match="refused"):
        open_live(SourceOptions(address=f"rtsp://127.0.0.1:{free_port()}/"))


def picture(value: int) -> bytes:
    return cv2.imencode(".jpg", np.full((120, 160, 3), value, np.uint8))[1].tobytes()


def test_mjpeg_over_http_and_its_end() -> None:
    pictures = [picture(value) for value in range(0, 250, 10)]
    pictures[20] = pictures[20][:200]
    with tcp_server(http(mjpeg(pictures), "multipart/x-mixed-replace; boundary=frame")) as port:
        options = SourceOptions(address=f"http://127.0.0.1:{port}/video", stall_s=1.0)
        items: list[Item] = []
        with pytest.raises(SourceError, match=r"ended|Input/output error"), open_live(options) as source:
            items.extend(source)
    assert len(items) >= 20
    assert [int(image(item.frame)[60, 80, 1]) for item in items[:20]] == pytest.approx(list(range(0, 200, 10)), abs=2)


def test_a_stop_while_it_opens() -> None:
    """The thread that hangs in FFmpeg is left behind, and ends with its time limit."""
    with tcp_server(lambda client: time.sleep(20)) as port:
        capture = watch(f"rtsp://127.0.0.1:{port}/", open_s=1.5)
        capture.start()
        time.sleep(0.3)
        start_s = time.monotonic()
        capture.stop(0.5)
        assert time.monotonic() - start_s < 1
        assert capture.stop(3.0)


# ---- colours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", ["yuv420p", "nv12", "yuv422p", "yuv444p"])
@pytest.mark.parametrize(("colours", "space"), [("ITU601", 5), ("ITU601", 2), ("ITU709", 1)])
@pytest.mark.parametrize("full", [False, True])
def test_colours(pixels: str, colours: str, space: int, full: bool) -> None:
    sent = np.zeros((48, 7 * 16, 3), np.uint8)
    for i, bar in enumerate(BARS):
        sent[:, 16 * i : 16 * (i + 1)] = bar
    coded = av.VideoFrame.from_ndarray(sent, format="bgr24").reformat(
        format=pixels, dst_colorspace=colours, dst_color_range="JPEG" if full else "MPEG"
    )
    coded.colorspace, coded.color_range = space, 2 if full else 1
    frame = Converter()(coded, 1.5)
    assert frame.time_s == 1.5
    assert (frame.format == "nv12") == (pixels in ("yuv420p", "nv12") and colours == "ITU601" and not full)
    seen = image(frame)[24, 8::16]
    assert np.abs(seen.astype(int) - BARS).max() <= 6


def test_times_rise_whatever_the_source_says() -> None:
    clock = StreamClock()
    told = [None, 5.0, 5.1, 5.2, 4.0, 4.1, None, 4.3, 1e6, 1e6 + 0.1]
    times = [clock(stamp_s, 0.5 * i) for i, stamp_s in enumerate(told)]
    steps = [0.5, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.5, 0.1]
    assert times == pytest.approx(np.cumsum([0.0, *steps]).tolist())


def test_luma_is_not_copied() -> None:
    coded = av.VideoFrame.from_ndarray(np.full((96, 64), 77, np.uint8), format="yuv420p")
    frame = Converter()(coded, 0.0)
    assert np.shares_memory(frame.planes[0], np.frombuffer(coded.planes[0], np.uint8))


def test_odd_sizes_and_absurd_ones() -> None:
    frame = Converter()(av.VideoFrame(35, 21, "yuv420p"), 0.0)
    assert (frame.format, frame.size_wh) == ("bgr8", (35, 21))
    with pytest.raises(ValueError, match="16400 x 2"):
        Converter()(av.VideoFrame(16400, 2, "yuv420p"), 0.0)
