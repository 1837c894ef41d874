"""What an engine on a GPU is: it reads and writes device memory that its caller owns, on its caller's stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pose_runtime.engines._base import TensorSpec
from pose_runtime.errors import EngineError

_Engine = TypeVar("_Engine", bound="DeviceEngine")


class DeviceEngine(ABC):
    """A network on a GPU, ready; use it by `with`, or `close()` it.

    Open from its construction on, and only while the context that was current then lives. One thread at a time. This
    base checks what comes in; a backend has only `_bind`, `_enqueue` and `_close`.

    Attributes:
        name: of the backend.
        inputs, outputs: the tensors, in the network's order. The first size of each shape is the batch, and None
            where the engine takes 1 to `max_batch`; all others are fixed.
        max_batch: the largest batch.
    """

    def __init__(
        self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch: int = 1
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.max_batch = max_batch
        self._is_open = True
        self._is_bound = False

    def bind(self, addresses: Mapping[str, int], batch: int = 1) -> None:
        """Say where the tensors lie.

        Args:
            addresses: device address of every input and output, aligned to 256 bytes, with room for `batch` rows.
                They are used by every `enqueue` until the next `bind`.
            batch: rows of the runs to come.

        Raises:
            EngineError: the engine is closed, an address is missing, null or not aligned, or the batch does not fit.
        """
        self._check_open()
        names = {spec.name for spec in (*self.inputs, *self.outputs)}
        if addresses.keys() != names:
            raise EngineError(f"engine {self.name}: got addresses of {sorted(addresses)}, wanted {sorted(names)}")
        bad = [name for name, address in addresses.items() if address <= 0 or address % 256]
        if bad:
            raise EngineError(f"engine {self.name}: addresses of {sorted(bad)} are null or not aligned to 256 bytes")
        fixed = self.inputs[0].shape[0]
        if not 1 <= batch <= self.max_batch or fixed not in (None, batch):
            wanted = f"1 to {self.max_batch}" if fixed is None else str(fixed)
            raise EngineError(f"engine {self.name}: got batch {batch}, wanted {wanted}")
        self._bind(addresses, batch)
        self._is_bound = True

    def enqueue(self, stream: int) -> None:
        """Queue one run on a stream (a CUstream's handle) and return; may be captured into a graph.

        Raises:
            EngineError: the engine is closed or not bound, or the backend refused.
        """
        self._check_open()
        if not self._is_bound:
            raise EngineError(f"engine {self.name}: its tensors have no addresses; bind it first")
        self._enqueue(stream)

    def close(self) -> None:
        """Free everything; a second time does nothing. No run may be under way."""
        if self._is_open:
            self._is_open = False
            self._close()

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise EngineError(f"engine {self.name}: it is closed; open a new one")

    @abstractmethod
    def _bind(self, addresses: Mapping[str, int], batch: int) -> None:
        """Take addresses that have been checked."""

    @abstractmethod
    def _enqueue(self, stream: int) -> None:
        """Queue a run with the bound addresses."""

    def _close(self) -> None:  # noqa: B027
        """Free what the backend holds."""
