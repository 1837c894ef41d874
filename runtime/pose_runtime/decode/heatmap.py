"""One keypoint per heatmap: top-down and single-person networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps, as_out
from pose_runtime.decode._common import Decoded, Grid, only, to_input
from pose_runtime.errors import DecodeError

Refine = Literal["none", "quarter", "quarter_axis", "quarter_low", "second_max", "dark", "udp", "soft_argmax"]
_REFINE: dict[str, int] = {name: i for i, name in enumerate(get_args(Refine))}  # in the order of the native enum
_MAX_TAPS = 65
MAX_BLUR_SIGMA = 8
_MOST = 1e6  # of beta and min_score either way: far beyond use, and in float32 still a number

# OpenCV's getGaussianKernel with sigma 0 uses these for small sizes.
_FIXED_KERNELS = {
    1: [1.0],
    3: [0.25, 0.5, 0.25],
    5: [0.0625, 0.25, 0.375, 0.25, 0.0625],
    7: [0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125],
    9: [n / 256 for n in (4, 13, 30, 51, 60, 51, 30, 13, 4)],
}


def gaussian_kernel(taps: int, sigma: float = 0.0) -> FloatArray:
    """Normalised Gaussian weights, float32 (taps,), as the authors' libraries make them.

    Args:
        taps: odd number of weights, at most 65.
        sigma: in map pixels; 0 takes OpenCV's rule 0.3·((taps-1)/2 - 1) + 0.8, with its fixed tables up to 9 taps.
    """
    if taps < 1 or taps % 2 == 0 or taps > _MAX_TAPS:
        raise DecodeError(f"blur kernel: got {taps} taps, wanted an odd number from 1 to {_MAX_TAPS}")
    if taps == 1 or (sigma <= 0 and taps in _FIXED_KERNELS):
        return np.array(_FIXED_KERNELS[taps], np.float32)
    if sigma <= 0:
        sigma = 0.3 * ((taps - 1) / 2 - 1) + 0.8
    distance = np.arange(taps) - taps // 2
    weights = np.exp(-(distance**2) / (2 * sigma**2))
    normalised: FloatArray = (weights / weights.sum()).astype(np.float32)
    return normalised


# Every frame asks for the same few kernels.
_kernel = lru_cache(maxsize=32)(gaussian_kernel)


@lru_cache(maxsize=32)
def _blur(sigma: float) -> FloatArray:
    """Weights of the blur before the search; empty for none."""
    if not 0 <= sigma <= MAX_BLUR_SIGMA:
        raise DecodeError(f"blur_sigma: got {sigma}, wanted 0 to {MAX_BLUR_SIGMA} map pixels")
    return gaussian_kernel(2 * int(4 * sigma + 0.5) + 1, sigma) if sigma else np.zeros(0, np.float32)


def heatmap(
    maps: ArrayLike,
    *,
    refine: Refine = "none",
    kernel: int = 11,
    beta: float = 10.0,
    blur_sigma: float = 0.0,
    out: FloatArray | None = None,
) -> FloatArray:
    """The highest place of each map, refined below one pixel.

    Args:
        maps: (N, K, H, W) heatmaps.
        refine: `none`; `quarter` (SimpleBaseline, HRNet: sign rule, interior only); `quarter_axis` (MMPose
            1.x: the interior of each axis by itself); `quarter_low` (stacked hourglass
            in PyTorch, associative embedding: ties move down); `second_max` (Newell et al. 2016, DARK eq. 8); `dark`
            (Zhang et al. 2020); `udp` (Huang et al. 2020); `soft_argmax` (expectation under softmax(beta · map)).
        kernel: taps of the blur of `dark` and `udp`: 11 for maps trained with sigma 2, 17 for sigma 3.
        beta: sharpness of `soft_argmax`.
        blur_sigma: Gaussian blur before the search, map pixels, borders reflected, cut at 4 sigma; 0 (none) to 8.
        out: float32 (N, K, 3), written and returned; made where None.

    Returns:
        float32 (N, K, 3): x, y in map pixels and the map's value at the argmax. A map without a finite positive
        maximum gives NaN, NaN, 0. NaN values in a map are passed over.
    """
    array = as_maps("heatmaps", maps, (None, None, None, None))
    blur = _blur(blur_sigma)
    if refine not in _REFINE:
        raise DecodeError(f"refine: got {refine!r}, wanted one of {', '.join(_REFINE)}")
    out = as_out("out", out, (*array.shape[:2], 3))
    native.heatmap(native.heatmap_params(_REFINE[refine], beta, blur, _kernel(kernel)), array, out)
    return out


def merge_flipped(
    maps: FloatArray, flipped: FloatArray, flip_index: Sequence[int], *, shift: bool = False
) -> FloatArray:
    """The mean of an image's maps and those of its mirror image (flip test).

    Args:
        maps: float32 (..., K, H, W) of the image.
        flipped: the same of the mirrored image, as the network gave them.
        flip_index: for every keypoint its mirror image (`Skeleton.flip_index`).
        shift: move the mirrored-back maps right by one column, column 0 stays (HRNet's SHIFT_HEATMAP).
    """
    back = flipped[..., list(flip_index), :, ::-1]
    if shift:
        back = np.concatenate([back[..., :1], back[..., :-1]], axis=-1)
    merged: FloatArray = ((maps + back) * np.float32(0.5)).astype(np.float32)
    return merged


class HeatmapDecoder(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="heatmap"
):
    """Decoder of one person per map stack; the person's score is the mean of the scores above `min_score`.

    Needs role `heatmaps` (K, H, W). A keypoint whose score is not above `min_score` is missing; a person without
    keypoints is not returned.
    """

    refine: Refine
    kernel: int
    beta: float
    blur_sigma: float
    min_score: float
    grid: Grid

    def __post_init__(self) -> None:
        _kernel(self.kernel)  # both raise where there is no such blur
        _blur(self.blur_sigma)
        if not (abs(self.beta) <= _MOST and abs(self.min_score) <= _MOST):
            raise DecodeError(
                f"beta and min_score: got {self.beta} and {self.min_score}, wanted {-_MOST:g} to {_MOST:g}"
            )

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """Outputs by role, one image; keypoints in network-input pixels."""
        maps = only(outputs, "heatmaps")
        points = heatmap(maps[None], refine=self.refine, kernel=self.kernel, beta=self.beta, blur_sigma=self.blur_sigma)
        return self.person(points, (maps.shape[2], maps.shape[1]), input_wh)

    def params(self) -> Any:
        """The native parameters."""
        return native.heatmap_params(_REFINE[self.refine], self.beta, _blur(self.blur_sigma), _kernel(self.kernel))

    def person(self, points: FloatArray, map_wh: tuple[int, int], input_wh: tuple[int, int]) -> Decoded:
        """The person whose keypoints were found at points (1, K, 3), map pixels; they are overwritten."""
        missing = ~(points[..., 2] > self.min_score)
        points[missing] = (np.nan, np.nan, 0)
        found = points[~missing]
        if not len(found):
            return Decoded(points[:0], np.zeros(0, np.float32))
        to_input(points, map_wh, input_wh, self.grid)
        return Decoded(points, np.array([found[:, 2].mean()], np.float32))
