"""One affine map of a record: the picture is sampled once, and every label follows.

Coordinates are pixels with the centre of the first pixel at (0, 0), as in `Record`; boxes count from the picture's
edge, as COCO's do: the whole picture is (0, 0, W, H), its corner half a pixel from the first centre.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_export.training.record import NOT_LABELLED, Record
from pose_runtime.arrays import ByteArray, Float64Array, FloatArray
from pose_runtime.errors import ExportError

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


def warp(
    record: Record,
    matrix: Float64Array,
    size_wh: tuple[int, int],
    *,
    fill: Colour = BLACK,
    least_share: float = 0.1,
    smallest: float = 0.0,
) -> Record:
    """The record as seen through an affine map.

    Joints that leave the picture become not labelled. A person of whom no labelled joint is left, or too little, or
    who is too small, is dropped, and what is left of their box is ignored where nobody else's box is. Where the map
    mirrors (its determinant is negative), left and right joints change places.

    Args:
        record: stays as it is.
        matrix: float64 (2, 3), invertible; new pixel = matrix · (old x, old y, 1).
        size_wh: of the new picture.
        fill: B, G, R around the old picture.
        least_share: of a person's box that must stay in the picture.
        smallest: longer side, in new pixels, that a person's box must have.

    Raises:
        ExportError: a map that cannot be inverted.
    """
    determinant = float(np.linalg.det(matrix[:, :2]))
    if not (math.isfinite(determinant) and abs(determinant) > 1e-9):
        raise ExportError(f"{record.name}: got a map of determinant {determinant}, wanted one that can be inverted")
    keypoints = _move_keypoints(record, matrix, size_wh, mirrored=determinant < 0)
    boxes = move_boxes(record.boxes, keypoints, matrix)
    clipped = clip_boxes(boxes, size_wh)
    share = _surface(clipped) / np.maximum(_surface(boxes), 1e-6)
    kept = (keypoints[..., 2] > 0).any(axis=1) & (share >= least_share) & (clipped[:, 2:].max(axis=1) >= smallest)
    image = _sample(record.image, matrix, size_wh, fill)
    moved = replace(
        record,
        image=image,
        keypoints=keypoints,
        boxes=clipped,
        areas=(record.areas * abs(determinant) * share).astype(np.float32),
        ignored=None if record.ignored is None else _sample_mask(record.ignored, matrix, size_wh),
    )
    return drop_people(moved, kept)


def drop_people(record: Record, kept: NDArray[np.bool_]) -> Record:
    """The record without those whose `kept`, bool (N,), is False; their boxes are ignored where nobody else's is."""
    if kept.all():
        return record
    rest = box_mask(record.boxes[~kept], record.image.shape) & ~box_mask(record.boxes[kept], record.image.shape)
    ignored = rest if record.ignored is None else record.ignored | rest
    return replace(
        record,
        keypoints=record.keypoints[kept],
        boxes=record.boxes[kept],
        areas=record.areas[kept],
        ids=record.ids[kept],
        ignored=ignored if ignored.any() else None,
    )


def box_mask(boxes: FloatArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool (H, W), True for the pixels that any of the boxes (N, 4) touches."""
    mask = np.zeros(shape[:2], bool)
    low = np.maximum(np.floor(boxes[:, :2]), 0).astype(int)
    high = np.maximum(np.ceil(boxes[:, :2] + boxes[:, 2:]), 0).astype(int)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        mask[top:bottom, left:right] = True
    return mask


def _move_keypoints(record: Record, matrix: Float64Array, size_wh: tuple[int, int], *, mirrored: bool) -> FloatArray:
    keypoints = record.keypoints
    if mirrored:
        keypoints = keypoints[:, list(record.skeleton.flip_index)]
    xy = keypoints[..., :2].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    inside = ((xy >= -0.5) & (xy < np.array(size_wh) - 0.5)).all(axis=-1)
    labelled = (keypoints[..., 2] > 0) & inside
    moved = np.concatenate([xy, keypoints[..., 2:]], axis=-1)
    return np.where(labelled[..., None], moved, NOT_LABELLED).astype(np.float32)


def move_boxes(boxes: FloatArray, keypoints: FloatArray, matrix: Float64Array) -> FloatArray:
    """float32 (N, 4): around each box's ellipse after the map, and around the person's labelled joints.

    The ellipse that touches the box's sides stands for the person: around the turned corners, the box would grow to
    twice the person.

    Args:
        boxes: before the map.
        keypoints: (N, K, 3) after it.
        matrix: as in `warp`.
    """
    half = boxes[:, 2:].astype(np.float64) / 2
    centre = (boxes[:, :2] + half - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    reach = np.sqrt(np.square(half) @ np.square(matrix[:, :2]).T)
    labelled = keypoints[..., 2:] > 0
    points = keypoints[..., :2].astype(np.float64) + 0.5
    low = np.minimum(centre - reach, np.where(labelled, points, np.inf).min(axis=1, initial=np.inf))
    high = np.maximum(centre + reach, np.where(labelled, points, -np.inf).max(axis=1, initial=-np.inf))
    return np.concatenate([low, high - low], axis=1).astype(np.float32)


def clip_boxes(boxes: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """float32 (N, 4): the parts inside the picture; width and height 0 where there is none."""
    low = np.clip(boxes[:, :2], 0, size_wh)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, size_wh)
    return np.concatenate([low, high - low], axis=1).astype(np.float32)


def _surface(boxes: FloatArray) -> FloatArray:
    return boxes[:, 2] * boxes[:, 3]


# ---- pixels --------------------------------------------------------------------------------------------------


def _sample(image: ByteArray, matrix: Float64Array, size_wh: tuple[int, int], fill: Colour) -> ByteArray:
    """Bilinear; what is shrunk to half or less is averaged over whole pixels first, so that nothing flickers."""
    inverse = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    factor = int(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))) + 1e-6)
    if factor > 1:
        image, inverse = _shrink(image, inverse, size_wh, factor)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, inverse, size_wh, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(out, np.uint8)


def _shrink(
    image: ByteArray, inverse: Float64Array, size_wh: tuple[int, int], factor: int
) -> tuple[ByteArray, Float64Array]:
    """The part of the picture that will be seen, at 1/factor of its size, and the map into it."""
    height, width = image.shape[:2]
    corners = np.array([[x, y, 1] for x in (-1, size_wh[0]) for y in (-1, size_wh[1])])
    seen = corners @ inverse.T
    low = np.clip(np.floor(seen.min(axis=0)) - factor, 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + factor, low + 1, (width, height)).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    right, bottom = -part.shape[1] % factor, -part.shape[0] % factor
    if right or bottom:
        part = np.asarray(cv2.copyMakeBorder(part, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    small_wh = (part.shape[1] // factor, part.shape[0] // factor)
    small = cv2.resize(part, small_wh, interpolation=cv2.INTER_AREA)
    into = inverse.copy()
    into[:, 2] -= low + (factor - 1) / 2
    return np.asarray(small, np.uint8), into / factor


def _sample_mask(mask: NDArray[np.bool_], matrix: Float64Array, size_wh: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The nearest old pixel of each new one; None where nothing is left of the mask."""
    inverse = cv2.invertAffineTransform(matrix)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(mask.astype(np.uint8), inverse, size_wh, flags=flags).astype(bool)
    return out if out.any() else None
