"""People drawn over their image."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_runtime.arrays import ByteArray
from pose_runtime.frame import Frame
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton

Side = Literal["left", "right", "middle"]
Colour = tuple[int, int, int]

COLOURS: dict[Side, Colour] = {"left": (60, 160, 255), "right": (255, 150, 40), "middle": (120, 220, 120)}
"""B, G, R: the person's left orange, right blue, the rest green."""

_OUTLINE: Colour = (25, 25, 25)
_RING: Colour = (255, 255, 255)
_IMAGE_PER_WEIGHT, _PERSON_PER_WEIGHT = 220, 75  # of the image's size (root of its area) and a person's diagonal
_LEAST_WEIGHT, _LEAST_SHARE = 0.7, 0.3  # in pixels, and as a share of the image's: a lone keypoint has no extent
_LEAST_DOT, _DOT = 0.7, 1.6  # radius of a keypoint in weights: as large as neighbours allow
_SHARE = 0.5  # of the distance to the next keypoint that a radius may be
_RIM = 0.45  # width of an outline in weights
_LEAST_RINGED = 2.0  # pixels; a smaller dot has no white ring, which would leave nothing of its colour
_LEAST_RIM = 0.6
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


def drawn(frame: Frame, poses: Poses, size_wh: tuple[int, int] | None = None) -> ByteArray:
    """A frame with its people, uint8 (H, W, 3), B, G, R; at another size the lines are made for that size."""
    image = to_bgr(frame)
    if size_wh is not None and size_wh != frame.size_wh:
        ratio_xy = np.divide(size_wh, frame.size_wh)
        way = cv2.INTER_AREA if ratio_xy.max() <= 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, size_wh, interpolation=way), np.uint8)
        keypoints = poses.keypoints.copy()
        keypoints[..., :2] = (keypoints[..., :2] + 0.5) * ratio_xy - 0.5  # the first pixel's centre is half a pixel in
        poses = Poses(keypoints, poses.scores, poses.skeleton, poses.ids)
    draw(image, poses)
    return image


def _rows(plane: ByteArray, rows: int, stride: int) -> ByteArray:
    """A plane as (rows, stride); the bytes that the last row may lack are zero."""
    flat = plane.reshape(-1)[: rows * stride]
    if flat.size < rows * stride:
        flat = np.pad(flat, (0, rows * stride - flat.size))
    return flat.reshape(rows, stride)


def draw(image: ByteArray, poses: Poses) -> None:
    """Draw limbs and keypoints over uint8 (H, W, 3), B, G, R, in place. Missing keypoints and their limbs stay away.

    Lines grow with the image, and are finer on people who are small in it, so that these keep their shape.
    """
    height, width = image.shape[:2]
    reach = _FURTHEST * max(width, height)
    for keypoints in poses.keypoints:
        xy = keypoints[:, :2].astype(float)
        seen = (keypoints[:, 2] > 0) & np.isfinite(xy).all(axis=1) & (np.abs(np.nan_to_num(xy)) < reach).all(axis=1)
        if poses.skeleton.name == "box2":
            if seen.all():
                _draw_box(image, xy, max((width * height) ** 0.5 / _IMAGE_PER_WEIGHT, _LEAST_WEIGHT))
        elif seen.any():
            extent = float(np.hypot(*np.ptp(xy[seen], axis=0)))
            of_image = (width * height) ** 0.5 / _IMAGE_PER_WEIGHT
            weight = min(of_image, max(extent / _PERSON_PER_WEIGHT, _LEAST_SHARE * of_image))
            _draw_person(image, poses.skeleton, xy, seen, max(weight, _LEAST_WEIGHT))


def _draw_person(
    image: ByteArray, skeleton: Skeleton, xy: NDArray[np.float64], seen: NDArray[np.bool_], weight: float
) -> None:
    """Outlines first, so that a person stands out from the ground and its limbs join without seams.

    xy: (K, 2), of which those `seen` (K,) are drawn; weight: width of a limb in pixels.
    """
    names, points = skeleton.names, {int(i): _fixed(xy[i]) for i in np.flatnonzero(seen)}
    limbs = [
        (points[a], points[b], COLOURS[side_of(names[a], names[b])])
        for a, b in skeleton.limbs
        if a in points and b in points
    ]
    radii = dict(zip(points, np.clip(_SHARE * _nearest(xy[seen]), _LEAST_DOT * weight, _DOT * weight), strict=True))
    thickness, rim = max(1, round(weight)), max(_LEAST_RIM, _RIM * weight)
    for start, end, _ in limbs:
        cv2.line(image, start, end, _OUTLINE, thickness + max(1, round(2 * rim)), cv2.LINE_AA, _SHIFT)
    for i, point in points.items():
        _dot(image, point, radii[i] + rim, _OUTLINE)
    for start, end, colour in limbs:
        cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
    for i, point in points.items():
        if radii[i] >= _LEAST_RINGED:
            _dot(image, point, radii[i], _RING)
        _dot(image, point, radii[i] - rim if radii[i] >= _LEAST_RINGED else radii[i], COLOURS[side_of(names[i])])


def _draw_box(image: ByteArray, corners: NDArray[np.float64], weight: float) -> None:
    """A rectangle between two corners (2, 2); weight: width of a side in pixels."""
    thickness, rim = max(1, round(weight)), max(_LEAST_RIM, _RIM * weight)
    start, end = _fixed(corners[0]), _fixed(corners[1])
    for colour, width in ((_OUTLINE, thickness + max(1, round(2 * rim))), (COLOURS["middle"], thickness)):
        cv2.rectangle(image, start, end, colour, width, cv2.LINE_AA, _SHIFT)


def _nearest(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (N,) of each of N points (N, 2) to the nearest other one; infinite for a lone one."""
    distances = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.float64] = distances.min(axis=1)
    return nearest


def _fixed(xy: NDArray[np.float64]) -> tuple[int, int]:
    """A point in OpenCV's drawing coordinates."""
    return round(float(xy[0]) * (1 << _SHIFT)), round(float(xy[1]) * (1 << _SHIFT))


def _dot(image: ByteArray, point: tuple[int, int], radius: float, colour: Colour) -> None:
    cv2.circle(image, point, max(1, round(radius * (1 << _SHIFT))), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
