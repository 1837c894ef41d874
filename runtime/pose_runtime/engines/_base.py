"""What every engine is: named tensors in, named tensors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from pose_runtime.arrays import AnyArray
from pose_runtime.errors import EngineError

_Engine = TypeVar("_Engine", bound="Engine")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor: its name, shape (None where any size fits) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            want in (None, size) for size, want in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join('any' if n is None else str(n) for n in self.shape)})"


class Engine(ABC):
    """A network that is loaded and ready; use it by `with`, or `close()` it.

    Open from its construction on. An engine serves one thread at a time. This base checks what comes in; a backend
    has only `_infer` and `_close`.

    Attributes:
        name: of the backend.
        inputs, outputs: the tensors, in the graph's order.
    """

    def __init__(self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._is_open = True

    def infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Run the network once.

        Args:
            inputs: one C-contiguous array per input, with its dtype and shape. They are read until this returns and
                are not changed. Arrays that stay the same objects from call to call are cheapest.

        Returns:
            One array per output. They belong to the engine and hold until the next `infer` or `close`; copy to keep.

        Raises:
            EngineError: the engine is closed, an input does not fit, or the backend failed.
        """
        if not self._is_open:
            raise EngineError(f"engine {self.name}: it is closed; open a new one")
        self._check(inputs)
        return self._infer(inputs)

    def close(self) -> None:
        """Free everything; a second time does nothing."""
        if self._is_open:
            self._is_open = False
            self._close()

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, inputs: Mapping[str, AnyArray]) -> None:
        names = [spec.name for spec in self.inputs]
        if inputs.keys() != set(names):
            raise EngineError(f"engine {self.name}: got inputs {sorted(inputs)}, wanted {sorted(names)}")
        for spec in self.inputs:
            array = inputs[spec.name]
            if array.dtype != spec.dtype or not spec.takes(array.shape):
                got = f"{array.dtype} {array.shape}"
                raise EngineError(f"engine {self.name}: input {spec.name!r} got {got}, wanted {spec}")
            if not array.flags.c_contiguous:
                raise EngineError(f"engine {self.name}: input {spec.name!r} is not C-contiguous; copy it first")

    @abstractmethod
    def _infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Run on inputs that have been checked."""

    def _close(self) -> None:  # noqa: B027
        """Free what the backend holds."""
