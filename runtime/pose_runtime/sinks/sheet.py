"""A contact sheet: one picture with frames from the whole run, their people drawn on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SinkError
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.draw import drawn
from pose_runtime.sinks.save import check_folder, write_image
from pose_runtime.sources import Item
from pose_runtime.sources.images import SUFFIXES

CELLS = 12
"""Frames on a sheet, if there are as many."""

_KEPT = 4 * CELLS
_SIDE = 400  # of a cell, pixels; its longer one
_GAP = 4
_GROUND = 32  # grey between the cells
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


class _Cell(NamedTuple):
    picture: ByteArray
    label: str


class ContactSheet(Sink):
    """Evenly spaced frames of a source of any length, known or not.

    Every `stride`-th frame is kept, small; when there are four times as many as the sheet takes, every other one goes
    and the stride doubles. So memory stays bounded (25 MB); the file is written at the end.

    Args:
        path: of an image, JPEG or PNG best; an existing one is replaced.

    Raises:
        SinkError: the path is no image's or its folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise SinkError(f"{path}: a sheet is an image, wanted one of {', '.join(SUFFIXES)}")
        check_folder(path)
        self._path = path
        self._cells: list[_Cell] = []
        self._frames = 0
        self._stride = 1
        self._size_wh: tuple[int, int] | None = None

    def write(self, item: Item, poses: Poses) -> None:
        """Take a frame or leave it out."""
        if self._frames % self._stride == 0:
            if len(self._cells) == _KEPT:
                del self._cells[1::2]
                self._stride *= 2
            self._cells.append(self._cell(item, poses))
        self._frames += 1

    def close(self) -> None:
        """Write the sheet; without frames there is none."""
        if self._cells:
            write_image(self._path, _grid(spread(self._cells, CELLS)))

    def abandon(self) -> None:
        """Leave no sheet."""

    def _cell(self, item: Item, poses: Poses) -> _Cell:
        """The frame shrunk to fit the first one's cell, drawn at that size so that lines stay clear."""
        if self._size_wh is None:
            self._size_wh = _fit(item.frame.size_wh, (_SIDE, _SIDE))
        size_wh = _fit(item.frame.size_wh, self._size_wh)
        small = drawn(item.frame, poses, size_wh)
        picture = np.full((self._size_wh[1], self._size_wh[0], 3), _GROUND, np.uint8)
        left, top = ((whole - part) // 2 for whole, part in zip(self._size_wh, size_wh, strict=True))
        picture[top : top + size_wh[1], left : left + size_wh[0]] = small
        return _Cell(picture, f"{item.time_s:.2f} s" if item.time_s is not None else f"{item.index}")


def _fit(size_wh: tuple[int, int], into_wh: tuple[int, int]) -> tuple[int, int]:
    """A size in the same ratio inside another one; nothing is enlarged."""
    ratio = min(1.0, *(limit / side for limit, side in zip(into_wh, size_wh, strict=True)))
    return max(1, round(size_wh[0] * ratio)), max(1, round(size_wh[1] * ratio))


def spread(cells: list[_Cell], count: int) -> list[_Cell]:
    """`count` of them from the first to the last, as evenly as can be; all if there are fewer."""
    if len(cells) <= count:
        return cells
    return [cells[round(i * (len(cells) - 1) / (count - 1))] for i in range(count)]


def _grid(cells: list[_Cell]) -> ByteArray:
    height, width = cells[0].picture.shape[:2]
    columns = _columns(len(cells), width / height)
    rows = math.ceil(len(cells) / columns)
    step_x, step_y = width + _GAP, height + _GAP
    sheet = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), _GROUND, np.uint8)
    for i, cell in enumerate(cells):
        x, y = _GAP + i % columns * step_x, _GAP + i // columns * step_y
        sheet[y : y + height, x : x + width] = cell.picture
        _write(sheet[y : y + height, x : x + width], cell.label)
    return sheet


def _columns(count: int, ratio: float) -> int:
    """How many make the sheet nearest to 4:3, for cells of this width by height."""
    return min(range(1, count + 1), key=lambda n: abs(math.log(n * ratio / math.ceil(count / n) * 3 / 4)))


def _write(picture: ByteArray, text: str) -> None:
    at = (6, picture.shape[0] - 7)
    cv2.putText(picture, text, at, _FONT, _FONT_SCALE, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, _FONT, _FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
