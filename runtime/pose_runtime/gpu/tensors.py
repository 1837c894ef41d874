"""A network's tensors in device memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pose_runtime.engines import TensorSpec
from pose_runtime.engines._device import DeviceEngine
from pose_runtime.errors import BundleError
from pose_runtime.gpu.device import Resources
from pose_runtime.manifest import Manifest

_MAX_BYTES = 8 << 30  # of all tensors: a manifest's batch and size could ask for more than there is


class Tensor(NamedTuple):
    """Rows one after another.

    Attributes:
        address: of the first row.
        shape: of one row.
        dtype: of its values.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def row(self, index: int) -> int:
        """Address of a row."""
        return self.address + index * self.row_bytes

    def channels(self, row: int, first: int) -> int:
        """Address of a row's channel."""
        return self.row(row) + first * (self.row_bytes // self.shape[0])


class Tensors:
    """All tensors of an engine, with room for a number of rows; addresses stay the same for good.

    Attributes:
        input: the only one.
        outputs: by name.
        addresses: of all by name, as an engine binds them.

    Raises:
        BundleError: they would be absurdly large.
        EngineError: there is not enough memory.
    """

    def __init__(self, resources: Resources, manifest: Manifest, engine: DeviceEngine, rows: int) -> None:
        specs = (*engine.inputs, *engine.outputs)
        sizes = {spec.name: rows * math.prod(_row_shape(spec)) * spec.dtype.itemsize for spec in specs}
        if sum(sizes.values()) > _MAX_BYTES:
            raise BundleError(f"network: its tensors have {sum(sizes.values())} bytes, wanted at most {_MAX_BYTES}")
        made = {spec.name: Tensor(resources.memory(sizes[spec.name]), _row_shape(spec), spec.dtype) for spec in specs}
        self.input = made[manifest.input.tensor]
        self.outputs: Mapping[str, Tensor] = {spec.name: made[spec.name] for spec in engine.outputs}
        self.addresses: Mapping[str, int] = {name: tensor.address for name, tensor in made.items()}


def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    shape = tuple(size for size in spec.shape[1:] if size is not None)
    if len(shape) + 1 != len(spec.shape):
        raise BundleError(f"network: tensor {spec.name!r} is {spec}, wanted one size but for the batch")
    return shape
