from __future__ import annotations

import gc
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from pose_calibration.accuracy import coco_ap
from pose_calibration.inputs import NetworkInputs, probe_of
from pose_calibration.pictures import Pictures, bundled_scenes, open_pictures, useless
from pose_runtime import geometry
from pose_runtime.errors import CalibrationError, SourceError
from pose_runtime.sources.images import read_image
from tiny import CROP, SHORT_SIDE, make_manifest


def noise(seed: int, hw: tuple[int, int] = (30, 40)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


def folder(path: Path, count: int) -> Path:
    path.mkdir(exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(path / f"{i:02d}.png"), noise(i))
    return path


def short(pictures: Pictures) -> list[str]:
    return [Path(name).name for name in pictures.names]


def test_the_seed_decides_which(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", 20)
    chosen = open_pictures(path, count=6, seed=3)
    assert short(chosen) == short(open_pictures(path, count=6, seed=3))
    assert short(chosen) != short(open_pictures(path, count=6, seed=4))
    assert chosen.description == "6 of 20 pictures of set, seed 3"
    assert set(short(chosen)) < set(short(open_pictures(path, count=7, seed=3)))
    assert short(chosen) == sorted(short(chosen))


def test_pictures_come_again_at_every_iteration(tmp_path: Path) -> None:
    pictures = open_pictures(folder(tmp_path / "set", 3))
    assert pictures.description == "all 3 pictures of set"
    for _ in range(2):
        for i, picture in enumerate(pictures):
            np.testing.assert_array_equal(picture.image, noise(i))
            assert (picture.boxes, picture.image_id) == ((), None)


def test_one_picture(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", 1) / "00.png"
    pictures = open_pictures(path)
    assert (len(pictures), pictures.description, pictures.left_out) == (1, "the picture 00.png", ())
    assert len(open_pictures(path.parent)) == 1


def test_grey_and_transparent_pictures_are_taken(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([noise(0), noise(1)[..., 0]]))
    cv2.imwrite(str(tmp_path / "grey.png"), noise(0)[..., 0])
    images = [picture.image for picture in open_pictures(tmp_path)]
    np.testing.assert_array_equal(images[0], noise(0))
    np.testing.assert_array_equal(images[1], np.repeat(noise(0)[..., :1], 3, axis=2))


def big_header(side: int) -> bytes:
    """A PNG of a few bytes that says it is side x side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_what_is_of_no_use_is_named_and_others_take_its_place(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", 4)
    (path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (path / "empty.png").write_bytes(b"")
    (path / "huge.png").write_bytes(big_header(16000))
    cv2.imwrite(str(path / "plain.png"), np.full((20, 20, 3), 7, np.uint8))
    cv2.imwrite(str(path / "repeat.bmp"), noise(2))
    pictures = open_pictures(path, count=9)
    assert len(pictures) == 4
    assert pictures.description == "4 of 9 pictures of set, seed 0"
    lines = [line.replace(f"{path}/", "") for line in pictures.left_out]
    assert sorted(line.split(":")[0] for line in lines if "same" not in line) == [
        "broken.jpg",
        "empty.png",
        "huge.png",
        "plain.png",
    ]
    assert "plain.png: is of one colour" in lines
    assert len({"repeat.bmp: is the same as 02.png", "02.png: is the same as repeat.bmp"} & set(lines)) == 1
    assert any(line.startswith("huge.png: got an image of 16000 x 16000 pixels") for line in lines)


def test_damage_hidden_from_the_header_is_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", 1)
    data = bytearray((path / "00.png").read_bytes())
    data[200] ^= 0xFF
    (path / "01.png").write_bytes(data)
    pictures = open_pictures(path)
    assert short(pictures) == ["00.png"]
    assert "checksum" in pictures.left_out[0]


def test_a_picture_of_millions_of_pixels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.jpg"), np.repeat(np.repeat(noise(0, (150, 200)), 16, axis=0), 16, axis=1))
    inputs = NetworkInputs(open_pictures(tmp_path), make_manifest().input)
    (array,) = inputs
    assert array.shape == (1, 3, 48, 64)


@pytest.mark.parametrize("bad", [b"", b"GIF89a"])
def test_no_usable_picture_is_an_error(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bad)
    with pytest.raises(CalibrationError, match=r"none of 1 pictures of \w+ can be used: .*a\.jpg"):
        open_pictures(tmp_path)


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images"):
        open_pictures(tmp_path)
    with pytest.raises(SourceError, match="no such file"):
        open_pictures(tmp_path / "gone")
    with pytest.raises(CalibrationError, match="count of 0"):
        open_pictures(folder(tmp_path / "set", 1), count=0)


def test_a_picture_that_vanishes(tmp_path: Path) -> None:
    pictures = open_pictures(folder(tmp_path / "set", 2))
    (tmp_path / "set" / "01.png").unlink()
    with pytest.raises(SourceError, match=r"01\.png"):
        list(pictures)


def test_useless_ones_are_reported(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", 3)
    cv2.imwrite(str(path / "plain.png"), np.zeros((4, 4, 3), np.uint8))
    pictures = open_pictures(path)
    assert useless(pictures, [1, 2, 1]) == pictures.left_out
    lines = useless(pictures, [1, 0, 0])
    assert len(lines) == 2
    assert lines[1].startswith("the FP32 network finds nobody in 2 of 3 pictures: ")
    assert lines[1].endswith("02.png")


# ---- videos ----------------------------------------------------------------------------------------------------


def film(path: Path, frames: int, plain: int = 0) -> Path:
    """Frame i is of brightness 2 i + 20 with a corner of its own; the first `plain` are black."""
    video = pytest.importorskip("pose_runtime.video")
    writer = video.VideoWriter(path, 25.0)
    for i in range(frames):
        image = np.full((32, 48, 3), 0 if i < plain else 2 * i + 20, np.uint8)
        if i >= plain:
            image[:8, :8] = 255
        writer.write(image, i, None)
    writer.close()
    return path


def number_of(name: str) -> int:
    return int(name.split()[-1])


@pytest.mark.parametrize(("frames", "count"), [(100, 8), (100, 1), (100, 7), (9, 8), (8, 8), (3, 8), (64, 32)])
def test_frames_of_a_video_are_evenly_spaced(frames: int, count: int, tmp_path: Path) -> None:
    pictures = open_pictures(film(tmp_path / "film.mp4", frames), count=count)
    numbers = [number_of(name) for name in pictures.names]
    assert len(numbers) == min(frames, count)
    assert numbers == sorted(set(numbers))
    steps = np.diff(numbers)
    even = frames / count
    assert all(even / 2 - 1 <= step <= 2 * even + 1 for step in steps)
    assert numbers[0] <= 1.5 * even
    assert numbers[-1] >= frames - 1 - 1.5 * even - 2
    assert pictures.description == f"{min(frames, count)} of {frames} frames of film.mp4, evenly spaced"
    for _ in range(2):
        shown = [float(picture.image[20, 30].mean()) for picture in pictures]
        np.testing.assert_allclose(shown, [2 * n + 20 for n in numbers], atol=4)


def test_frames_do_not_outlive_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "film.mp4", 6)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    pictures = open_pictures(path, count=3)
    assert len(list(spool.iterdir())) == 1
    del pictures
    gc.collect()
    assert list(spool.iterdir()) == []


def test_a_black_video_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "film.mp4", 4, plain=4)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    with pytest.raises(CalibrationError, match=r"none of 4 pictures of film\.mp4 can be used: .* one colour"):
        open_pictures(path)
    assert list(spool.iterdir()) == []


# ---- COCO ------------------------------------------------------------------------------------------------------


def coco(tmp_path: Path, boxes: dict[int, list[list[float]]], count: int = 3, **more: Any) -> Path:
    images = folder(tmp_path, count)
    annotations = [
        {"id": 10 * image + i, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": box}
        for image, list_ in boxes.items()
        for i, box in enumerate(list_)
    ]
    tree = {"images": [{"id": 100 + i, "file_name": f"{i:02d}.png"} for i in range(count)], "annotations": annotations}
    path = images / "people.json"
    path.write_text(json.dumps(tree | more))
    return path


def test_a_coco_set_gives_the_pictures_with_people(tmp_path: Path) -> None:
    path = coco(tmp_path, {100: [[1, 2, 10, 20], [0, 0, 0, 5]], 102: [[3.5, 4, 5, 6]]})
    pictures = open_pictures(path)
    assert pictures.names == ("00.png", "02.png")
    assert pictures.image_ids == (100, 102)
    assert pictures.boxes == (((1, 2, 10, 20),), ((3.5, 4, 5, 6),))
    assert pictures.description == "all 2 pictures with people of people.json"


def test_a_coco_set_without_people_gives_all(tmp_path: Path) -> None:
    assert len(open_pictures(coco(tmp_path, {}))) == 3


def test_pictures_of_a_coco_set_are_found(tmp_path: Path) -> None:
    path = coco(tmp_path / "val2017", {})
    (tmp_path / "annotations").mkdir()
    moved = path.rename(tmp_path / "annotations" / "person_keypoints_val2017.json")
    assert len(open_pictures(moved)) == 3
    assert len(open_pictures(moved, images=tmp_path / "val2017")) == 3
    with pytest.raises(CalibrationError, match=r"found none of its pictures .* in .*annotations"):
        open_pictures(moved, images=tmp_path / "annotations")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "no COCO annotations"),
        (b"[" * 100_000, "no COCO annotations"),
        (b'{"images":[]}', "missing required field `annotations`"),
        (b'{"images":[],"annotations":[]}', "has no pictures"),
        (b'{"images":[{"id":1,"file_name":"../a.png"}],"annotations":[]}', "is no file of the folder"),
        (b'{"images":[{"id":1,"file_name":"/etc/a.png"}],"annotations":[]}', "is no file of the folder"),
    ],
)
def test_bad_annotations_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=words):
        open_pictures(path)


def test_annotations_that_are_not_there() -> None:
    with pytest.raises(CalibrationError, match=r"gone\.json: cannot read it: No such file"):
        open_pictures(Path("gone.json"))


# ---- what the network gets --------------------------------------------------------------------------------------


def test_networks_of_one_person_get_the_boxes(tmp_path: Path) -> None:
    path = coco(tmp_path, {100: [[1, 2, 10, 20], [5, 5, 12, 9]], 101: []})
    wanted = make_manifest(CROP).input
    inputs = NetworkInputs(open_pictures(path), wanted)
    assert inputs.names == ("00.png, box 0", "00.png, box 1")
    for array, box in zip(inputs, [(1, 2, 10, 20), (5, 5, 12, 9)], strict=True):
        np.testing.assert_array_equal(array, probe_of(wanted, noise(0), box))
    whole = NetworkInputs(open_pictures(coco(tmp_path, {})), wanted)
    assert whole.names == ("00.png", "01.png", "02.png")
    for i, array in enumerate(whole):
        np.testing.assert_array_equal(array, probe_of(wanted, noise(i)))


def test_other_networks_get_whole_frames(tmp_path: Path) -> None:
    pictures = open_pictures(coco(tmp_path, {100: [[1, 2, 10, 20], [5, 5, 12, 9]]}))
    (array,) = NetworkInputs(pictures, make_manifest(SHORT_SIDE).input)
    assert array.shape == (1, 3, 64, 128)
    rule = geometry.Letterbox(interpolation="bilinear", round_pixels=False, pad=0, anchor="centre")
    batch = msgspec.structs.replace(make_manifest(rule).input, batch=2, colour="gray")
    (array,) = NetworkInputs(pictures, batch)
    assert array.shape == (2, 1, 48, 64)
    np.testing.assert_array_equal(array[0], array[1])


# ---- the bundled scenes ------------------------------------------------------------------------------------------


def test_the_bundled_scenes_are_a_coco_set() -> None:
    annotations, images = bundled_scenes()
    pictures = open_pictures(annotations)
    assert (
        pictures.description == "64 of 252 pictures with people of the synthetic scenes that come with jetpose, seed 0"
    )
    assert pictures.left_out == ()
    assert len(open_pictures(annotations, count=1000)) == 252
    assert all(image_id is not None for image_id in pictures.image_ids)
    tree = json.loads(annotations.read_text())
    assert "CC0" in tree["info"]["licence"]
    assert "pose-render" in tree["info"]["recipe"]
    sizes = [read_image(images / entry["file_name"]).shape for entry in tree["images"]]
    assert len(sizes) == 256
    assert max(max(size) for size in sizes) <= 320
    assert sum(file.stat().st_size for file in images.iterdir()) <= 5.5e6
    people = [a for a in tree["annotations"] if a["num_keypoints"] > 0 and not a["iscrowd"]]
    assert len(people) > 256


def test_the_bundled_annotations_score_themselves_perfectly() -> None:
    pytest.importorskip("pycocotools")
    annotations, _ = bundled_scenes()
    tree = json.loads(annotations.read_text())
    perfect = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
        for a in tree["annotations"]
        if a["num_keypoints"] > 0 and not a["iscrowd"]
    ]
    assert coco_ap(annotations, perfect).ap == pytest.approx(100)
