"""Sources: the right frames in the right order, upright; damaged files give one line that names them."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_runtime.errors import SourceError
from pose_runtime.sources import Item, open_source
from pose_runtime.sources.images import natural, read_image

PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8), (9, 9), 4)
SUFFIXES = [".jpg", ".png", ".bmp", ".webp"]


def encoded(suffix: str, image: np.ndarray = PHOTO) -> bytes:
    ok, data = cv2.imencode(suffix, image)
    assert ok
    return bytes(data.tobytes())


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def all_of(path: Path | str) -> list[Item]:
    with open_source(path) as source:
        return list(source)


def error_of(path: Path) -> str | None:
    """What reading all of it raises, None where it can be read."""
    try:
        all_of(path)
    except SourceError as error:
        return str(error)
    return None


def pixels(item: Item) -> np.ndarray:
    width, height = item.frame.size_wh
    return item.frame.planes[0].reshape(height, width, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_image(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path / f"a{suffix}", encoded(suffix))
    (item,) = all_of(path)
    assert (item.name, item.index, item.time_s, item.frame.size_wh) == (str(path), 0, None, (80, 60))
    assert item.frame.format == "bgr8"
    assert np.abs(pixels(item).astype(int) - PHOTO).mean() < 4
    assert all_of(put(tmp_path / "no_suffix", encoded(suffix)))[0].frame.size_wh == (80, 60)


def test_other_pixel_types(tmp_path: Path) -> None:
    for image in (PHOTO[..., 0], np.dstack([PHOTO, PHOTO[..., :1]]), PHOTO.astype(np.uint16) * 257):
        assert read_image(put(tmp_path / "a.png", encoded(".png", image))).shape == (60, 80, 3)
    assert read_image(put(tmp_path / "a.png", encoded(".png", PHOTO[:1, :1]))).shape == (1, 1, 3)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, None), (3, cv2.ROTATE_180), (6, cv2.ROTATE_90_CLOCKWISE), (8, cv2.ROTATE_90_COUNTERCLOCKWISE)],
)
def test_orientation(tmp_path: Path, orientation: int, upright: int | None) -> None:
    image = read_image(put(tmp_path / "a.jpg", with_orientation(encoded(".jpg"), orientation)))
    plain = cv2.imdecode(np.frombuffer(encoded(".jpg"), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, plain if upright is None else cv2.rotate(plain, upright))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.97])
def test_truncated(tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(suffix)
    path = put(tmp_path / f"a{suffix}", data[: max(1, int(share * len(data)))])
    with pytest.raises(SourceError) as raised:
        all_of(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_damaged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for suffix in SUFFIXES:
        for _ in range(40):
            data = bytearray(encoded(suffix))
            for at in rng.integers(0, len(data), 5):
                data[at] = rng.integers(256)
            error = error_of(put(tmp_path / f"a{suffix}", bytes(data)))
            assert error is None or f"a{suffix}" in error
    noise = capfd.readouterr().err.splitlines()
    assert all("JPEG" in line for line in noise)  # libjpeg remarks on what it could decode nevertheless


def test_absurdly_large(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(99)))
            + chunk(b"IEND", b"")
        )

    for width, height in ((30000, 30000), (16385, 1), (1, 16385), (16000, 16000), (0, 5), (2**31, 2**31)):
        with pytest.raises(SourceError, match=f"{width} x {height}"):
            all_of(put(tmp_path / "a.png", png(width, height)))


def test_what_is_not_there(tmp_path: Path) -> None:
    empty = put(tmp_path / "empty.jpg", b"")
    text = put(tmp_path / "text.jpg", b"hello, this is text")
    (tmp_path / "folder").mkdir()
    for name, words in (
        (tmp_path / "none.jpg", "no such file"),
        (empty, "is empty"),
        (text, "no JPEG, PNG, BMP or WebP"),
        (put(tmp_path / "text", b"hello, this is text"), "neither an image nor a video"),
        (tmp_path / "folder", "no images"),
        (tmp_path / "*.gif", "no file matches"),
        ("/dev/null", "neither a file nor a folder"),
        ("", "no images"),
    ):
        with pytest.raises(SourceError, match=words):
            all_of(name)


def test_folder_is_in_natural_order(tmp_path: Path) -> None:
    names = ["img1.jpg", "img2.PNG", "img10.jpg", "img010.png", "z.webp"]
    for name in reversed(names):
        put(tmp_path / name, encoded(Path(name).suffix.lower()))
    put(tmp_path / "notes.txt", b"no image")
    put(tmp_path / ".hidden.jpg", b"")
    (tmp_path / "sub.jpg").mkdir()
    (tmp_path / "sub.jpg").rmdir()
    items = all_of(tmp_path)
    assert sorted(Path(item.name).name for item in items) == sorted(names)
    assert [Path(item.name).name for item in items][:2] == names[:2]
    assert [item.index for item in items] == list(range(5))
    assert [Path(item.name).name for item in all_of(tmp_path / "img*.jpg")] == ["img1.jpg", "img10.jpg"]
    assert [p.name for p in sorted(map(Path, ["b2", "a10", "a9", "A1"]), key=natural)] == ["A1", "a9", "a10", "b2"]


def test_bad_images_of_a_folder_are_skipped(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path / f"{i}.jpg", encoded(".jpg"))
    put(tmp_path / "1.jpg", b"")
    put(tmp_path / "2.jpg", encoded(".jpg")[:500])
    bad: list[SourceError] = []
    with open_source(tmp_path, on_bad=bad.append) as source:
        assert [item.index for item in source] == [0, 3]
        assert source.count == 4
        assert source.skipped == 2
    assert [str(error).split(":")[0] for error in bad] == [str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]
    with pytest.raises(SourceError, match=r"1\.jpg"):
        all_of(tmp_path)


# ---- video -----------------------------------------------------------------------------------------------------


def make_video(path: Path, times: list[float], size_wh: tuple[int, int] = (64, 48)) -> Path:
    """Grey frames, brighter with time, with a white patch in the upper left corner."""
    from pose_runtime.video import VideoWriter

    writer = VideoWriter(path, 25.0)
    for i, time_s in enumerate(times):
        image = np.full((size_wh[1], size_wh[0], 3), 20 + 15 * i, np.uint8)
        image[: size_wh[1] // 3, : size_wh[0] // 3] = 255
        writer.write(image, i, time_s)
    writer.close()
    return path


def test_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    times = [0.0, 0.04, 0.08, 0.2, 0.25, 0.29]
    path = make_video(tmp_path / "a.mp4", times)
    with open_source(path) as source:
        assert source.is_video
        assert source.count == len(times)
        items = list(source)
    assert [item.index for item in items] == list(range(len(times)))
    assert [item.time_s for item in items] == pytest.approx(times, abs=1e-3)
    assert all(item.frame.time_s is None for item in items)  # a file has no clock of this machine
    for i, item in enumerate(items):
        assert item.frame.size_wh == (64, 48)
        assert np.abs(pixels(item)[30:, 30:].astype(int) - (20 + 15 * i)).max() < 6
        assert pixels(item)[3, 3].min() > 240


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), "right"), ((0, -1, 1, 0), "bottom"), ((-1, 0, 0, -1), "both")]
)
def test_rotated_video(tmp_path: Path, matrix: tuple[int, ...], corner: str) -> None:
    """As phones write it: the matrix in `tkhd` says how to turn the frames (ISO 14496-12, 8.3.2)."""
    pytest.importorskip("av")
    data = bytearray(make_video(tmp_path / "a.mp4", [0.0, 0.04, 0.08]).read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 20] = struct.pack(">5i", a, b, 0, c, d)
    for item in all_of(put(tmp_path / "b.mp4", bytes(data))):
        image = pixels(item)
        assert image.shape == ((48, 64, 3) if corner == "both" else (64, 48, 3))
        y = -4 if corner in ("bottom", "both") else 3
        x = -4 if corner in ("right", "both") else 3
        assert image[y, x].min() > 240


def test_damaged_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    data = make_video(tmp_path / "a.mp4", [i / 25 for i in range(10)]).read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9):  # the index of an MP4 stands at its end
        path = put(tmp_path / "b.mp4", data[: int(share * len(data))])
        with pytest.raises(SourceError, match=r"b\.mp4"):
            all_of(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 20):
            broken[at] = rng.integers(256)
        error = error_of(put(tmp_path / "c.mp4", bytes(broken)))
        assert error is None or "c.mp4" in error
    assert capfd.readouterr() == ("", "")


def test_video_without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "pose_runtime.video", raising=False)
    with pytest.raises(SourceError, match=r"pip install 'jetpose\[live\]'"):
        all_of(put(tmp_path / "a.mp4", b"anything"))


@pytest.mark.parametrize(
    "data", [b"RIFF" + (1000).to_bytes(4, "little") + b"AVI LIST", b"\0\0\0\x08ftyp\0\0\x03\xe8mdat"]
)
def test_truncated_containers(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "short.avi"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"short\.avi: the video is truncated: got 16 bytes, wanted at least 1008"):
        open_source(path)


def test_a_jpeg_that_is_two(tmp_path: Path) -> None:
    """A marker without a length, read as one with: this reader would see a small image and libjpeg a huge one."""
    small = encoded(".jpg")
    at = small.index(b"\xff\xc0")
    huge = bytearray(small)
    struct.pack_into(">HH", huge, at + 5, 30000, 30000)
    header = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 8, 8, 3) + bytes(9)
    comment = b"\xff\xfe" + struct.pack(">H", 65000) + bytes(64998)
    rest = 0xFFFE - len(comment)  # bytes that the wrong reading still skips
    hidden = b"\xff\xfe" + struct.pack(">H", rest - 2 + len(header)) + bytes(rest - 4) + header
    for marker in (b"\xff\x01", b"\xff\xd0", b"\xff\x00"):
        with pytest.raises(SourceError, match="marker"):
            all_of(put(tmp_path / "a.jpg", small[:2] + marker + comment + hidden + huge[2:]))


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(SourceError, match="File name too long"):
        all_of("a" * 5000)


def test_a_video_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would take what stands before the colon for a protocol."""
    writer = pytest.importorskip("pose_runtime.video").VideoWriter
    monkeypatch.chdir(tmp_path)
    video = writer(Path("12:30.mp4"), 25.0)
    video.write(np.zeros((48, 64, 3), np.uint8), 0, None)
    video.close()
    assert len(all_of("12:30.mp4")) == 1


def test_a_title_that_is_not_utf8(tmp_path: Path) -> None:
    """PyAV asks what to do with one in other ways from version to version."""
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "ABCD"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    path.write_bytes(path.read_bytes().replace(b"ABCD", b"A\xff\xfeD"))
    assert len(all_of(path)) == 1
