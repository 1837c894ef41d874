"""Sinks: JSON that reads back, pictures that show the people, nothing half-written, no source overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import pose_runtime
import tiny
from pose_runtime.errors import SinkError
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.sinks import window
from pose_runtime.sinks.draw import COLOURS, draw, side_of, to_bgr
from pose_runtime.sinks.jsonl import JsonLines
from pose_runtime.sinks.save import open_save, refuse_source_file
from pose_runtime.sinks.window import Window
from pose_runtime.skeletons import skeleton
from pose_runtime.sources import Item, Source, open_source

NAN = float("nan")


def people(*keypoints: list[tuple[float, float, float]]) -> Poses:
    array = np.array(keypoints, np.float32).reshape(-1, 3, 3)
    return Poses(array, np.full(len(array), 0.5, np.float32), tiny.SKELETON)


ONE = people([(20, 20, 0.9), (100, 20, 0.8), (NAN, NAN, 0)])


def item(
    name: str = "a.jpg", index: int = 0, time_s: float | None = None, size_wh: tuple[int, int] = (128, 96)
) -> Item:
    return Item(name, index, time_s, Frame.from_image(np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)))


def images(folder: Path, *names: str) -> Source:
    folder.mkdir(exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((96, 128, 3), 90, np.uint8))
    return open_source(folder / names[0] if len(names) == 1 else folder)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- JSON Lines --------------------------------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose")
    path = tmp_path / "out.jsonl"
    with JsonLines(path, bundle, "reference") as sink:
        sink.write(item(), ONE)
        assert len(path.read_text().splitlines()) == 2  # readable while it goes
        sink.write(item("v.mp4", 7, 0.28), people())
    header, first, second = map(json.loads, path.read_text().splitlines())
    assert header["bundle"] == bundle.digest
    assert (header["network"], header["graph"]) == ("tiny", "reference")
    assert header["skeleton"] == {"names": ["left_dot", "right_dot", "nose"], "limbs": [[0, 2], [1, 2]]}
    assert isinstance(header["jetpose"], str)
    assert first == {
        "source": "a.jpg",
        "frame": 0,
        "time_s": None,
        "size_wh": [128, 96],
        "people": [{"score": 0.5, "keypoints": [[20.0, 20.0, 0.9], [100.0, 20.0, 0.8], None]}],
    }
    assert second == {"source": "v.mp4", "frame": 7, "time_s": 0.28, "size_wh": [128, 96], "people": []}


def test_json_lines_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "out.jsonl", tiny.write(tmp_path / "tiny.pose"), "reference") as sink:
        sink.write(item("b\udcffd.jpg"), ONE)
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["source"] == "b?d.jpg"


def test_json_lines_that_cannot_be_written(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "tiny.pose")
    for path in (tmp_path, tmp_path / "no" / "out.jsonl"):
        with pytest.raises(SinkError, match="cannot write"):
            JsonLines(path, bundle, "reference")
    if Path("/dev/full").exists():
        with pytest.raises(SinkError, match="No space"):
            JsonLines(Path("/dev/full"), bundle, "reference")


# ---- drawing -----------------------------------------------------------------------------------------------------


def test_sides() -> None:
    assert side_of("left_hip", "left_knee") == "left"
    assert side_of("neck", "right_shoulder") == "right"
    assert side_of("left_hip", "right_hip") == side_of("nose", "neck") == side_of("nose") == "middle"


def test_draws_what_is_there() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    draw(image, people([(100, 100, 1), (500, 100, 1), (300, 300, 1)]))
    for (x, y), side in (((100, 100), "left"), ((500, 100), "right"), ((300, 300), "middle"), ((200, 200), "left")):
        assert tuple(image[y, x]) == COLOURS[side]  # type: ignore[index]
    assert not image[400:].any()
    without = np.zeros_like(image)
    draw(without, people([(100, 100, 1), (NAN, NAN, 0), (NAN, NAN, 0)]))
    assert without[100, 100].any()
    assert not without[150:].any()


def test_boxes_are_rectangles() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    corners = np.array([[[100, 50, 0.8], [300, 250, 0.8]], [[10, 10, 0.5], [NAN, NAN, 0]]], np.float32)
    draw(image, Poses(corners, np.array([0.8, 0.5], np.float32), skeleton("box2")))
    for x, y in ((200, 50), (200, 250), (100, 150), (300, 150)):
        assert tuple(image[y, x]) == COLOURS["middle"]
    assert not image[60:240, 110:290].any()
    assert not image[:40].any()


def standing(height: float, foot_xy: tuple[float, float]) -> Poses:
    """A person of COCO's keypoints, so tall from nose to ankle."""
    points = {
        "nose": (0.0, 0.02), "eye": (0.02, 0.0), "ear": (0.04, 0.01), "shoulder": (0.1, 0.14), "elbow": (0.16, 0.3),
        "wrist": (0.2, 0.45), "hip": (0.06, 0.5), "knee": (0.07, 0.75), "ankle": (0.08, 1.0),
    }  # fmt: skip
    coco = skeleton("coco17")
    rows = []
    for name in coco.names:
        side, _, point = name.rpartition("_")
        sign, (x, y) = {"left": 1.0, "right": -1.0, "": 0.0}[side], points[point]
        rows.append((foot_xy[0] + sign * x * height, foot_xy[1] + (y - 1) * height, 1.0))
    return Poses(np.array([rows], np.float32), np.ones(1, np.float32), coco)


@pytest.mark.parametrize(("height", "share"), [(48, 0.7), (96, 0.38), (200, 0.18)])
@pytest.mark.parametrize("ground", [20, 128, 240])
def test_people_of_any_size_stay_readable(height: int, share: float, ground: int) -> None:
    """In a frame of 320 x 240: each side's colour stands on its side, and the person's own pixels are not all covered.

    share: of the box around the person that may be covered.
    """
    poses = standing(height, (160.0, 230.0))
    image = np.full((240, 320, 3), ground, np.uint8)
    draw(image, poses)
    covered = np.abs(image.astype(int) - ground).max(axis=2) > 50
    assert covered.sum() < share * (0.4 * height) * height
    for side in ("left", "right"):
        pixels = np.argwhere(np.abs(image.astype(int) - COLOURS[side]).max(axis=2) < 50)  # type: ignore[index]
        assert len(pixels) > height / 2
        assert (np.sign(pixels[:, 1] - 160) == (1 if side == "left" else -1)).mean() > 0.95
    rows = np.flatnonzero(covered.any(axis=1))
    assert 230 - height - 4 <= rows[0] <= 230 - height + 2
    assert 228 <= rows[-1] <= 234


def test_keypoints_in_one_place_are_drawn() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    draw(image, people([(60, 50, 1), (60, 50, 1), (NAN, NAN, 0)]))
    assert image[50, 60].any()
    assert not image[:40].any()


@pytest.mark.parametrize("size_wh", [(1, 1), (5, 3), (7680, 4320)])
@pytest.mark.parametrize("far", [0.0, -20.0, 1e5, -3e38, float("inf"), NAN])
def test_draws_anything(size_wh: tuple[int, int], far: float) -> None:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    draw(image, people([(far, 1, 1), (1, far, 1), (far, far, 1)]))
    draw(image, people())


def test_any_format_is_shown() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 2] = 200
    padded = np.zeros((4, 32), np.uint8)
    padded[:, :18] = image.reshape(4, 18)
    yuv = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    nv12 = (yuv[:4].copy(), yuv[4:].reshape(2, -1).T.reshape(2, 6).copy())
    yuyv = np.empty((4, 6, 2), np.uint8)
    yuyv[..., 0], yuyv[:, ::2, 1], yuyv[:, 1::2, 1] = nv12[0], nv12[1][0, 0], nv12[1][0, 1]
    for frame, within in (
        (Frame.from_image(image), 0),
        (Frame.from_image(np.ascontiguousarray(image[..., ::-1]), "rgb8"), 0),
        (Frame((padded.reshape(-1)[: 3 * 32 + 18].copy(),), "bgr8", (6, 4), (32,)), 0),
        (Frame(nv12, "nv12", (6, 4), (6, 6)), 4),
        (Frame((yuyv,), "yuyv", (6, 4), (12,)), 4),
    ):
        shown = to_bgr(frame)
        assert np.abs(shown.astype(int) - image).max() <= within, frame.format
        shown[...] = 1  # a copy
    assert image[0, 0, 2] == 200
    assert (to_bgr(Frame.from_image(image[..., 2].copy(), "gray8")) == 200).all()


# ---- images and videos -------------------------------------------------------------------------------------------


def test_saves_one_image(tmp_path: Path) -> None:
    source = images(tmp_path / "in", "a.png")
    with open_save(tmp_path / "out.png", source) as sink:
        sink.write(next(iter(source)), ONE)
    image = cv2.imread(str(tmp_path / "out.png"))
    assert tuple(image[20, 20]) == COLOURS["left"]
    assert tuple(image[80, 60]) == (90, 90, 90)
    assert names_in(tmp_path) == ["in", "out.png"]


def test_saves_a_folder(tmp_path: Path) -> None:
    source = images(tmp_path / "in", "a.png", "b.jpg", "c.webp")
    with open_save(tmp_path / "x" / "out", source) as sink:
        for i in source:
            sink.write(i, ONE)
    assert names_in(tmp_path / "x" / "out") == ["a.png", "b.jpg", "c.webp"]


def test_an_image_without_a_suffix_becomes_png(tmp_path: Path) -> None:
    images(tmp_path / "in", "a.png")
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "photo.1")
    with open_source(tmp_path / "in" / "photo.1") as source, open_save(tmp_path / "out", source) as sink:
        for i in source:
            sink.write(i, ONE)
    assert names_in(tmp_path / "out") == ["photo.png"]


def test_same_names_are_numbered(tmp_path: Path) -> None:
    images(tmp_path / "in1", "a.png")
    images(tmp_path / "in2", "a.png")
    source = open_source(tmp_path / "in*" / "a.png")
    with open_save(tmp_path / "out", source) as sink:
        for i in source:
            sink.write(i, ONE)
    assert names_in(tmp_path / "out") == ["a_000000.png", "a_000001.png"]


def test_never_overwrites_a_source(tmp_path: Path) -> None:
    one, several = images(tmp_path / "in", "a.png"), images(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for path, source in (
        (tmp_path / "in" / "a.png", one),
        (tmp_path / "in" / ".." / "in" / "a.png", one),
        (tmp_path / "link" / "a.png", one),
        (tmp_path / "in", several),
        (tmp_path / "link", several),
    ):
        with pytest.raises(SinkError, match="is read from"):
            open_save(path, source)
    with pytest.raises(SinkError, match="is read from"):
        refuse_source_file(tmp_path / "link" / "b.png", several)


def test_numbered_names_do_not_meet_a_source(tmp_path: Path) -> None:
    images(tmp_path / "in1", "a.png")
    images(tmp_path / "in2", "a.png", "a_000000.png")
    source = open_source(tmp_path / "in*" / "*.png")
    first = next(iter(source))
    with open_save(tmp_path / "in2", source) as sink, pytest.raises(SinkError, match="is read from"):
        sink.write(first, ONE)


def test_targets_that_do_not_suit(tmp_path: Path) -> None:
    one, several = images(tmp_path / "in", "a.png"), images(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "file").write_text("here")
    for path, source, words in (
        (tmp_path / "out.jpg", several, "there are more"),
        (tmp_path / "out.gif", one, "suffix .gif"),
        (tmp_path / "no" / "out.jpg", one, "no such folder"),
        (tmp_path / "file" / "out", several, "cannot make this folder"),
        (tmp_path / "file", several, "cannot make this folder"),
    ):
        with pytest.raises(SinkError, match=words):
            open_save(path, source)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_saves_a_video(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("av")
    source = images(tmp_path / "in", "a.png")
    times = [0.5, 0.54, 0.7, 0.7, 0.71]
    colour = np.zeros((97, 129, 3), np.uint8)
    colour[...] = (200, 60, 20)
    with open_save(tmp_path / f"out{suffix}", source) as sink:
        for i, time_s in enumerate(times):
            sink.write(Item("v", i, time_s, Frame.from_image(colour)), people())
            assert f"out{suffix}" not in names_in(tmp_path)
    assert names_in(tmp_path) == ["in", f"out{suffix}"]
    read = list(open_source(tmp_path / f"out{suffix}"))
    assert [i.time_s for i in read] == pytest.approx([0.0, 0.04, 0.2, 0.2, 0.21], abs=2e-3)
    assert read[0].frame.size_wh == (130, 98)
    assert np.abs(to_bgr(read[2].frame).astype(int) - (200, 60, 20)).max() < 6


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    source = images(tmp_path / "in", "a.png")
    sink = open_save(tmp_path / "out.mp4", source)
    sink.write(item(), ONE)
    with pytest.raises(SinkError, match="got a frame of 64 x 64, wanted 128 x 96"), sink:
        sink.write(item(size_wh=(64, 64)), ONE)
    with open_save(tmp_path / "out.mp4", source):
        pass  # no frames
    assert names_in(tmp_path) == ["in"]


def test_frames_of_a_video_into_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with open_save(tmp_path / "v.mp4", images(tmp_path / "in", "a.png")) as sink:
        for i in range(3):
            sink.write(item("v", i), ONE)
    with open_source(tmp_path / "v.mp4") as source, open_save(tmp_path / "out", source) as sink:
        for frame in source:
            sink.write(frame, ONE)
    assert names_in(tmp_path / "out") == ["v_000000.jpg", "v_000001.jpg", "v_000002.jpg"]


# ---- window ------------------------------------------------------------------------------------------------------


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match="no display"):
        Window()
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(SinkError, match="does not answer"):
        Window()


def test_a_full_disk_leaves_no_video(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: FFmpeg then fails again when it is closed."""
    pytest.importorskip("av")
    code = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from pose_runtime.errors import SinkError
from pose_runtime.video import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
writer = VideoWriter(Path(sys.argv[1]), 25)
try:
    for i in range(40):
        writer.write(np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8), i, None)
    writer.close()
except SinkError as error:
    writer.abandon()
    print(error)
"""
    environment = {"PYTHONPATH": str(Path(pose_runtime.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.mp4")], capture_output=True, text=True, env=environment
    )
    assert "out.mp4: cannot write the video: File too large" in done.stdout, done.stderr
    assert names_in(tmp_path) == []


def test_closing_the_window_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    visible, shown = [1.0, 0.0], []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    for name in ("namedWindow", "resizeWindow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda _: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: visible.pop(0))
    with Window() as open_one:
        open_one.write(item(), ONE)
        assert not open_one.finished
        open_one.write(item(), ONE)
        assert open_one.finished
    assert shown[0].shape == (480, 640, 3)  # a small frame, enlarged
    for x, side in ((20, "left"), (100, "right")):
        assert tuple(shown[0][round(20.5 * 5), round((x + 0.5) * 5)]) == COLOURS[side]  # type: ignore[index]


@pytest.mark.parametrize(
    ("size_wh", "shown"),
    [((128, 96), (640, 480)), ((640, 360), (640, 360)), ((720, 1280), (720, 1280)), ((3840, 2160), (1280, 720)),
     ((1, 3000), (1, 1280)), ((1, 1), (640, 640))],
)  # fmt: skip
def test_what_a_window_shows_is_of_a_handy_size(size_wh: tuple[int, int], shown: tuple[int, int]) -> None:
    assert window._shown_size(size_wh) == shown


def test_a_picture_stays_until_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [-1, -1, -1, ord("q")]
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    for name in ("namedWindow", "resizeWindow", "imshow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _: keys.pop(0))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    with Window(hold=True) as held:
        held.write(item(), ONE)
        assert len(keys) == 3
    assert keys == []
    with Window(hold=True):
        pass  # nothing to look at


def test_a_png_takes_no_jpeg_quality(tmp_path: Path) -> None:
    """OpenCV would print a warning; in a process of its own, as something may have silenced it here."""
    code = """
import sys, numpy as np
from pathlib import Path
from pose_runtime.sinks.save import write_image
for suffix in ("png", "jpg", "webp", "bmp"):
    write_image(Path(sys.argv[1]) / f"a.{suffix}", np.full((8, 8, 3), 90, np.uint8))
"""
    environment = {"PYTHONPATH": str(Path(pose_runtime.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names_in(tmp_path)) == 4
