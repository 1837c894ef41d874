"""An engine without a network, for tests of everything around one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pose_runtime.arrays import AnyArray
from pose_runtime.engines._base import Engine, TensorSpec


class FakeEngine(Engine):
    """Gives what a function gives.

    Args:
        inputs, outputs: the tensors that it pretends to have.
        function: takes the checked inputs by name, returns the outputs by name.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        function: Callable[[Mapping[str, AnyArray]], Mapping[str, AnyArray]],
    ) -> None:
        super().__init__("fake", inputs, outputs)
        self._function = function

    def _infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        return self._function(inputs)
