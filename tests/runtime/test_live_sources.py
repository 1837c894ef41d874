"""What live sources are called, and the thread that reads one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from pose_runtime.errors import SourceError
from pose_runtime.frame import Frame
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.capture import Capture
from pose_runtime.live.mailbox import Closed, Mailbox
from pose_runtime.sources import Item, Source
from pose_runtime.sources.live import SourceOptions, open_live, redacted, with_credentials


@pytest.mark.parametrize(
    ("address", "title", "is_live"),
    [
        ("camera:0", "camera0", True),
        ("/dev/video12", "camera12", True),
        ("csi:1", "csi1", True),
        ("rtsp://ann:secret@10.0.0.7:554/stream/1?token=abc", "10.0.0.7-554-stream-1", True),
        ("https://host/", "host", True),
        ("gst:videotestsrc", "gst", True),
        ("a folder/clip.mp4", "clip", False),
        ("camera:x", "camera-x", False),
    ],
)
def test_addresses(address: str, title: str, is_live: bool) -> None:
    options = SourceOptions(address=address)
    assert (options.title, options.is_live) == (title, is_live)


@pytest.mark.parametrize(
    "bad",
    [
        {"address": ""},
        {"address": "camera:0", "name": "a b"},
        {"address": "camera:0", "stall_s": 0},
        {"address": "camera:0", "fps": -1},
        {"address": "camera:0", "size_wh": [0, 720]},
        {"address": "camera:0", "size_wh": [640, 99999]},
        {"address": "camera:0", "format": "a/b"},
        {"address": "camera:0", "colour": 1},
    ],
)
def test_options_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, SourceOptions)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://ann:p%40w@host/a", "rtsp://host/a"),
        ("http://host/a?token=abc&x=1", "http://host/a?token=***&x=1"),
        ("gst:rtspsrc location=rtsp://u:p@h/ user-pw=x ! a", "gst:rtspsrc location=rtsp://h/ user-pw=*** ! a"),
        ("camera:0", "camera:0"),
    ],
)  # fmt: skip
def test_nobody_reads_credentials(address: str, shown: str) -> None:
    assert redacted(address) == shown


def test_credentials_files(tmp_path: Path) -> None:
    file = tmp_path / "login"
    options = SourceOptions(address="rtsp://old:one@host:554/a", credentials_file=str(file))
    file.write_bytes("ann:p@:/ß\r\n".encode())
    assert with_credentials(options) == "rtsp://ann:p%40%3A%2F%C3%9F@host:554/a"
    for bad in (b"", b"ann", b":secret", b"ann:secret\nsecond", b"ann:\xff\xfesecret", b"ann:" + b"secret" * 9999):
        file.write_bytes(bad)
        with pytest.raises(SourceError, match="user:password") as caught:
            with_credentials(options)
        assert "secret" not in str(caught.value)
    file.unlink()
    with pytest.raises(SourceError, match="No such file"):
        with_credentials(options)
    with pytest.raises(SourceError, match="only rtsp:// and http://"):
        open_live(SourceOptions(address="camera:0", credentials_file=str(file)))


def test_files_go_to_open_source(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with open_live(SourceOptions(address=str(tmp_path))) as source:
        assert not source.is_live
        assert len(list(source)) == 1


# ---- the thread ----------------------------------------------------------------------------------------------------


class Script(Source):
    """Frames, then an end or an error; or nothing until it is interrupted."""

    is_live = True

    def __init__(self, frames: int, end: str | None = None, *, hang: bool = False) -> None:
        self.frames, self.end, self.hang = frames, end, hang
        self.closed = False
        self.interrupted = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for i in range(self.frames):
            yield Item("s", i, i / 30, Frame.from_image(np.zeros((6, 8), np.uint8), "gray8", i / 30))
        if self.hang:
            self.interrupted.wait(20)
        elif self.end is not None:
            raise SourceError(self.end)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed = True


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def capture_of(script: list[Script | str], waits: list[float], box: Mailbox[Item] | None = None) -> Capture:
    """Opens what the script says, one after the other; a text is an error; the last one is for ever."""

    def factory() -> Source:
        step = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(step, str):
            raise SourceError(step)
        return step

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    return Capture("cam", "camera:0", factory, box or Mailbox(), is_live=True, backoff=Backoff(1.0, 8.0), wait=wait)


def test_it_comes_back_and_says_each_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    waits: list[float] = []
    last = Script(1, hang=True)
    first = Script(3, "unplugged")
    capture = capture_of(["absent", "absent", "absent", first, "absent", "absent", last], waits, Mailbox(9))
    assert capture.status.state == "connecting"
    capture.start()
    until(lambda: capture.status.frames == 4)
    status = capture.status
    assert (status.state, status.reconnects, status.error) == ("live", 2, "absent")
    assert (status.size_wh, status.format) == ((8, 6), "gray8")
    bounds = [1, 2, 4, 1, 2, 4]  # a frame came after the third
    assert len(waits) == 6
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert first.closed
    assert capture.stop()
    assert last.closed
    assert last.interrupted.is_set()
    assert capture.status.state == "ended"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "source cam: lost: absent",
        "source cam: back",
        "source cam: lost: unplugged",
        "source cam: back",
    ]


def test_the_end_of_a_live_source_is_a_loss() -> None:
    capture = capture_of([Script(1), Script(1, hang=True)], [])
    capture.start()
    until(lambda: capture.status.reconnects == 1)
    assert capture.status.error == "camera:0: it ended"
    assert capture.stop()


def test_frames_that_nobody_takes_are_counted() -> None:
    capture = capture_of([Script(50, hang=True)], [])
    capture.start()
    until(lambda: capture.status.frames == 50)
    assert capture.status.dropped == 49
    item = capture.box.take(1.0)
    assert item is not None
    assert item.index == 49
    assert capture.stop()


def test_waiting_for_frames_is_no_work() -> None:
    capture = capture_of([Script(1, hang=True)], [])
    capture.start()
    until(lambda: capture.status.frames == 1)
    assert capture.pulse.busy_s == 0
    assert capture.stop()


def test_rate_of_the_last_seconds() -> None:
    now_s = [100.0]
    source = Script(0, hang=True)
    capture = Capture("c", "c", lambda: source, Mailbox(), is_live=True, clock=lambda: now_s[0])
    assert capture.status.fps == 0
    frame = Item("s", 0, 0.0, Frame.from_image(np.zeros((2, 2), np.uint8), "gray8"))
    for _ in range(300):
        capture._came(frame)
        now_s[0] += 0.1
    assert capture.status.fps == pytest.approx(10, rel=0.03)
    now_s[0] += 5
    assert capture.status.fps == 0


def test_a_file_drops_nothing_and_ends(tmp_path: Path) -> None:
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), i, np.uint8))
    options = SourceOptions(address=str(tmp_path))
    box: Mailbox[Item] = Mailbox(2, drops=False)
    capture = Capture("f", "f", lambda: open_live(options), box, is_live=options.is_live)
    capture.start()
    seen: list[int] = []

    def take_all() -> None:
        while item := box.take(5.0):
            seen.append(int(item.frame.planes[0].flat[0]))

    with pytest.raises(Closed):
        take_all()
    assert seen == list(range(12))
    assert capture.stop()
    assert (capture.status.state, capture.status.dropped, capture.error) == ("ended", 0, None)


def test_a_file_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    capture = Capture(
        "f", "f", lambda: open_live(SourceOptions(address=str(tmp_path / "no.mp4"))), Mailbox(), is_live=False
    )
    with pytest.raises(SourceError, match="no such file"):
        capture.start()
    assert capture.stop()


def test_a_file_that_breaks_off_says_why() -> None:
    box: Mailbox[Item] = Mailbox(4, drops=False)
    capture = Capture("f", "f", lambda: Script(2, "damaged"), box, is_live=False)
    capture.start()
    assert [box.take(5.0) is not None for _ in range(2)] == [True, True]
    with pytest.raises(Closed):
        box.take(5.0)
    assert capture.stop()
    assert str(capture.error) == "damaged"


def test_a_stop_while_it_waits_to_come_back() -> None:
    def absent() -> Source:
        raise SourceError("absent")

    capture = Capture("c", "c", absent, Mailbox(), is_live=True, backoff=Backoff(60.0, 60.0))
    capture.start()
    until(lambda: capture.status.state == "lost")
    start_s = time.monotonic()
    assert capture.stop()
    assert time.monotonic() - start_s < 1


def test_a_stop_while_an_opening_hangs() -> None:
    release, source = threading.Event(), Script(5)

    def hang() -> Source:
        release.wait(20)
        return source

    capture = Capture("c", "c", hang, Mailbox(), is_live=True)
    capture.start()
    start_s = time.monotonic()
    assert not capture.stop(0.3)
    assert time.monotonic() - start_s < 1
    release.set()
    assert capture.stop(5.0)
    assert source.closed
    assert capture.status.frames == 0
