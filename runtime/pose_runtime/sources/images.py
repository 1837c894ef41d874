"""Image files: one, several, or those of a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SourceError
from pose_runtime.frame import MAX_SIDE, Frame
from pose_runtime.sources import _still
from pose_runtime.sources._base import Item, Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Of the files that a folder's images are."""

_MAX_BYTES = 1 << 29
_MAX_PIXELS = 1 << 27  # 134 megapixels, 400 MB decoded: above every camera


def read_image(path: Path) -> ByteArray:
    """An image file as people see it: uint8 (H, W, 3), B, G, R; EXIF orientation is applied, transparency dropped.

    Raises:
        SourceError: missing, damaged, truncated, no image, or larger than 16384 pixels a side, 134 megapixels or
            512 MiB. The message names the file.
    """
    try:
        if not path.is_file():
            raise SourceError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        if path.stat().st_size > _MAX_BYTES:
            raise SourceError(f"{path}: got {path.stat().st_size} bytes, an image may have {_MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot read it: {error.strerror}") from error
    if not data:
        raise SourceError(f"{path}: the file is empty")
    try:
        width, height = _still.size_wh(data)
    except ValueError as error:
        raise SourceError(f"{path}: cannot read the image: {error}") from None
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= _MAX_PIXELS):
        limit = f"1 to {MAX_SIDE} pixels each way and {_MAX_PIXELS >> 20} megapixels at most"
        raise SourceError(f"{path}: got an image of {width} x {height} pixels, wanted {limit}")
    return _decode(path, data)


def _decode(path: Path, data: bytes) -> ByteArray:
    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # it would write to stderr what becomes an exception here
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"{path}: cannot read the image: {error.err}") from error
    if image is None:
        raise SourceError(f"{path}: cannot read the image: it is damaged")
    return np.asarray(image, np.uint8)


class Images(Source):
    """Image files in the order given.

    Args:
        paths: of the files.
        on_bad: called for each file that cannot be read, which is then skipped and counted; None raises instead.
    """

    def __init__(self, paths: Sequence[Path], on_bad: Callable[[SourceError], None] | None = None) -> None:
        self.files = tuple(paths)
        self.count = len(paths)
        self._on_bad = on_bad

    def __iter__(self) -> Iterator[Item]:
        for index, path in enumerate(self.files):
            try:
                image = read_image(path)
            except SourceError as error:
                if self._on_bad is None:
                    raise
                self.skipped += 1
                self._on_bad(error)
                continue
            yield Item(str(path), index, None, Frame.from_image(image))


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which `img2` comes before `img10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", str(path))]


def in_folder(folder: Path) -> list[Path]:
    """The images of a folder (not of its sub-folders), in natural order.

    Raises:
        SourceError: the folder cannot be read or has none.
    """
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: cannot read it: {error.strerror}") from error
    if not found:
        raise SourceError(f"{folder}: no images ({', '.join(SUFFIXES)}) in this folder")
    return sorted(found, key=natural)
