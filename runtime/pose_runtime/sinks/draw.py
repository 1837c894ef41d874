"""People drawn over their image."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton

Side = Literal["left", "right", "middle"]
Colour = tuple[int, int, int]

COLOURS: dict[Side, Colour] = {"left": (60, 160, 255), "right": (255, 150, 40), "middle": (120, 220, 120)}
"""B, G, R: the person's left orange, right blue, the rest green."""

_OUTLINE: Colour = (25, 25, 25)
_DOT: Colour = (255, 255, 255)
_SHIFT = 3  # fraction bits of OpenCV's drawing coordinates: an eighth of a pixel
_FURTHEST = 3.0  # image sizes beyond which a keypoint is not drawn: OpenCV's coordinates would overflow

# frame format -> OpenCV's conversion to B, G, R
_CONVERSIONS = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "gray8": cv2.COLOR_GRAY2BGR,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
}
_CHANNELS = {"bgr8": 3, "rgb8": 3, "gray8": 1, "yuyv": 2}


def side_of(*names: str) -> Side:
    """On which side of the person these keypoints lie; both or neither is the middle."""
    left = any(name.startswith("left_") for name in names)
    right = any(name.startswith("right_") for name in names)
    if left == right:
        return "middle"
    return "left" if left else "right"


def to_bgr(frame: Frame) -> ByteArray:
    """A copy of a frame's pixels, uint8 (H, W, 3), B, G, R."""
    width, height = frame.size_wh
    if frame.format == "nv12":
        luma, chroma = (
            _rows(plane, rows, stride)[:, :width]
            for plane, rows, stride in zip(frame.planes, (height, height // 2), frame.strides, strict=True)
        )
        return np.asarray(cv2.cvtColor(np.vstack([luma, chroma]), _CONVERSIONS["nv12"]), np.uint8)
    channels = _CHANNELS[frame.format]
    pixels = _rows(frame.planes[0], height, frame.strides[0])[:, : width * channels].reshape(height, width, channels)
    if frame.format == "bgr8":
        return np.array(pixels)
    return np.asarray(cv2.cvtColor(pixels, _CONVERSIONS[frame.format]), np.uint8)


def _rows(plane: ByteArray, rows: int, stride: int) -> ByteArray:
    """A plane as (rows, stride); the bytes that the last row may lack are zero."""
    flat = plane.reshape(-1)[: rows * stride]
    if flat.size < rows * stride:
        flat = np.pad(flat, (0, rows * stride - flat.size))
    return flat.reshape(rows, stride)


def draw(image: ByteArray, poses: Poses) -> None:
    """Draw limbs and keypoints over uint8 (H, W, 3), B, G, R, in place. Missing keypoints and their limbs stay away."""
    height, width = image.shape[:2]
    thickness = max(1, round((width * height) ** 0.5 / 220))
    reach = _FURTHEST * max(width, height)
    for keypoints in poses.keypoints:
        xy = keypoints[:, :2].astype(float)
        seen = (keypoints[:, 2] > 0) & np.isfinite(xy).all(axis=1) & (np.abs(np.nan_to_num(xy)) < reach).all(axis=1)
        points = [
            (round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))) if ok else None
            for (x, y), ok in zip(xy, seen, strict=True)
        ]
        _draw_person(image, poses.skeleton, points, thickness)


def _draw_person(image: ByteArray, skeleton: Skeleton, points: list[tuple[int, int] | None], thickness: int) -> None:
    """Outlines first, so that a person stands out from the ground and its limbs join without seams."""
    names = skeleton.names
    limbs = [
        (start, end, COLOURS[side_of(names[a], names[b])])
        for a, b in skeleton.limbs
        if (start := points[a]) is not None and (end := points[b]) is not None
    ]
    dots = [(point, COLOURS[side_of(name)]) for name, point in zip(names, points, strict=True) if point is not None]
    radius, unit = 1.15 * thickness, 1 << _SHIFT
    rim = max(1.0, 0.45 * thickness)
    for start, end, _ in limbs:
        cv2.line(image, start, end, _OUTLINE, thickness + round(2 * rim), cv2.LINE_AA, _SHIFT)
    for point, _ in dots:
        cv2.circle(image, point, round((radius + 2 * rim) * unit), _OUTLINE, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    for start, end, colour in limbs:
        cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
    for point, colour in dots:
        cv2.circle(image, point, round((radius + rim) * unit), _DOT, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(image, point, round(radius * unit), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
