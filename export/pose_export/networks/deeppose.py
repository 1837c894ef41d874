"""DeepPose: a network that regresses every joint's coordinates.

Toshev & Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014: AlexNet, at every stage of a
cascade the same network with weights of its own. MMPose's DeepPose is one stage on a ResNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pose_export.networks.resnet import ResNet

_LRN_SIZE, _LRN_ALPHA, _LRN_BETA, _LRN_BIAS = 5, 1e-4, 0.75, 2.0
_DROPOUT = 0.6


class LocalResponseNorm(nn.Module):
    """Krizhevsky et al. 2012, section 3.3: b = a / (2 + 1e-4 sum a^2)^0.75 over 5 neighbouring channels.

    PyTorch and ONNX divide the sum by the number of neighbours, the paper does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any (N, C, H, W) to the same shape."""
        if torch.onnx.is_in_onnx_export():
            exported: Tensor = _OnnxLocalResponseNorm.apply(x)  # type: ignore[no-untyped-call]
            return exported
        return _normalise(x)


def _normalise(x: Tensor) -> Tensor:
    return functional.local_response_norm(x, _LRN_SIZE, _LRN_SIZE * _LRN_ALPHA, _LRN_BETA, _LRN_BIAS)


class _OnnxLocalResponseNorm(torch.autograd.Function):
    """As one LRN node; PyTorch's own export spells it out as a three-dimensional pool."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return _normalise(x)

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        alpha = _LRN_SIZE * _LRN_ALPHA
        out = graph.op("LRN", x, size_i=_LRN_SIZE, alpha_f=alpha, beta_f=_LRN_BETA, bias_f=_LRN_BIAS)
        return out.setType(x.type())


class DeepPose(nn.Module):
    """One stage of the cascade: (N, 3, 220, 220) to (N, 2 joints), x and y of the first joint first.

    In units of the input's width and height from its middle; at later stages from the joint that the crop is around.

    Args:
        joints: of the skeleton.
        width: channels of the first convolution; the paper's others follow from it.
        hidden: units of both layers before the last.
        groups: 2 is the split over two GPUs that AlexNet's published weights have (second, fourth, fifth convolution).
    """

    def __init__(self, *, joints: int, width: int = 96, hidden: int = 4096, groups: int = 1) -> None:
        super().__init__()
        second, third, last = 8 * width // 3, 4 * width, 8 * width // 3
        pool = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 11, 4, padding=4),  # 55 x 55 of 220 x 220, as the paper has it
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            pool,
            nn.Conv2d(width, second, 5, padding=2, groups=groups),
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            pool,
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(third, third, 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            nn.Conv2d(third, last, 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            pool,
        )
        self.regressor = nn.Sequential(
            nn.Linear(6 * 6 * last, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(_DROPOUT),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(_DROPOUT),
            nn.Linear(hidden, 2 * joints),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coordinates."""
        values: Tensor = self.regressor(self.features(x).flatten(1))
        return values


class DeepPoseResNet(ResNet):
    """MMPose's: (N, 3, H, W), multiples of 32, to (N, 2 joints), x and y of the first joint first.

    In units of the input's width and height from its corner.
    """

    def __init__(self, *, joints: int, blocks: Sequence[int], width: int = 64) -> None:
        super().__init__(blocks=blocks, width=width)
        self.fc = nn.Linear(self.channels, 2 * joints)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised coordinates."""
        values: Tensor = self.fc(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return values
