"""Whether a tensor on the GPU has values that are not finite: one kernel over it, and a few flags that come back.

On the CPU a sum over the outputs tells (`pose_runtime.finite`). Here the outputs stay on the device, and decoders pass
over NaN, so that a broken graph would look like an empty frame. Reading the outputs once more costs less than a decode
kernel does: they were just written, and the flags ride in the copy of the result.
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


def plan_finite(values: int, count: int, flags: int, index: int) -> Launch:
    """Check `count` float32 values at an address.

    Args:
        values: their address.
        count: how many.
        flags: address of all tensors' flags, 256 bytes each.
        index: which tensor this is.
    """
    # jetpose_finite(const float* values, i64 count, int* flags)
    arguments = struct.pack("@QqQ", values, count, flags + index * ALIGNMENT)
    return Launch("jetpose_finite", (_BLOCKS, 1, 1), (_THREADS, 1, 1), arguments)


def flags_of(host: ByteArray, tensors: int) -> Sequence[bool]:
    """Per tensor whether it has values that are not finite; `host` begins with the flags as they lie on the device."""
    flags = host[: tensors * ALIGNMENT].view(np.int32).reshape(tensors, _BLOCKS)
    return [bool(row.any()) for row in flags]
