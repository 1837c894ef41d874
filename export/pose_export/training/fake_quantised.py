"""A network that rounds as its INT8 graph will: fake quantisation.

Values are rounded where the INT8 graph rounds them, gradients pass the rounding as if it were not there (the
straight-through estimator; none pass where a value is clipped). Weights are those of the plain network; the roundings
have none of their own. Batch norms keep their statistics, as the exported graph, into whose weights they are folded,
does; their scale and offset are trained. After Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

_SCALES = (2.0**-14, 511.0)
"""Of FP16: the smallest normal number, since TensorRT refuses 0, and the largest scale whose 128 steps FP16 holds."""


Exponents = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer with INT8 weights, and the batch norm that is folded into them.

    Attributes:
        name: of the module, in the network.
        norm: of the batch norm behind it; None without.
        axis: of the weights that counts output channels.
        groups: of channels.
        phases: of a transposed convolution that INT8 runs as a convolution and DepthToSpace: for each place in the
            kernel, row by row, which pixels of a block it adds to; each such phase of a channel has its own scale.
        read, made: exponents e per channel of the tensors that it reads and makes, which INT8 holds divided by 2^e;
            None where it does not divide.
    """

    name: str
    norm: str | None
    axis: int
    groups: int
    phases: tuple[int, ...] | None
    read: Exponents | None
    made: Exponents | None


@dataclass(frozen=True)
class Roundings:
    """What one mode of a network, training or evaluation, computes with roundings: steps, and layers to round."""

    graph: fx.Graph
    layers: tuple[Layer, ...]


class FakeQuantised(nn.Module):
    """A network that rounds as its INT8 graph does.

    Args:
        network: as traced; it is used, not copied, and it keeps the only weights that there are.
        roundings: for training, and for evaluation, where a network may compute less.
    """

    def __init__(self, network: nn.Module, roundings: dict[bool, Roundings]) -> None:
        super().__init__()
        self.network = network
        self._layers = {mode: of.layers for mode, of in roundings.items()}
        # not registered: they hold the network's own modules
        self._graphs = {mode: fx.GraphModule(network, of.graph) for mode, of in roundings.items()}
        self.train(network.training)

    def train(self, mode: bool = True) -> FakeQuantised:
        """As any module, but batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Any:
        """What the network returns, from rounded weights and activations."""
        weights = {f"{layer.name}.weight": self._rounded(layer) for layer in self._layers[self.training]}
        return functional_call(self._graphs[self.training], weights, (x,))

    def _rounded(self, layer: Layer) -> Tensor:
        """Weights rounded with the scales of the graph.

        The graph rounds weights times a factor f of their output channel, which is that of the batch norm, and 2^-e of
        the divided result. Both w and f·w become the same integers, with steps s and s·|f|, so w is rounded with the
        graph's step over |f|. So too with the factors 2^e of input channels, though these share one step of the graph.
        """
        weight = cast(Tensor, self.network.get_submodule(layer.name).weight)
        with torch.no_grad():
            spread = _spread(weight, layer)
            rows = _rows((weight * spread).abs(), layer)
            factor = 1 / _powers(layer.made, rows).view(-1, 1)
            if layer.norm is not None:
                norm = _factor(self.network.get_submodule(layer.norm)).abs().clamp_min(1e-30)
                factor = factor * norm.view(-1, 1)
            step = (_largest(rows, layer) * factor / 127).clamp(*_SCALES).half().float() / factor
            step = _unrolled(step.expand(len(rows), -1), weight, layer)
            step = step / spread
        return _on_grid(weight, step)


def _powers(exponents: Exponents | None, like: Tensor) -> Tensor:
    """2^e, exactly; a single 1 without exponents."""
    return torch.tensor([2.0**e for e in exponents or (0,)], device=like.device)


def _spread(weight: Tensor, layer: Layer) -> Tensor:
    """The factors of input channels, to be multiplied with the weights."""
    powers = _powers(layer.read, weight)
    rest = [1] * (weight.ndim - 2)
    if layer.axis == 1 or layer.read is None:
        return powers.view(-1, 1, *rest)
    grouped = powers.view(layer.groups, 1, -1, *rest)
    return grouped.expand(-1, len(weight) // layer.groups, *[-1] * (weight.ndim - 1)).flatten(0, 1)


def _rows(weight: Tensor, layer: Layer) -> Tensor:
    """(output channels, all of one channel's weights); of transposed convolutions (…, places of the kernel)."""
    if layer.axis == 0:
        return weight.flatten(1)
    grouped = weight.view(layer.groups, -1, *weight.shape[1:])
    return grouped.amax(1).flatten(0, 1).flatten(1)


def _largest(rows: Tensor, layer: Layer) -> Tensor:
    """The largest of the numbers that share a scale: (channels, 1), with scales per phase (channels, places)."""
    if layer.phases is None:
        return rows.amax(1, keepdim=True)
    phase = torch.tensor(layer.phases, device=rows.device).expand(len(rows), -1)
    most = rows.new_zeros(len(rows), max(layer.phases) + 1).scatter_reduce(1, phase, rows, "amax")
    return most.gather(1, phase)


def _unrolled(step: Tensor, weight: Tensor, layer: Layer) -> Tensor:
    """Steps of rows in a shape that broadcasts to the weights'."""
    if layer.axis == 0:
        return step.view(-1, *[1] * (weight.ndim - 1))
    kernel = [1] * (weight.ndim - 2) if layer.phases is None else weight.shape[2:]
    inner, channels = weight.shape[0] // layer.groups, weight.shape[1]
    grouped = step.view(layer.groups, 1, channels, *kernel)
    return grouped.expand(-1, inner, *[-1] * (weight.ndim - 1)).flatten(0, 1)


def fake_quantise(x: Tensor, scale: float, exponents: Exponents | None = None) -> Tensor:
    """float32 of the same shape, rounded to -128 to 127 times `scale`, as QuantizeLinear and DequantizeLinear do.

    Args:
        x: (N, C, ...).
        scale: the step.
        exponents: e per channel: it is divided by 2^e before, and multiplied by it after.
    """
    step = scale if exponents is None else scale * _powers(exponents, x).view(-1, *[1] * (x.ndim - 2))
    return _on_grid(x.float(), step)


def _on_grid(x: Tensor, step: Tensor | float) -> Tensor:
    """The nearest of -128 to 127 steps; torch.fake_quantize_* does the same in three times as long."""
    whole = nn.functional.hardtanh(_Divide.apply(x, step), -128, 127)  # type: ignore[no-untyped-call]
    values: Tensor = _RoundAndMultiply.apply(whole, step)  # type: ignore[no-untyped-call]
    return values


class _Divide(torch.autograd.Function):
    """By a step. The gradient passes as it is, for behind the clipping _RoundAndMultiply takes the step back."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, step: Tensor | float) -> Tensor:
        return x / step

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _RoundAndMultiply(torch.autograd.Function):
    """Half to even, times a step; see _Divide for the gradient."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, step: Tensor | float) -> Tensor:
        return x.round().mul_(step)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _factor(norm: nn.Module) -> Tensor:
    """What a batch norm in evaluation mode multiplies each channel with."""
    assert isinstance(norm, _BatchNorm) and norm.running_var is not None  # noqa: PT018
    factor = (norm.running_var + norm.eps).rsqrt()
    return factor if norm.weight is None else factor * norm.weight
