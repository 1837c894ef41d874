"""A frame refuses planes that do not hold it."""

from __future__ import annotations

import numpy as np
import pytest

from pose_runtime.errors import FrameError
from pose_runtime.frame import Frame

BYTES = np.zeros(1000, np.uint8)


@pytest.mark.parametrize(
    ("planes", "layout", "size_wh", "strides"),
    [
        ((BYTES,), "jpeg", (4, 4), (12,)),
        ((BYTES,), "bgr8", (0, 4), (12,)),
        ((BYTES,), "bgr8", (4, -4), (12,)),
        ((BYTES,), "bgr8", (4, 1 << 40), (12,)),
        ((BYTES,), "bgr8", (4.0, 4), (12,)),
        ((BYTES,), "bgr8", (4, 4, 4), (12,)),
        ((BYTES,), "bgr8", (4, 4), (11,)),  # shorter than a row
        ((BYTES,), "bgr8", (4, 4), (-12,)),
        ((BYTES,), "bgr8", (4, 4), (0,)),
        ((BYTES,), "bgr8", (4, 4), (12, 12)),
        ((BYTES,), "bgr8", (4, 4), (1 << 62,)),
        ((BYTES,), "bgr8", (4, 1), (1 << 62,)),
        ((BYTES,), "bgr8", (4, 4), (330,)),  # the last row ends past the plane
        ((BYTES, BYTES), "bgr8", (4, 4), (12,)),
        ((BYTES.astype(np.int8),), "bgr8", (4, 4), (12,)),
        ((BYTES[::2],), "bgr8", (4, 4), (12,)),
        (([0] * 48,), "bgr8", (4, 4), (12,)),
        ((BYTES,), "nv12", (4, 4), (4,)),
        ((BYTES, BYTES[:7]), "nv12", (4, 4), (4, 4)),
        ((BYTES, BYTES), "nv12", (3, 4), (4, 4)),
        ((BYTES, BYTES), "nv12", (4, 3), (4, 4)),
        ((BYTES,), "yuyv", (3, 4), (8,)),
    ],
)
def test_refused(planes, layout, size_wh, strides):
    with pytest.raises(FrameError):
        Frame(planes, layout, size_wh, strides)


def test_last_row_may_end_with_its_last_pixel():
    Frame((BYTES[: 3 * 20 + 12],), "bgr8", (4, 4), (20,))
    with pytest.raises(FrameError):
        Frame((BYTES[: 3 * 20 + 11],), "bgr8", (4, 4), (20,))


@pytest.mark.parametrize(
    ("image", "layout"),
    [
        (np.zeros((4, 4), np.uint8), "bgr8"),
        (np.zeros((4, 4, 4), np.uint8), "bgr8"),
        (np.zeros((4, 4, 1), np.uint8), "gray8"),
        (np.zeros((4, 4, 3), np.float32), "bgr8"),
        (np.zeros((0, 4, 3), np.uint8), "rgb8"),
        ([[1]], "gray8"),
        (np.zeros((4, 4), np.uint8), "nv12"),
    ],
)
def test_images_refused(image, layout):
    with pytest.raises(FrameError):
        Frame.from_image(image, layout)


def test_a_slice_is_copied():
    image = np.arange(10 * 10 * 3, dtype=np.uint8).reshape(10, 10, 3)
    frame = Frame.from_image(image[2:5, 3:7])
    assert frame.size_wh == (4, 3)
    np.testing.assert_array_equal(frame.planes[0], image[2:5, 3:7])
