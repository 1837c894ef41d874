"""What box decoders and suppression mean, in NumPy, written for reading."""

from __future__ import annotations

import numpy as np


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes: left, top, right, bottom; float32 as the native code computes it."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
    both = np.float32(width * height)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(both / np.float32(area - both))


def suppress(boxes: np.ndarray, scores: np.ndarray, min_score: float, max_iou: float, most: int) -> list[int]:
    """Rows of those that stay, the best first; of equal scores the earlier."""
    with np.errstate(invalid="ignore"):
        real = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        good = real & np.isfinite(scores) & (scores > np.float32(min_score))
    left = [i for i in np.argsort(-np.nan_to_num(scores), kind="stable") if good[i]]
    kept: list[int] = []
    while left and len(kept) < most:
        best = left.pop(0)
        kept.append(int(best))
        left = [i for i in left if not iou(boxes[best], boxes[i]) > np.float32(max_iou)]
    return kept


def around(rows: np.ndarray) -> np.ndarray:
    """Corners of centre x, centre y, width, height."""
    half = rows[:, 2:4] * np.float32(0.5)
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)


def yolox(rows: np.ndarray, input_wh: tuple[int, int], person: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of a raw YOLOX head; an anchor of another class scores 0."""
    cells = []
    for stride in (8, 16, 32):
        columns, lines = input_wh[0] // stride, input_wh[1] // stride
        cells += [(x, y, stride) for y in range(lines) for x in range(columns)]
    grid = np.array(cells, np.float32)
    centres = (rows[:, :2] + grid[:, :2]) * grid[:, 2:]
    sizes = np.exp(rows[:, 2:4]) * grid[:, 2:]
    best = rows[:, 5:].argmax(axis=1)
    scores = np.where(best == person, rows[:, 4] * rows[:, 5 + person], np.float32(0))
    return around(np.concatenate([centres, sizes], axis=1)), scores.astype(np.float32)


def centre_map(centres: np.ndarray, sides: np.ndarray, stride: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of every cell of maps (H, W) and (4, H, W), grid `centre`; 0 where it is no peak."""
    height, width = centres.shape
    boxes, scores = np.zeros((height * width, 4), np.float32), np.zeros(height * width, np.float32)
    for i in range(height * width):
        y, x = divmod(i, width)
        window = [(j // width, j % width, j) for j in range(height * width)]
        near = [j for v, u, j in window if abs(v - y) <= 1 and abs(u - x) <= 1 and j != i]
        value, flat = centres[y, x], centres.ravel()
        is_peak = all(flat[j] < value if j < i else flat[j] <= value for j in near)
        px, py = (x + 0.5) * stride - 0.5, (y + 0.5) * stride - 0.5
        left, top, right, bottom = sides[:, y, x] * stride
        boxes[i] = px - left, py - top, px + right, py + bottom
        scores[i] = value if is_peak else 0
    return boxes, scores
