"""A PyTorch network as an engine, so that the product's own pipeline validates it while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pose_runtime.arrays import AnyArray
from pose_runtime.engines import Engine, TensorSpec

INPUT = "image"


class TorchEngine(Engine):
    """A network in evaluation mode, float32, any batch, one size; it is borrowed, not owned.

    Args:
        network: takes float32 (N, 3, H, W), returns a tensor or several of them.
        output_names: of these tensors, in order; None for one that only training needs.
        size_wh: width and height of the input.
    """

    def __init__(self, network: nn.Module, output_names: Sequence[str | None], size_wh: tuple[int, int]) -> None:
        self._network, self._names = network, tuple(output_names)
        self._device = next(network.parameters()).device
        width, height = size_wh
        sample = self._run(np.zeros((1, 3, height, width), np.float32))
        kind = np.dtype(np.float32)
        outputs = [TensorSpec(name, (None, *array.shape[1:]), kind) for name, array in sample.items()]
        super().__init__("torch", [TensorSpec(INPUT, (None, 3, height, width), kind)], outputs)

    def _infer(self, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        return self._run(inputs[INPUT])

    def _run(self, images: AnyArray) -> dict[str, AnyArray]:
        self._network.eval()
        with torch.inference_mode():
            x = torch.from_numpy(images).to(self._device)
            outputs = as_tuple(self._network(x.contiguous(memory_format=torch.channels_last)))
        named = zip(self._names, outputs, strict=True)
        return {name: np.ascontiguousarray(output.float().cpu().numpy()) for name, output in named if name is not None}


def as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a network returns, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
