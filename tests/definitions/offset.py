"""Hough voting of G-RMI in NumPy, with the native code's integers of 2^-40."""

from __future__ import annotations

import math

import numpy as np


def offset(heatmaps, offsets, radius):
    """float32 (K, H, W): the votes; heatmaps are probabilities."""
    k, height, width = heatmaps.shape
    votes = np.zeros((k, height, width), np.uint64)
    h = np.clip(np.nan_to_num(heatmaps, nan=0.0), 0, 1).astype(np.float32)
    y, x = np.mgrid[:height, :width]
    for joint in range(k):
        dx, dy = offsets[joint].astype(np.float32)
        near = (np.abs(dx) < 1 << 22) & (np.abs(dy) < 1 << 22)
        dx, dy = np.where(near, dx, 0), np.where(near, dy, 0)
        whole_x, whole_y = np.floor(dx), np.floor(dy)
        fx, fy = dx - whole_x, dy - whole_y
        for j, wy in enumerate((1 - fy, fy)):
            for i, wx in enumerate((1 - fx, fx)):
                xx, yy = x + whole_x.astype(np.int64) + i, y + whole_y.astype(np.int64) + j
                inside = near & (xx >= 0) & (xx < width) & (yy >= 0) & (yy < height)
                share = (h[joint] * (wy * wx) * np.float32(2**40)).astype(np.uint64)
                np.add.at(votes[joint], (yy[inside], xx[inside]), share[inside])
    area = math.pi * float(np.float32(radius)) ** 2 * 2.0**40
    return (votes.astype(np.float64) / area).astype(np.float32)
