"""INT8 plans of small networks, and networks whose sums are exact whatever their order, for tests of what rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from pose_calibration.equalise import equalised, exponents, read_by_weights
from pose_calibration.placement import candidates, tensorrt_graph, weighted
from pose_calibration.plan import VERSION, Plan
from pose_export.networks.hrnet import BasicBlock, conv_bn
from pose_export.training.partners import values_of
from pose_export.training.qat import exported


class TwoBlocks(nn.Module):
    """(N, 3, H, W) to (N, 5, H, W): all that networks have around convolutions, in little; training returns more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2)
        self.blocks = nn.Sequential(BasicBlock(8), BasicBlock(8))
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Sequential(conv_bn(8, 12, 3), nn.Upsample(scale_factor=2.0, mode="nearest"))
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(20, 8, 4, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        fine = self.blocks(self.stem(x))
        maps: torch.Tensor = self.head(self.deconv(torch.cat((fine, self.deep(self.pool(fine))), dim=1)))
        return (maps, fine) if self.training else maps


def pictures(count: int = 1, side: int = 64, seed: int = 0) -> np.ndarray:
    """float32 (N, 3, side, side): multiples of 1/64 around 0, so that sums of them are exact."""
    random = np.random.default_rng(seed)
    return (np.rint(random.standard_normal((count, 3, side, side)) * 64) / 64).astype(np.float32)


def make_exact(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of 8 bits and batch norms that multiply with powers of 2, of either sign: float32 loses nothing."""
    random = np.random.default_rng(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            outer = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            whole = np.rint(random.laplace(0, 20, module.weight.shape)).clip(-127, 127)
            np.moveaxis(whole, outer, 0).reshape(module.out_channels, -1)[:, 0] = 127  # the scale is a power of 2
            gain = 2.0 ** -round(math.log2(40 * math.sqrt(module.weight.numel() / module.out_channels)))
            module.weight.data = torch.from_numpy((whole * gain).astype(np.float32))
            if module.bias is not None:
                module.bias.data = torch.from_numpy(
                    (random.integers(-8, 8, module.out_channels) / 8).astype(np.float32)
                )
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
            shape = module.num_features
            factors = 2.0 ** random.integers(-1, 1, shape) * random.choice([-1, 1], shape)
            module.weight.data = torch.from_numpy(factors.astype(np.float32))
    return network


def plan_of(
    network: nn.Module,
    outputs: Sequence[str],
    x: np.ndarray,
    *,
    wide: float = 1.0,
    heads: bool = False,
    powers_of_2: bool = False,
    divide: bool = False,
) -> Plan:
    """All layers INT8 (the heads too, if wanted), with the largest values, times `wide`, as ranges.

    Channels are divided by what `equalise.py` finds for a random reach of theirs, if wanted.
    """
    model = exported(network, outputs, x.shape[2])
    (name,) = (value.name for value in model.graph.input)
    found = values_of(model, list(candidates(model)), {name: x[:1]})
    divisors: dict[str, tuple[int, ...]] = {}
    if divide:
        random = np.random.default_rng(0)
        reach = {tensor: 2.0 ** random.integers(-3, 4, found[tensor].shape[1]) for tensor in read_by_weights(model)}
        divisors = exponents(model, reach, balance=1.0)
        for tensor in divisors.keys() & found.keys():
            found[tensor] = found[tensor] / np.exp2(np.float32(divisors[tensor])).reshape(1, -1, 1, 1)
    largest = {tensor: wide * max(float(np.abs(values).max()), 1e-3) for tensor, values in found.items()}
    if powers_of_2:
        largest = {tensor: 127 * 2.0 ** math.ceil(math.log2(value / 160)) for tensor, value in largest.items()}
    return Plan(
        version=VERSION,
        exponents=divisors,
        shifts={},
        int8=tuple(node.name for node in weighted(model) if heads or not node.head),
        ranges={tensor: (-value, value) for tensor, value in largest.items()},
        fp32=(),
        method="minmax",
        data="noise",
    )


def graph_of(network: nn.Module, outputs: Sequence[str], plan: Plan, side: int = 64) -> ModelProto:
    """The graph that TensorRT would get."""
    return tensorrt_graph(equalised(exported(network, outputs, side), plan.exponents), plan)


def in_float32(model: ModelProto) -> ModelProto:
    """A graph typed FP16, with float32 in its place."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    return copy


def run_onnx(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """All outputs, without any optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: x})
    return results
