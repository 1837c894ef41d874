"""Heatmaps: a peak on each keypoint's map, as the published methods draw it.

Sigma is the usual one, exp(-d² / 2σ²). The OpenPose paper (Cao et al. 2017, section 2.2) writes exp(-d² / σ²):
`usual_sigma` converts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from pose_runtime.arrays import Float64Array, IntArray

Centre = Literal["exact", "truncated", "rounded", "corner_truncated"]
Combine = Literal["max", "sum", "last"]
Keep = Literal["all", "centre", "patch"]

OPENPOSE_CUT = 4.6052
"""ln 100: OpenPose's code leaves out what is below 0.01."""

_FAR = 1e7  # pixels; farther points are as far off the map, and still fit an integer


def usual_sigma(sigma: float) -> float:
    """Sigma of exp(-d² / 2σ²) that draws what `sigma` draws in exp(-d² / σ²)."""
    return sigma / math.sqrt(2)


@dataclass(frozen=True, kw_only=True)
class Peak:
    """How a keypoint is drawn; the functions below are the published ways.

    Attributes:
        sigma: map pixels.
        centre: `exact`: the real-valued point; `truncated` towards zero; `rounded`: x + 0.5 truncated, which
            left of the map is one too far right; `corner_truncated`: the patch's first and last pixel are truncated,
            so that this happens within a radius of the border already.
        radius: half-width of the square patch that is drawn; None is the whole map.
        cut: exponent d² / 2σ² beyond which the value is 0.
        combine: where people meet: the highest, the sum but at most 1, or the last one's whole patch.
        keep: which points are drawn: `all`; those whose `centre` lies on the map; those whose `patch` does, where one
            that ends right before the first pixel counts, as it does in the authors' code.
        shape: `cauchy` is pytorch-pose's σ / (d² + σ²)^1.5, highest 1 / σ².
    """

    sigma: float
    centre: Centre
    radius: int | None
    cut: float = math.inf
    combine: Combine = "max"
    keep: Keep
    shape: Literal["gaussian", "cauchy"] = "gaussian"

    def spans(self, xy: Float64Array, map_wh: tuple[int, int]) -> tuple[Float64Array, IntArray, IntArray]:
        """Centres (n, 2) of the peaks, first and last pixel (n, 2) of their patches, which may leave the map."""
        if self.centre == "corner_truncated":
            reach = self.radius or 0
            first = np.trunc(xy - reach)
            return first + reach, first.astype(np.int64), np.trunc(xy + reach + 1).astype(np.int64) - 1
        nearest = _pixel(xy, self.centre)
        centres = xy if self.centre == "exact" else nearest
        if self.radius is None:
            zero = np.zeros(xy.shape, np.int64)
            return centres, zero, zero + np.array(map_wh) - 1
        middle = nearest.astype(np.int64)
        return centres, middle - self.radius, middle + self.radius

    def values(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """The peak's height at squared distances."""
        if self.shape == "cauchy":
            return np.asarray(self.sigma / (squares + np.float32(self.sigma**2)) ** 1.5, np.float32)
        exponent = squares * np.float32(0.5 / self.sigma**2)
        height: NDArray[np.float32] = np.exp(-exponent)
        if self.cut < math.inf:
            height[exponent > self.cut] = 0
        return height


def hourglass_peak(sigma: float) -> Peak:
    """Stacked hourglass and associative embedding in PyTorch, HigherHRNet: truncated, half-width 3σ + 1."""
    return Peak(sigma=sigma, centre="truncated", radius=int(3 * sigma + 1), keep="centre")


def pytorch_pose_peak(sigma: float, shape: Literal["gaussian", "cauchy"] = "gaussian") -> Peak:
    """pytorch-pose: half-width 3σ, later people overwrite."""
    radius = int(3 * sigma)
    return Peak(sigma=sigma, centre="corner_truncated", radius=radius, combine="last", keep="patch", shape=shape)


def msra_peak(sigma: float) -> Peak:
    """SimpleBaseline, HRNet, MMPose's MSRA codec: rounded, half-width 3σ."""
    return Peak(sigma=sigma, centre="rounded", radius=int(3 * sigma), keep="patch")


def unbiased_peak(sigma: float) -> Peak:
    """DARK (Zhang et al. 2020): around the real-valued point, over the whole map."""
    return Peak(sigma=sigma, centre="exact", radius=None, keep="all")


def openpose_peak(sigma: float, combine: Literal["max", "sum"]) -> Peak:
    """OpenPose: real-valued points, `to_map` with grid `centre`, cut at 0.01.

    The paper takes the highest, to keep near peaks apart; the code of OpenPose and Lightweight OpenPose sums.
    """
    radius = math.ceil(sigma * math.sqrt(2 * OPENPOSE_CUT))
    return Peak(sigma=sigma, centre="exact", radius=radius, cut=OPENPOSE_CUT, combine=combine, keep="all")


def heatmaps(
    xy: ArrayLike, labelled: ArrayLike, map_wh: tuple[int, int], peak: Peak, *, dtype: DTypeLike = np.float32
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One map per keypoint, with everybody's peaks.

    Only the patches are touched, so that six people on 128 x 128 maps take about a millisecond.

    Args:
        xy: (N, K, 2) in map pixels; anything where not labelled.
        labelled: (N, K), true where the keypoint is known.
        map_wh: width and height of the maps.
        peak: how to draw.
        dtype: of the maps; float16 costs half the memory and 0.0005 of the height.

    Returns:
        maps (K, H, W), and bool (N, K): which keypoints were drawn, by the rule of `peak.keep`.
    """
    points = np.asarray(xy, np.float64)
    known = np.asarray(labelled, np.bool_) & np.isfinite(points).all(axis=-1)
    maps = np.zeros((points.shape[1], map_wh[1], map_wh[0]), dtype)
    points = np.clip(np.where(known[..., None], points, 0), -_FAR, _FAR)
    centres, first, last = peak.spans(points, map_wh)
    drawn = known & _kept(peak, points, first, last, map_wh)
    if drawn.any():
        _draw(maps, peak, np.nonzero(drawn)[1], centres[drawn], first[drawn], last[drawn])
    if peak.combine == "sum":
        np.minimum(maps, 1, out=maps)
    return maps, drawn


def _pixel(points: Float64Array, centre: Centre) -> Float64Array:
    return np.trunc(points) if centre == "truncated" else np.trunc(points + 0.5)


def _kept(
    peak: Peak, points: Float64Array, first: IntArray, last: IntArray, map_wh: tuple[int, int]
) -> NDArray[np.bool_]:
    if peak.keep == "all":
        return np.ones(points.shape[:-1], np.bool_)
    if peak.keep == "centre":
        pixel = _pixel(points, peak.centre)
        return np.asarray(((pixel >= 0) & (pixel < map_wh)).all(axis=-1))
    return np.asarray(((first < map_wh) & (last >= -1)).all(axis=-1))


def _draw(
    maps: NDArray[Any], peak: Peak, joints: IntArray, centres: Float64Array, first: IntArray, last: IntArray
) -> None:
    size = (last - first).max(axis=0) + 1
    squares = [
        np.square((first[:, axis, None] + np.arange(size[axis])) - centres[:, axis, None], dtype=np.float64)
        for axis in (0, 1)
    ]
    patches = peak.values((squares[1][:, :, None] + squares[0][:, None, :]).astype(np.float32)).astype(maps.dtype)
    # Of each patch what lies on the map. Plain integers: indexing with them is faster than with NumPy's.
    low = np.clip(first, 0, maps.shape[:0:-1])
    high = np.clip(last + 1, 0, maps.shape[:0:-1])
    boxes = np.concatenate([joints[:, None], low, high, low - first, high - first], axis=1).tolist()
    for patch, (joint, x0, y0, x1, y1, left, top, right, bottom) in zip(patches, boxes, strict=True):
        inside, seen = maps[joint, y0:y1, x0:x1], patch[top:bottom, left:right]
        if peak.combine == "max":
            np.maximum(inside, seen, out=inside)
        elif peak.combine == "sum":
            inside += seen
        else:
            inside[...] = seen


def background(maps: NDArray[Any]) -> NDArray[Any]:
    """The map of "nobody", (1, H, W): 1 minus the highest of maps (K, H, W)."""
    highest: NDArray[Any] = maps.max(axis=0, keepdims=True)
    return np.asarray(1 - highest, maps.dtype)
