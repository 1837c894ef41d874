"""DeepPose's coordinates in NumPy."""

from __future__ import annotations

import numpy as np


def vector(values, boxes, origin):
    """float32 (N, K, 3) of values (N, K, 2) and boxes (N, K, 4)."""
    start = np.float32(0.5 if origin == "corner" else 0)
    xy = boxes[..., :2] + (values - start) * boxes[..., 2:]
    found = np.isfinite(xy).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(found, xy, np.nan), found], axis=-1).astype(np.float32)


def cascade_boxes(keypoints, torso, sigma):
    """float32 (N, K, 4)."""
    apart = keypoints[:, torso[0], :2] - keypoints[:, torso[1], :2]
    side = np.float32(sigma) * np.sqrt(apart[:, 0] * apart[:, 0] + apart[:, 1] * apart[:, 1])
    sides = np.repeat(side[:, None, None], 2, axis=2).repeat(keypoints.shape[1], axis=1)
    return np.concatenate([keypoints[..., :2], sides], axis=-1)
