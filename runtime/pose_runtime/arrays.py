"""Array types, and the one place that makes an array what the native code takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_runtime.errors import DecodeError

FloatArray = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
ByteArray = NDArray[np.uint8]
AnyArray = NDArray[Any]


def as_maps(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> FloatArray:
    """`value` as a C-contiguous float32 array; copied only where it is not one already.

    Args:
        name: what the array is, for the message.
        value: any real array.
        shape: wanted shape; None is any size of at least 1.

    Raises:
        DecodeError: wrong number of dimensions, a wrong or zero size, or no real numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DecodeError(f"{name}: got dtype {array.dtype}, wanted real numbers")
    if not _fits(array.shape, shape):
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise DecodeError(f"{name}: got shape {array.shape}, wanted {wanted}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _fits(got: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(got) != len(wanted):
        return False
    for n, want in zip(got, wanted, strict=True):  # noqa: SIM110  # runs per call; all() costs twice as much
        if n != want and (want is not None or n == 0):
            return False
    return True


def as_out(name: str, out: FloatArray | None, shape: tuple[int, ...]) -> FloatArray:
    """The caller's output array, checked, or a new one.

    Raises:
        DecodeError: `out` is not a writable C-contiguous float32 array of that shape.
    """
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise DecodeError(f"{name}: got shape {out.shape} of {out.dtype}, wanted contiguous float32 {shape}")
    return out
