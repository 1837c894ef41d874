"""The user's own pictures as a bundle's check frames."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import ExportError

FRAMES = 8
LONG_SIDE = 320
"""Frames are shrunk until neither side is longer, in pixels."""
MAX_BYTES = 64 << 20
_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def check_images(path: Path) -> list[ByteArray]:
    """At most eight pictures, uint8 (H, W, 3) in B, G, R order.

    Args:
        path: a picture, or a folder whose pictures are picked evenly in the order of their names.

    Raises:
        ExportError: nothing there, or a picture that cannot be read; names it.
    """
    try:
        files = None
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in _ENDINGS and p.is_file())
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    if files is not None:
        if not files:
            raise ExportError(f"{path}: has no pictures ({' '.join(_ENDINGS)})")
        picked = sorted({i * len(files) // FRAMES for i in range(FRAMES)})
        return [_read(files[i]) for i in picked]
    return [_read(path)]


def encode_png(image: ByteArray) -> bytes:
    """A frame as it lies in a bundle."""
    return bytes(cv2.imencode(".png", image)[1])


def _read(path: Path) -> ByteArray:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ExportError(f"{path}: over {MAX_BYTES} bytes; shrink the picture")
            data = file.read()
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:  # more pixels than OpenCV takes
        raise ExportError(f"{path}: cannot be decoded; is it a picture?") from error
    if image is None:
        raise ExportError(f"{path}: cannot be decoded; is it a picture?")
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8, copy=False)
