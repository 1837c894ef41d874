"""The contact sheet: which frames are on it, where the people are, how much it keeps, and what is left on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import tiny
from pose_runtime.errors import SinkError
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.sinks import sheet
from pose_runtime.sinks.draw import COLOURS
from pose_runtime.sinks.sheet import CELLS, ContactSheet
from pose_runtime.sources import Item

NOBODY = Poses.empty(tiny.SKELETON)


def item(index: int, image: np.ndarray, time_s: float | None = None) -> Item:
    return Item("v.mp4", index, time_s, Frame.from_image(image))


def grey(index: int, size_wh: tuple[int, int] = (32, 24)) -> np.ndarray:
    """A frame whose brightness says which it is."""
    return np.full((size_wh[1], size_wh[0], 3), index, np.uint8)


def kept(sink: ContactSheet) -> list[int]:
    return [int(cell.picture[0, 0, 0]) for cell in sheet.spread(sink._cells, CELLS)]


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 47, 48, 49, 97, 100, 255])
def test_frames_are_spread_over_the_run(tmp_path: Path, count: int) -> None:
    sink = ContactSheet(tmp_path / "sheet.png")
    for i in range(count):
        sink.write(item(i, grey(i)), NOBODY)
        assert len(sink._cells) <= 4 * CELLS
    frames = kept(sink)
    assert len(frames) == min(count, CELLS)
    assert frames[0] == 0
    steps = np.diff(frames)
    assert (steps > 0).all()
    assert frames[-1] >= count - 1 - max(1, count // CELLS)
    if len(steps):
        assert steps.max() <= 2 * max(1, count // CELLS)
        assert steps.max() <= 2 * steps.min()


def test_people_are_where_they_were(tmp_path: Path) -> None:
    keypoints = np.array([[(600, 600, 1), (1800, 600, 1), (np.nan, np.nan, 0)]], np.float32)
    poses = Poses(keypoints, np.ones(1, np.float32), tiny.SKELETON)
    with ContactSheet(tmp_path / "sheet.png") as sink:
        sink.write(item(0, grey(50, (2400, 1800)), 1.25), poses)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (300 + 8, 400 + 8, 3)
    assert tuple(picture[4 + 100, 4 + 100]) == COLOURS["left"]
    assert tuple(picture[4 + 100, 4 + 300]) == COLOURS["right"]
    assert tuple(picture[4 + 100, 4 + 200]) == (50, 50, 50)
    assert (picture[-30:, :80] == 255).any()  # the time
    assert keypoints[0, 0, 0] == 600  # the caller's


def test_pictures_of_other_sizes_fit_into_the_first_ones_cell(tmp_path: Path) -> None:
    with ContactSheet(tmp_path / "sheet.png") as sink:
        for i, size_wh in enumerate([(160, 120), (1000, 10), (1, 900), (20, 10)]):
            sink.write(item(i, grey(90 + i, size_wh)), NOBODY)
        pictures = [cell.picture for cell in sink._cells]
    assert {picture.shape for picture in pictures} == {(120, 160, 3)}
    for i, size in enumerate([160 * 120, 160 * 2, 120, 200]):
        assert (pictures[i] == 90 + i).all(axis=2).sum() == size
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 124 + 4, 2 * 164 + 4, 3)


def fail_after(sink: ContactSheet) -> None:
    sink.write(item(0, grey(9)), NOBODY)
    raise RuntimeError("on the way")


def test_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jpg"
    with ContactSheet(path):
        pass  # no frames
    with pytest.raises(RuntimeError, match="on the way"), ContactSheet(path) as sink:
        fail_after(sink)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with ContactSheet(path) as sink:
        sink.write(item(0, grey(9)), NOBODY)
        assert path.read_bytes() == b"old"
    assert cv2.imread(str(path)) is not None
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_do_not_suit(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "a.mp4", "wanted one of .jpg"), (tmp_path / "no" / "a.png", "no such folder")):
        with pytest.raises(SinkError, match=words):
            ContactSheet(path)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(SinkError, match="cannot write it"), ContactSheet(tmp_path / "b.png") as sink:
        sink.write(item(0, grey(9)), NOBODY)
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]
