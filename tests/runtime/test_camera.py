"""Cameras, on a fake driver that child processes preload in place of the kernel's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pose_runtime.errors import SourceError
from pose_runtime.sources.camera import Mode, choose
from pose_runtime.sources.live import SourceOptions

FAKE = Path(__file__).parents[1] / "fakes" / "v4l2.c"
HEAD = """
    import itertools, json, os, threading, time
    from pathlib import Path
    import numpy as np
    from pose_runtime.errors import SourceError
    from pose_runtime.sources.live import SourceOptions, open_live
    said = Path(os.environ["FAKE_V4L2"])
    def options(**more):
        return SourceOptions(address="camera:9", **more)
    def take(source, count):
        return list(itertools.islice(source, count))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the fake driver")
    path = tmp_path_factory.mktemp("fake") / "v4l2.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, FAKE, "-ldl"], check=True)
    return path


class Child:
    def __init__(self, library: Path, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAKE_V4L2": str(folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def __call__(self, code: str, *said: str) -> Any:
        """What a process that sees the camera prints."""
        for name in said:
            (self.folder / name).touch()
        text = textwrap.dedent(HEAD) + textwrap.dedent(code)
        done = subprocess.run([sys.executable, "-c", text], env=self.env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)


@pytest.fixture
def child(library: Path, tmp_path: Path) -> Child:
    return Child(library, tmp_path)


@pytest.mark.parametrize(("format", "kind"), [("YUYV", "yuyv"), ("NV12", "nv12")])
def test_frames_lie_in_the_drivers_memory(child: Child, format: str, kind: str) -> None:  # noqa: A002
    seen = child(
        f"""
        from pose_runtime.sources import camera
        source = open_live(options(format="{format}", size_wh=(640, 480), name="door"))
        items, late = [], []
        for item in source:
            late.append(time.monotonic() - item.frame.time_s)
            frame = item.frame
            shared = any(np.shares_memory(plane, np.frombuffer(m, np.uint8)) for m in source._maps
                         for plane in frame.planes)
            first = frame.planes[0]
            step = 2 if frame.format == "yuyv" else 1
            pixels = first[: 480 * frame.strides[0]].reshape(480, -1)[:, : 640 * step : step]
            items.append([item.name, item.index, item.time_s, frame.format, frame.size_wh, frame.strides[0], shared,
                          int(pixels.min()), int(pixels.max())])
            if len(items) == 30:
                break
        print(json.dumps([items, sorted(late)[15], source.shown, source.is_live]))
        """
    )
    items, late_s, shown, is_live = seen
    assert is_live
    assert shown == f"/dev/video9 Fake camera: {format} 640 x 480 at 30 FPS"
    assert 0 <= late_s < 0.05
    for i, (name, index, time_s, frame_format, size, stride, shared, low, high) in enumerate(items):
        assert (name, index, frame_format, size, shared) == ("door", i, kind, [640, 480], True)
        assert stride == 640 * (2 if kind == "yuyv" else 1) + 64
        assert time_s == pytest.approx(i / 30, abs=1e-4)
        assert low == high == 16 + i


def test_a_held_frame_keeps_its_pixels(child: Child) -> None:
    """More frames are held than the driver has buffers, also after the camera is closed."""
    values = child(
        """
        source = open_live(options(format="YUYV", size_wh=(640, 480)))
        held = take(source, 20)
        before = [int(item.frame.planes[0][0]) for item in held]
        source.close()
        print(json.dumps([before, [int(item.frame.planes[0][0]) for item in held]]))
        """
    )
    assert values == [[16 + i for i in range(20)]] * 2


def test_mjpg_is_decoded_in_full_range(child: Child) -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    bars = [
        (0, 0, 0),
        (255, 255, 255),
        (0, 0, 255),
        (0, 255, 0),
        (255, 0, 0),
        (40, 80, 160),
        (128, 128, 128),
        (9, 9, 9),
    ]
    for i, colour in enumerate(bars):
        picture[:, 160 * i : 160 * (i + 1)] = colour
    cv2.imwrite(str(child.folder / "frame.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    shown, kind, pixels = child(
        """
        source = open_live(options())
        frame = next(iter(source)).frame
        image = frame.planes[0][: 720 * frame.strides[0]].reshape(720, -1)[:, : 3 * 1280].reshape(720, 1280, 3)
        print(json.dumps([source.shown, frame.format, image[360, 80::160].tolist()]))
        """
    )
    assert shown == "/dev/video9 Fake camera: MJPG 1280 x 720 at 30 FPS"  # YUYV gives 10 only
    assert kind == "bgr8"
    assert np.abs(np.array(pixels) - bars).max() <= 4


def test_damaged_frames_are_left_out(child: Child) -> None:
    good = child(
        """
        source = open_live(options(format="NV12"))
        print(json.dumps([int(item.frame.planes[0][0]) for item in take(source, 5)]))
        """,
        "damaged",
    )
    assert good == [16, 18, 20, 22, 24]


@pytest.mark.parametrize("data", [b"", b"no picture", None])
def test_a_camera_that_gives_no_whole_jpeg_stalls(child: Child, data: bytes | None) -> None:
    if data is None:
        noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
        data = cv2.imencode(".jpg", noise)[1].tobytes()[:100_000]
    (child.folder / "frame.jpg").write_bytes(data)
    said = child(
        """
        source = open_live(options(stall_s=0.3))
        start = time.monotonic()
        try:
            next(iter(source))
        except SourceError as error:
            print(json.dumps([str(error), time.monotonic() - start]))
        """
    )
    assert said[0] == "camera:9: no frame for 0.3 s"
    assert said[1] < 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("absent", "there is no such camera"),
        ("denied", "group `video`"),
        ("busy", "another process uses it"),
        ("unplugged", "it was unplugged"),
        ("few", "memory for 2 frames"),
    ],
)
def test_a_camera_that_cannot_be_opened(child: Child, said: str, message: str) -> None:
    text, left = child(
        """
        before = len(os.listdir("/proc/self/fd"))
        try:
            open_live(options())
        except SourceError as error:
            print(json.dumps([str(error), len(os.listdir("/proc/self/fd")) - before]))
        """,
        said,
    )
    assert message in text
    assert text.startswith(("/dev/video9: ", "camera:9: "))
    assert left == 0


@pytest.mark.parametrize(("said", "message"), [("unplugged", "it was unplugged"), ("stalled", "no frame for 0.5 s")])
def test_a_camera_that_goes(child: Child, said: str, message: str) -> None:
    text, took_s = child(
        f"""
        source = open_live(options(format="NV12", stall_s=0.5))
        frames = iter(source)
        held = [next(frames) for _ in range(5)]
        (said / "{said}").touch()
        start = time.monotonic()
        try:
            for item in frames:
                pass
        except SourceError as error:
            took = time.monotonic() - start
            source.close()
            held[4].frame.planes[0].sum()
            print(json.dumps([str(error), took]))
        """
    )
    assert text == f"camera:9: {message}"
    assert took_s < 1.5


def test_interrupt_ends_the_wait(child: Child) -> None:
    took_s = child(
        """
        source = open_live(options(format="NV12", stall_s=30))
        frames = iter(source)
        next(frames)
        (said / "stalled").touch()
        threading.Timer(0.3, source.interrupt).start()
        start = time.monotonic()
        left = list(frames)
        print(json.dumps(time.monotonic() - start))
        source.close()
        source.close()
        source.interrupt()
        """
    )
    assert took_s < 1.0


def test_a_capture_comes_back_to_a_camera_plugged_in_again(child: Child) -> None:
    states, reconnects = child(
        """
        import logging
        logging.disable()
        from pose_runtime.live.backoff import Backoff
        from pose_runtime.live.capture import Capture
        from pose_runtime.live.mailbox import Mailbox
        (said / "absent").touch()
        box = Mailbox()
        opened = options(format="NV12", stall_s=1.0)
        capture = Capture("cam", "camera:9", lambda: open_live(opened), box, is_live=True,
                          backoff=Backoff(0.05, 0.1))
        capture.start()
        time.sleep(0.3)
        states = [capture.status.state]
        for _ in range(3):
            (said / "absent").unlink(missing_ok=True)
            (said / "unplugged").unlink(missing_ok=True)
            item = box.take(5.0)
            states.append(capture.status.state if item else "nothing")
            (said / "unplugged").touch()
            time.sleep(0.3)
            states.append(capture.status.state)
            box.take(0.0)
        assert capture.stop(), "hangs"
        print(json.dumps([states, capture.status.reconnects]))
        """
    )
    assert states == ["lost", *["live", "lost"] * 3]
    assert reconnects == 3


def test_what_a_camera_offers(child: Child) -> None:
    found = child(
        """
        from pose_runtime.sources import v4l2
        info = v4l2.describe(Path("/dev/video9"))
        print(json.dumps([info.name, [[m.format, m.size_wh, m.fps] for m in info.modes]]))
        """
    )
    assert found == [
        "Fake camera",
        [
            ["YUYV", [640, 480], [30.0]],
            ["YUYV", [1280, 720], [10.0]],
            ["NV12", [640, 480], [30.0]],
            ["MJPG", [1280, 720], [30.0]],
            ["RG10", [640, 480], [60.0]],
        ],
    ]


MODES = (
    Mode("YUYV", (640, 480), (30.0, 15.0)),
    Mode("YUYV", (1280, 720), (10.0,)),
    Mode("MJPG", (1280, 720), (60.0, 30.0)),
    Mode("MJPG", (1920, 1080), (30.0,)),
    Mode("NV12", (640, 480), ()),
    Mode("RG10", (1280, 720), (60.0,)),
)


@pytest.mark.parametrize(
    ("wanted", "mode"),
    [
        ({}, MODES[2]),
        ({"fps": 10.0}, MODES[1]),
        ({"format": "yuyv"}, MODES[1]),
        ({"size_wh": (640, 480), "fps": 15.0}, MODES[4]),
        ({"size_wh": (1920, 1080)}, MODES[3]),
        ({"format": "NV12"}, MODES[4]),
    ],
)
def test_the_nearest_mode(wanted: dict[str, Any], mode: Mode) -> None:
    assert choose(MODES, SourceOptions(address="camera:0", **wanted), "camera:0") is mode


@pytest.mark.parametrize(
    ("modes", "wanted", "message"),
    [
        (MODES, {"format": "GREY"}, "camera:0: format: got GREY, it offers YUYV, MJPG, NV12"),
        (MODES, {"size_wh": (800, 600)}, "camera:0: size: got 800x600, it offers 640x480, 1280x720, 1920x1080"),
        (MODES[5:], {}, "camera:0: offers RG10, wanted one of NV12, YUYV"),
        ((), {}, "camera:0: offers nothing"),
    ],
)
def test_what_no_camera_offers(modes: tuple[Mode, ...], wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        choose(modes, SourceOptions(address="camera:0", **wanted), "camera:0")
