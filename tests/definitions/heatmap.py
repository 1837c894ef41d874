"""What `heatmap` means, in NumPy and SciPy, one map at a time, written for reading."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

MISSING = (np.nan, np.nan, 0)


def definition(m: np.ndarray, refine: str, kernel: np.ndarray, beta: float, blur_sigma: float) -> tuple:
    """x, y, score of one float32 map without NaN."""
    searched = m.astype(float)
    if blur_sigma:
        searched = ndimage.gaussian_filter(searched, blur_sigma, mode="reflect", truncate=4.0)
    height, width = m.shape
    y, x = np.unravel_index(searched.argmax(), m.shape)
    score = float(m[y, x])
    if searched[y, x] <= 0 or score <= 0:
        return MISSING
    at = (int(x), int(y))
    if refine in ("quarter", "quarter_axis", "quarter_low"):
        dx, dy = _quarter(searched, at, refine)
    elif refine == "second_max":
        dx, dy = _second(searched, at)
    elif refine in ("dark", "udp"):
        dx, dy = (_dark if refine == "dark" else _udp)(m.astype(float), at, kernel)
    elif refine == "soft_argmax":
        weights = np.exp(beta * (m.astype(float) - score))
        weights /= weights.sum()
        return (
            float((weights.sum(0) * np.arange(width)).sum()),
            float((weights.sum(1) * np.arange(height)).sum()),
            score,
        )
    else:
        dx, dy = 0.0, 0.0
    return x + dx, y + dy, score


def _quarter(m: np.ndarray, at: tuple[int, int], rule: str) -> tuple[float, float]:
    x, y = at
    height, width = m.shape
    edge = np.pad(m, 1, mode="edge")
    gx, gy = edge[y + 1, x + 2] - edge[y + 1, x], edge[y + 2, x + 1] - edge[y, x + 1]
    if rule == "quarter_low":
        return (0.25 if gx > 0 else -0.25), (0.25 if gy > 0 else -0.25)
    inside_x, inside_y = 1 < x < width - 1, 1 < y < height - 1
    if rule == "quarter":
        inside_x = inside_y = inside_x and inside_y
    else:
        inside_x, inside_y = inside_x and y > 0, inside_y and x > 0
    return 0.25 * np.sign(gx) * inside_x, 0.25 * np.sign(gy) * inside_y


def _second(m: np.ndarray, at: tuple[int, int]) -> tuple[float, float]:
    rest = m.copy()
    rest[at[1], at[0]] = -np.inf
    if m.size < 2:
        return 0, 0
    y, x = np.unravel_index(rest.argmax(), m.shape)
    step = np.array([x - at[0], y - at[1]], float)
    return tuple(0.25 * step / np.hypot(*step))


def _newton(dx: float, dy: float, dxx: float, dyy: float, dxy: float) -> tuple[float, float]:
    hessian = np.array([[dxx, dxy], [dxy, dyy]])
    if np.linalg.det(hessian) == 0:
        return 0, 0
    return tuple(-np.linalg.solve(hessian, [dx, dy]))


def _dark(m: np.ndarray, at: tuple[int, int], kernel: np.ndarray) -> tuple[float, float]:
    x, y = at
    height, width = m.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return 0, 0
    blurred = ndimage.correlate1d(
        ndimage.correlate1d(m, kernel.astype(float), 1, mode="constant"), kernel.astype(float), 0, mode="constant"
    )
    p = np.log(np.maximum(blurred * m.max() / blurred.max(), 1e-10))
    return _newton(
        (p[y, x + 1] - p[y, x - 1]) / 2,
        (p[y + 1, x] - p[y - 1, x]) / 2,
        (p[y, x + 2] - 2 * p[y, x] + p[y, x - 2]) / 4,
        (p[y + 2, x] - 2 * p[y, x] + p[y - 2, x]) / 4,
        (p[y + 1, x + 1] - p[y - 1, x + 1] - p[y + 1, x - 1] + p[y - 1, x - 1]) / 4,
    )


def _udp(m: np.ndarray, at: tuple[int, int], kernel: np.ndarray) -> tuple[float, float]:
    x, y = at[0] + 1, at[1] + 1
    half = len(kernel) // 2
    padded = np.pad(m, half, mode="reflect")  # numpy's reflect is 101; it repeats for small maps
    blurred = ndimage.correlate1d(ndimage.correlate1d(padded, kernel.astype(float), 1), kernel.astype(float), 0)
    blurred = blurred[half : half + m.shape[0], half : half + m.shape[1]]
    p = np.pad(np.log(np.clip(blurred, 0.001, 50)), 1, mode="edge")
    e = np.finfo(np.float32).eps
    return _newton(
        (p[y, x + 1] - p[y, x - 1]) / 2,
        (p[y + 1, x] - p[y - 1, x]) / 2,
        p[y, x + 1] - 2 * p[y, x] + p[y, x - 1] + e,
        p[y + 1, x] - 2 * p[y, x] + p[y - 1, x] + e,
        (p[y + 1, x + 1] - p[y, x + 1] - p[y + 1, x] + 2 * p[y, x] - p[y, x - 1] - p[y - 1, x] + p[y - 1, x - 1]) / 2,
    )
