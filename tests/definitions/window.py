"""Fine maps in windows, in NumPy."""

from __future__ import annotations

import numpy as np


def window(fine, windows, stride):
    """float32 (N, K, 3) of maps (N, K, h, w) and corners (N, K, 2)."""
    n, k, _, w = fine.shape
    flat = np.where(np.isnan(fine), -np.inf, fine).reshape(n, k, -1)
    index = flat.argmax(2)
    value = flat.max(2)
    xy = windows + np.float32(stride) * np.stack((index % w, index // w), -1).astype(np.float32)
    found = (value > 0) & np.isfinite(value) & np.isfinite(xy).all(-1)
    points = np.concatenate([xy, value[..., None]], -1)
    return np.where(found[..., None], points, (np.nan, np.nan, 0)).astype(np.float32)
