"""From ranges to scales and zero points, and from float weights to int8 ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

SMALLEST_HALF = 2.0**-14
"""The smallest normal FP16 number; TensorRT refuses a scale that rounds to 0."""
LARGEST_HALF = 511.0
"""The largest scale of int8 whose 128 steps still fit FP16."""


class Scale(Struct, frozen=True):
    """real = scale * (integer - zero_point), per tensor. int8 where symmetric, else uint8."""

    scale: float
    zero_point: int
    symmetric: bool


def symmetric(low: float, high: float) -> Scale:
    """int8 with zero point 0, the scale one that FP16 holds exactly."""
    return Scale(float(half_scale(np.float32(max(-low, high) / 127))), 0, True)


def asymmetric(low: float, high: float) -> Scale:
    """uint8 over low to high, with 0 exactly on an integer."""
    scale = float(np.float32((high - low) / 255))
    if scale < float(np.finfo(np.float32).tiny):
        return Scale(SMALLEST_HALF, 0, False)  # nothing but 0 was ever seen; a large scale would outreach a Clip
    return Scale(scale, round(min(max(-low / scale, 0.0), 255.0)), False)


def half_scale(scale: FloatArray | np.float32) -> FloatArray:
    """Scales rounded to FP16, within what FP16 holds without loss; float32, same shape."""
    bounded = np.clip(scale, SMALLEST_HALF, LARGEST_HALF)
    return np.asarray(bounded, np.float16).astype(np.float32)


def weight_scales(weights: FloatArray, axis: int | None) -> FloatArray:
    """The scale that lets the largest weight of each channel be 127; (channels,), or () without an axis."""
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    return np.asarray(np.abs(weights).max(axis=others, initial=0.0) / 127, np.float32)


def quantised_weights(weights: FloatArray, scales: FloatArray, axis: int | None) -> NDArray[np.int8]:
    """int8 weights of the same shape, -127 to 127."""
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = -1
    return np.asarray(np.clip(np.rint(weights / scales.reshape(shape)), -127, 127), np.int8)


class Ties:
    """Tensors that share one range (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, tensor: str) -> str:
        """The tensor that stands for all that are tied to this one."""
        while (parent := self._parent.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def tie(self, one: str, other: str) -> None:
        """Let two tensors, and all that are tied to them, share a range."""
        self._parent[self.root(one)] = self.root(other)

    def ranges(
        self, tensors: Iterable[str], ranges: Mapping[str, tuple[float, float]]
    ) -> dict[str, tuple[float, float]]:
        """Tensor -> the union of the ranges of all that it is tied to."""
        wanted = list(tensors)
        union: dict[str, tuple[float, float]] = {}
        for tensor in {*wanted, *self._parent, *self._parent.values()}:
            low, high = ranges.get(tensor, (0.0, 0.0))
            root = self.root(tensor)
            before = union.get(root, (0.0, 0.0))
            union[root] = (min(low, before[0]), max(high, before[1]))
        return {tensor: union[self.root(tensor)] for tensor in wanted}
