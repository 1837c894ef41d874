"""Whether a tensor on the GPU has values that are not finite: one kernel over it, and a few flags that come back.

On the CPU a sum over the outputs tells (`pose_runtime.finite`). Here the outputs stay on the device, and decoders pass
over NaN, so that a broken graph would look like an empty frame. Reading the outputs once more costs less than a decode
kernel does: they were just written, and the flags ride in the copy of the result. Outputs of float16 become float32, as
the decoders want them, in the same pass.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from pose_runtime.arrays import ByteArray
from pose_runtime.gpu.device import ALIGNMENT
from pose_runtime.gpu.launch import Launch

_BLOCKS = ALIGNMENT // 4  # one int32 of flag each
_THREADS = 512


def plan_finite(values: int, count: int, flags: int, index: int, *, widened: int | None = None) -> Launch:
    """Check `count` values at an address.

    Args:
        values: their address.
        count: how many.
        flags: address of all tensors' flags, 256 bytes each.
        index: which tensor this is.
        widened: None where the values are float32; where they are float16, the address of as many float32, aligned to
            256 bytes, which they are copied to.
    """
    flag, grid, block = flags + index * ALIGNMENT, (_BLOCKS, 1, 1), (_THREADS, 1, 1)
    if widened is None:  # jetpose_finite(const float* values, i64 count, int* flags)
        return Launch("jetpose_finite", grid, block, struct.pack("@QqQ", values, count, flag))
    # jetpose_finite_half(const unsigned short* values, i64 count, float* out, int* flags)
    return Launch("jetpose_finite_half", grid, block, struct.pack("@QqQQ", values, count, widened, flag))


def flags_of(host: ByteArray, tensors: int) -> Sequence[bool]:
    """Per tensor whether it has values that are not finite; `host` begins with the flags as they lie on the device."""
    flags = host[: tensors * ALIGNMENT].view(np.int32).reshape(tensors, _BLOCKS)
    return [bool(row.any()) for row in flags]
