"""Lightweight OpenPose: a dilated MobileNet, and stages of heatmaps and part affinity fields.

Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018, arXiv 1811.12004. Parameters
carry the author's names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HEATMAPS, _PAFS, _WIDTH = 19, 38, 128
# channels, stride, dilation of the depthwise separable blocks
_BLOCKS = (
    (64, 1, 1),
    (128, 2, 1),
    (128, 1, 1),
    (256, 2, 1),
    (256, 1, 1),
    (512, 1, 1),
    (512, 1, 2),
    *((512, 1, 1),) * 4,
)


def _conv(c_in: int, c_out: int, kernel: int = 3, *, norm: bool = False, dilation: int = 1) -> nn.Sequential:
    """Convolution with bias, batch norm if wanted, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(c_in, c_out, kernel, padding=dilation * (kernel // 2), dilation=dilation),
        *([nn.BatchNorm2d(c_out)] if norm else []),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*layers)


def _separable(c_in: int, c_out: int, stride: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, 3, stride, padding=dilation, dilation=dilation, groups=c_in, bias=False),
        nn.BatchNorm2d(c_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


def _separable_elu(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


class _Neck(nn.Module):
    """Between backbone and stages: (N, 512, H, W) to (N, 128, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.align = _conv(512, _WIDTH, 1)
        self.trunk = nn.Sequential(*(_separable_elu(_WIDTH) for _ in range(3)))
        self.conv = _conv(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Fewer channels."""
        x = self.align(x)
        y: Tensor = self.conv(x + self.trunk(x))
        return y


def _head(c_in: int, c_mid: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(_conv(c_in, c_mid, 1), nn.Sequential(nn.Conv2d(c_mid, c_out, 1)))


class _Stage(nn.Module):
    """A trunk, then heatmaps and fields."""

    def __init__(self, trunk: nn.Sequential, c_mid: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heatmaps = _head(_WIDTH, c_mid, _HEATMAPS)
        self.pafs = _head(_WIDTH, c_mid, _PAFS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps with the background, and fields."""
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class _RefinementBlock(nn.Module):
    """1x1, then two 3x3 convolutions around a shortcut."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.initial = _conv(c_in, _WIDTH, 1)
        self.trunk = nn.Sequential(_conv(_WIDTH, _WIDTH, norm=True), _conv(_WIDTH, _WIDTH, norm=True, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        """Refine."""
        x = self.initial(x)
        y: Tensor = x + self.trunk(x)
        return y


class LightweightOpenPose(nn.Module):
    """(N, 3, H, W) to heatmaps (N, 19, H/8, W/8) and fields (N, 38, H/8, W/8) of each stage in turn.

    Args:
        refinements: stages after the first, 1 to 3.
    """

    def __init__(self, *, refinements: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        widths = (32, *(width for width, _, _ in _BLOCKS))
        blocks = (_separable(c_in, *block) for c_in, block in zip(widths, _BLOCKS, strict=False))
        self.model = nn.Sequential(first, *blocks)
        self.cpm = _Neck()
        self.initial_stage = _Stage(nn.Sequential(*(_conv(_WIDTH, _WIDTH) for _ in range(3))), 512)
        both = _WIDTH + _HEATMAPS + _PAFS
        self.refinement_stages = nn.ModuleList(
            _Stage(nn.Sequential(_RefinementBlock(both), *(_RefinementBlock(_WIDTH) for _ in range(4))), _WIDTH)
            for _ in range(refinements)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Every stage's maps."""
        features = self.cpm(self.model(x))
        found: list[Tensor] = [*self.initial_stage(features)]
        for stage in self.refinement_stages:
            found += stage(torch.cat((features, found[-2], found[-1]), dim=1))
        return tuple(found)
