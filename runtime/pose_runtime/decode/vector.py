"""Regressed coordinates: DeepPose (Toshev & Szegedy 2014, arXiv 1312.4659) and its cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps
from pose_runtime.decode._common import Decoded, Grid, only
from pose_runtime.errors import DecodeError

Origin = Literal["centre", "corner"]
"""Where a box's normalised coordinates start: its centre (DeepPose: about -0.5..0.5) or corner (mmpose: 0..1)."""


def vector(values: ArrayLike, boxes: ArrayLike, *, origin: Origin) -> FloatArray:
    """Normalised coordinates back to pixels: N^-1 of the paper.

    A cascade's displacement is the same with `cascade_boxes` of the last estimate and origin `centre`.

    Args:
        values: (N, K, 2) x, y in units of the box's width and height.
        boxes: centre x, centre y, width, height in pixels: (N, 4), or (N, K, 4) with one box per joint.
        origin: of the values.

    Returns:
        float32 (N, K, 3): x, y in the boxes' pixels and score 1, for such a network gives no confidence; NaN, NaN, 0
        where the value or its box is not finite.
    """
    if origin not in ("centre", "corner"):
        raise DecodeError(f"origin: got {origin!r}, wanted centre or corner")
    array = as_maps("values", values, (None, None, 2))
    n, k = array.shape[:2]
    around = np.asarray(boxes)
    if around.ndim == 2:
        around = np.repeat(as_maps("boxes", around, (n, 4))[:, None], k, axis=1)
    around = as_maps("boxes", around, (n, k, 4))
    out = np.empty((n, k, 3), np.float32)
    native.vector(array, around, origin == "corner", out)
    return out


def cascade_boxes(keypoints: ArrayLike, *, torso: tuple[int, int], sigma: float) -> FloatArray:
    """Boxes of a cascade's next stage: squares around each joint, `sigma` times the torso's diameter wide.

    Args:
        keypoints: (N, K, 3) of the stage before.
        torso: two opposite joints, such as left shoulder and right hip; their distance is the diameter.
        sigma: 1.0 on FLIC, 2.0 on LSP in the paper.

    Returns:
        float32 (N, K, 4): centre x, centre y, width, height. NaN for a missing joint, and for every joint of somebody
        whose torso is missing; `vector` turns it into a missing keypoint.
    """
    array = as_maps("keypoints", keypoints, (None, None, 3))
    joints = array.shape[1]
    if not all(0 <= joint < joints for joint in torso):
        raise DecodeError(f"torso: got joints {torso}, wanted two of 0 to {joints - 1}")
    if not 0 < sigma < np.inf:
        raise DecodeError(f"sigma: got {sigma}, wanted a positive number")
    out = np.empty((*array.shape[:2], 4), np.float32)
    native.cascade_boxes(array, *torso, sigma, out)
    return out


class VectorDecoder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="vector"):
    """Decoder of one person whose coordinates are regressed, normalised by the network's input; all scores are 1.

    Needs role `vector`: 2K values x1, y1, x2, y2, … `grid` says which pixels 0 and 1 of the corner's origin are: 0 and
    the input's size (corner), half a pixel less (centre), the first and the last pixel (aligned).
    """

    origin: Origin
    grid: Grid

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """The person in one network input, in input pixels; nobody where no value is finite."""
        values = only(outputs, "vector")
        if values.ndim != 1 or values.size == 0 or values.size % 2:
            raise DecodeError(f"vector: got shape {values.shape}, wanted (2K,): x and y of each keypoint")
        return self.person(vector(values.reshape(1, -1, 2), [self.box(input_wh)], origin=self.origin))

    def box(self, input_wh: tuple[int, int]) -> tuple[float, float, float, float]:
        """What the values are normalised by: centre x, centre y, width, height in input pixels."""
        first, less = (-0.5 if self.grid == "centre" else 0.0), int(self.grid == "aligned")
        width, height = input_wh[0] - less, input_wh[1] - less
        return first + width / 2, first + height / 2, width, height

    def person(self, points: FloatArray) -> Decoded:
        """The person of points (1, K, 3), input pixels."""
        people = int(points[..., 2].any())
        return Decoded(points[:people], np.ones(people, np.float32))
