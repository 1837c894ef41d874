"""Frames with their people drawn in, small enough for a page that carries its pictures in itself."""

from __future__ import annotations

from collections.abc import Mapping

import cv2

from pose_calibration.report.content import Frames, Shown
from pose_runtime.arrays import ByteArray
from pose_runtime.errors import SinkError
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.sinks.draw import drawn

MAX_SIDE = 560
"""Longest side, pixels."""

_QUALITY = 82


def picture_row(name: str, caption: str, image: ByteArray, people: Mapping[str, Poses]) -> Frames:
    """A frame side by side.

    Args:
        name: of the frame.
        caption: what changed.
        image: uint8 (H, W, 3), B, G, R.
        people: title -> who is drawn in.
    """
    height, width = image.shape[:2]
    ratio = min(1.0, MAX_SIDE / max(width, height))
    size_wh = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    frame = Frame.from_image(image)
    shown = [Shown(title=title, jpeg=_jpeg(drawn(frame, poses, size_wh))) for title, poses in people.items()]
    return Frames(name=name, caption=caption, shown=tuple(shown))


def _jpeg(image: ByteArray) -> bytes:
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not ok:
        raise SinkError(f"cannot make a JPEG of {image.shape[1]} x {image.shape[0]} pixels")
    return bytes(data.tobytes())
