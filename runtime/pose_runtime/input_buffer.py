"""Memory for a network's input."""

from __future__ import annotations

import math

import numpy as np

from pose_runtime.arrays import AnyArray
from pose_runtime.engines import Engine
from pose_runtime.errors import FrameError
from pose_runtime.manifest import Input

_MAX_VALUES = 1 << 30  # a manifest's batch and size could ask for more than there is memory
_MAX_VIEWS = 64  # input sizes remembered


class InputBuffer:
    """Memory that grows to the largest case and is kept; the same shape gives the same array again.

    Args:
        engine: whose only input it is; the dtype is that input's.
        wanted: what the manifest says of it.
    """

    def __init__(self, engine: Engine, wanted: Input) -> None:
        self._channels = 1 if wanted.colour == "gray" else 3
        self._memory: AnyArray = np.zeros(0, engine.inputs[0].dtype)
        self._views: dict[tuple[int, ...], AnyArray] = {}

    def view(self, batch: int, size_wh: tuple[int, int]) -> AnyArray:
        """(batch, channels, H, W), to be filled, zeros at first; raises FrameError where it would be absurdly large."""
        shape = (batch, self._channels, size_wh[1], size_wh[0])
        if shape not in self._views:
            count = math.prod(shape)
            if count > _MAX_VALUES:
                raise FrameError(f"network input: got {shape}, wanted at most {_MAX_VALUES} values; export it smaller")
            if count > self._memory.size or len(self._views) >= _MAX_VIEWS:
                self._memory = np.zeros(max(count, self._memory.size), self._memory.dtype)
                self._views.clear()
            self._views[shape] = self._memory[:count].reshape(shape)
        return self._views[shape]
