"""DeepPose (Toshev & Szegedy, CVPR 2014, arXiv 1312.4659): coordinates in units of a box, and the cascade's boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.decode import cascade_boxes
from pose_runtime.decode.vector import Origin


def normalise(xy: ArrayLike, boxes: ArrayLike, *, origin: Origin) -> Float64Array:
    """N(y; b) of section 3.1, the inverse of `pose_runtime.decode.vector`.

    Args:
        xy: (N, K, 2) pixels.
        boxes: centre x, centre y, width, height: (N, 4), or (N, K, 4) with one box per joint.
        origin: `centre` gives about -0.5..0.5 (DeepPose), `corner` 0..1 (mmpose).

    Returns:
        float64 (N, K, 2); NaN where the point or its box is.
    """
    around = np.asarray(boxes, np.float64)
    if around.ndim == 2:
        around = around[:, None]
    values = (np.asarray(xy, np.float64) - around[..., :2]) / around[..., 2:]
    return values + 0.5 if origin == "corner" else values


def stage_targets(
    xy: ArrayLike, labelled: ArrayLike, previous: ArrayLike, *, torso: tuple[int, int], sigma: float
) -> tuple[Float64Array, FloatArray]:
    """What a later stage of the cascade learns: where each joint lies in the box around its estimate so far.

    Args:
        xy: (N, K, 2) true joints.
        labelled: (N, K).
        previous: (N, K, 2) estimates of the stage before, real or from `simulated_estimates`.
        torso, sigma: as for `pose_runtime.decode.cascade_boxes`.

    Returns:
        values float64 (N, K, 2), of which the stage's output times the box's size is the displacement; boxes float32
        (N, K, 4). NaN where the joint, its estimate or the torso is unknown.
    """
    known = np.asarray(labelled, np.bool_)[..., None]
    before = np.asarray(previous, np.float32)
    estimate = np.concatenate([before, np.isfinite(before).all(axis=-1, keepdims=True).astype(np.float32)], axis=-1)
    boxes = cascade_boxes(estimate, torso=torso, sigma=sigma)
    return normalise(np.where(known, np.asarray(xy, np.float64), np.nan), boxes, origin="centre"), boxes


def simulated_estimates(xy: ArrayLike, mean: ArrayLike, std: ArrayLike, random: np.random.Generator) -> Float64Array:
    """Estimates that err as the stage before did: y + δ, δ normal, for each joint by itself (section 3.2).

    Args:
        xy: (N, K, 2) true joints, pixels.
        mean, std: (K, 2), of the errors that the stage before made on training data.
        random: where δ comes from.
    """
    points = np.asarray(xy, np.float64)
    return points + random.normal(np.asarray(mean), np.asarray(std), points.shape)
