"""From a frame and its people to the one message that every viewer gets.

A message is a length n (uint32, little endian), n bytes of JSON, and a JPEG:

    {"source": name, "number": n, "frame": index, "age_ms": t or null, "size_wh": [w, h],
     "skeleton": {"names": [...], "limbs": [[a, b], ...]}, "people": [{"score": s, "keypoints": [...], "id"?: i}]}

Keypoints are in pixels of the frame (see `Poses.to_dict`), whatever the picture's size is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from time import monotonic

import cv2
import msgspec
import numpy as np

from pose_runtime.poses import Poses
from pose_runtime.sinks.draw import draw, to_bgr
from pose_runtime.sources import Item

_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded frame.

    Attributes:
        number: of its feed, from 1.
        message: for the page: header and JPEG.
        jpeg: for plain viewers, people drawn; only one of the two is made.
    """

    number: int
    message: bytes = b""
    jpeg: bytes = b""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are made: pixels of width at most, JPEG quality."""

    width: int
    quality: int

    def with_poses(self, item: Item, poses: Poses, number: int) -> Picture:
        """The picture as it came, the people beside it."""
        frame = item.frame
        header = {
            "source": item.name,
            "number": number,
            "frame": item.index,
            "age_ms": None if frame.time_s is None else round(1000 * (monotonic() - frame.time_s), 1),
            "size_wh": frame.size_wh,
            "skeleton": {"names": poses.skeleton.names, "limbs": poses.skeleton.limbs},
        }
        head = _ENCODER.encode(header | poses.to_dict())
        return Picture(number, message=struct.pack("<I", len(head)) + head + self._jpeg(item, None))

    def drawn(self, item: Item, poses: Poses, number: int) -> Picture:
        """The picture with the people drawn over it."""
        return Picture(number, jpeg=self._jpeg(item, poses))

    def _jpeg(self, item: Item, poses: Poses | None) -> bytes:
        image = to_bgr(item.frame)
        if poses is not None:
            draw(image, poses)
        width, height = item.frame.size_wh
        if width > self.width:
            size_wh = (self.width, max(1, round(height * self.width / width)))
            image = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return data.tobytes()
