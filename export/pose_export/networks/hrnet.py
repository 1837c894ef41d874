"""HRNet: a network that keeps its high resolution all the way, and its single-person pose head.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019. Parameters carry the
authors' names, so that their checkpoints load as they are. `branches` below are feature maps from fine to coarse:
branch i is (N, width · 2^i, H/4 / 2^i, W/4 / 2^i).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias ("same" padding), batch norm and, if wanted, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity: (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: (N, c_in, H, W) to (N, 256, H, W)."""

    def __init__(self, c_in: int, c_mid: int = 64, c_out: int = 256) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_mid)
        self.conv2 = nn.Conv2d(c_mid, c_mid, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_mid)
        self.conv3 = nn.Conv2d(c_mid, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = nn.Identity() if c_in == c_out else conv_bn(c_in, c_out, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to x, or to its projection where the widths differ."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class Exchange(nn.Module):
    """Four blocks on each branch, then every output branch is the sum of all branches brought to its size.

    list of branches to list of branches; `outputs` of them, counted from the finest.
    """

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(4))) for c in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bring(widths, j, i) for j in range(len(widths))) for i in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Sum in the order fine to coarse, as the authors do: float addition does not commute across three terms."""
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        fused = []
        for row in self.fuse_layers:
            assert isinstance(row, nn.ModuleList)
            total, *others = (layer(x) for layer, x in zip(row, branches, strict=True))
            for other in others:
                total = total + other
            fused.append(torch.relu(total))
        return fused


def _bring(widths: list[int], source: int, target: int) -> nn.Module:
    """Layers that give branch `source` the width and size of branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=float(2 ** (source - target)), mode="nearest")
        return nn.Sequential(*conv_bn(widths[source], widths[target], 1, relu=False), up)
    halvings = [conv_bn(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, conv_bn(widths[source], widths[target], 3, 2, relu=False))


class Backbone(nn.Module):
    """What HRNet and HigherHRNet share: (N, 3, H, W), H and W multiples of 32, to (N, width, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.conv1 = nn.Conv2d(3, 64, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Bottleneck(64), *(Bottleneck(256) for _ in range(3)))
        first = nn.Sequential(conv_bn(256, widths[1], 3, 2))  # nested one deeper, as the authors' names
        self.transition1 = nn.ModuleList([conv_bn(256, width, 3), first])
        self.stage2 = _stage(widths[:2], 1)
        self.transition2 = _transition(widths[:3])
        self.stage3 = _stage(widths[:3], 4)
        self.transition3 = _transition(widths)
        self.stage4 = _stage(widths, 3, last_outputs=1)

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to the finest branch."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        branches = self.stage2([layer(x) for layer in self.transition1])
        branches = self.stage3(_widen(self.transition2, branches))
        branches = self.stage4(_widen(self.transition3, branches))
        finest: Tensor = branches[0]
        return finest


def _stage(widths: list[int], modules: int, last_outputs: int | None = None) -> nn.Sequential:
    outputs = [len(widths)] * (modules - 1) + [last_outputs or len(widths)]
    return nn.Sequential(*(Exchange(widths, n) for n in outputs))


def _transition(widths: list[int]) -> nn.ModuleList:
    """The branches there are pass; the new, coarsest one is made from the one before it."""
    new = nn.Sequential(conv_bn(widths[-2], widths[-1], 3, 2))
    return nn.ModuleList([*(nn.Identity() for _ in widths[:-1]), new])


def _widen(transition: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    return [layer(x) for layer, x in zip(transition, [*branches, branches[-1]], strict=True)]


class HRNet(Backbone):
    """Top-down pose network: (N, 3, H, W) to heat-maps (N, joints, H/4, W/4), no sigmoid."""

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        self.final_layer = nn.Conv2d(width, joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One heat-map per joint."""
        heatmaps: Tensor = self.final_layer(self.features(x))
        return heatmaps
