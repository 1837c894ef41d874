"""The centre map of Convolutional Pose Machines (Wei et al., CVPR 2016): the input channel that says who is meant."""

from __future__ import annotations

import math

import numpy as np

from pose_runtime.arrays import Float64Array, FloatArray


def centre_map(
    size_wh: tuple[int, int], *, centre: tuple[float, float] | None = None, sigma: float = 21.0
) -> FloatArray:
    """float32 (H, W): exp(-d² / 2σ²) around the person.

    Args:
        size_wh: of the input.
        centre: x, y; None is the published one, the middle of a one-based grid (183 of 368).
        sigma: input pixels.
    """
    x, y = centre or (size_wh[0] / 2 - 1, size_wh[1] / 2 - 1)
    return np.outer(_bell(size_wh[1], y, sigma), _bell(size_wh[0], x, sigma)).astype(np.float32)


def pooled_centre_map(
    size_wh: tuple[int, int],
    *,
    centre: tuple[float, float] | None = None,
    sigma: float = 21.0,
    kernel: int = 9,
    stride: int = 8,
) -> FloatArray:
    """The centre map as the later stages see it, float32 (h, w): averaged over kernel x kernel at every stride.

    Sizes are rounded up and the last window is cut at the border, as Caffe does: 368 gives 46. The map is a product of
    a row and a column, and so is its average.
    """
    x, y = centre or (size_wh[0] / 2 - 1, size_wh[1] / 2 - 1)
    column = _averages(_bell(size_wh[1], y, sigma), kernel, stride)
    row = _averages(_bell(size_wh[0], x, sigma), kernel, stride)
    return np.outer(column, row).astype(np.float32)


def _bell(size: int, centre: float, sigma: float) -> Float64Array:
    return np.asarray(np.exp(-((np.arange(size) - centre) ** 2) / (2 * sigma**2)))


def _averages(values: Float64Array, kernel: int, stride: int) -> Float64Array:
    count = max(math.ceil((len(values) - kernel) / stride), 0) + 1
    return np.array([values[i * stride : i * stride + kernel].mean() for i in range(count)])
