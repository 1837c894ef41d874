"""Stacked hourglasses: one person's heatmaps, and associative embedding's heatmaps and tags.

Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, in the two layouts of the published
PyTorch weights (Princeton's and pytorch-pose's); Newell et al., "Associative Embedding", NeurIPS 2017. Parameters carry
the authors' names. Every network takes (N, 3, H, W) and returns one tensor per stack, the last one the best.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

_DEPTH = 4
_WIDTH = 256

Unit = Callable[[int, int], nn.Module]
"""Makes a layer that keeps the size, from channels in and out."""


class Conv(nn.Module):
    """A convolution with bias ("same" padding), then batch norm and ReLU where they are wanted."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, *, norm: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=(kernel - 1) // 2)
        self.bn = nn.BatchNorm2d(c_out) if norm else nn.Identity()
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class Residual(nn.Module):
    """Batch norm and ReLU before each of three convolutions, and a shortcut; a projection where widths differ."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = Conv(c_in, c_out // 2, 1, relu=False)
        self.bn2 = nn.BatchNorm2d(c_out // 2)
        self.conv2 = Conv(c_out // 2, c_out // 2, relu=False)
        self.bn3 = nn.BatchNorm2d(c_out // 2)
        self.conv3 = Conv(c_out // 2, c_out, 1, relu=False)
        self.skip_layer = nn.Identity() if c_in == c_out else Conv(c_in, c_out, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        y = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        found: Tensor = self.conv3(torch.relu(self.bn3(y))) + self.skip_layer(x)
        return found


class Hourglass(nn.Module):
    """Down by halves `depth` times and up again, with a branch at every size: (N, c, H, W) to the same shape."""

    def __init__(self, depth: int, channels: int, increase: int, unit: Unit) -> None:
        super().__init__()
        wider = channels + increase
        self.up1 = unit(channels, channels)
        self.low1 = unit(channels, wider)
        self.low2 = Hourglass(depth - 1, wider, increase, unit) if depth > 1 else unit(wider, wider)
        self.low3 = unit(wider, channels)

    def forward(self, x: Tensor) -> Tensor:
        """What is seen at this size, and what at the smaller ones."""
        low = self.low3(self.low2(self.low1(functional.max_pool2d(x, 2))))
        found: Tensor = self.up1(x) + functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return found


class _Merge(nn.Module):
    """A projection, named as the authors nested it."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.conv = Conv(c_in, _WIDTH, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Project."""
        y: Tensor = self.conv(x)
        return y


class _Stacked(nn.Module):
    """What the Princeton networks share: `pre`, then per stack `features`, `outs`, and what the next one gets."""

    def __init__(self, stacks: int, channels: int) -> None:
        super().__init__()
        self.outs = nn.ModuleList(Conv(_WIDTH, channels, 1, relu=False) for _ in range(stacks))
        self.merge_features = nn.ModuleList(_Merge(_WIDTH) for _ in range(stacks - 1))
        self.merge_preds = nn.ModuleList(_Merge(channels) for _ in range(stacks - 1))

    def see(self, stack: int, x: Tensor) -> Tensor:
        """The features of one stack."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of every stack."""
        x = self.get_submodule("pre")(x)
        found = []
        for i, out in enumerate(self.outs):
            features = self.see(i, x)
            found.append(out(features))
            if i < len(self.merge_preds):
                x = x + self.merge_preds[i](found[-1]) + self.merge_features[i](features)
        return tuple(found)


class StackedHourglass(_Stacked):
    """Princeton's: (N, 3, H, W), sides multiples of 64, to `stacks` heatmaps (N, joints, H/4, W/4)."""

    def __init__(self, *, stacks: int, joints: int) -> None:
        super().__init__(stacks, joints)
        self.pre = nn.Sequential(
            Conv(3, 64, 7, 2, norm=True), Residual(64, 128), nn.MaxPool2d(2), Residual(128, 128), Residual(128, _WIDTH)
        )
        self.hgs = nn.ModuleList(nn.Sequential(Hourglass(_DEPTH, _WIDTH, 0, Residual)) for _ in range(stacks))
        self.features = nn.ModuleList(
            nn.Sequential(Residual(_WIDTH, _WIDTH), Conv(_WIDTH, _WIDTH, 1, norm=True)) for _ in range(stacks)
        )

    def see(self, stack: int, x: Tensor) -> Tensor:
        """The features of one stack."""
        y: Tensor = self.features[stack](self.hgs[stack](x))
        return y


class EmbeddingHourglass(_Stacked):
    """Associative embedding's: (N, 3, H, W) to `stacks` times (N, channels, H/4, W/4): heatmaps, tags, spare ones."""

    def __init__(self, *, stacks: int, channels: int = 68) -> None:
        super().__init__(stacks, channels)
        self.pre = nn.Sequential(Conv(3, 64, 7, 2), Conv(64, 128), nn.MaxPool2d(2), Conv(128, 128), Conv(128, _WIDTH))
        self.features = nn.ModuleList(
            nn.Sequential(Hourglass(_DEPTH, _WIDTH, 128, Conv), Conv(_WIDTH, _WIDTH), Conv(_WIDTH, _WIDTH))
            for _ in range(stacks)
        )

    def see(self, stack: int, x: Tensor) -> Tensor:
        """The features of one stack."""
        y: Tensor = self.features[stack](x)
        return y


# ---- pytorch-pose ------------------------------------------------------------------------------------------------


class _Bottleneck(nn.Module):
    """As `Residual`, named otherwise."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1)
        self.bn2 = nn.BatchNorm2d(c_out // 2)
        self.conv2 = nn.Conv2d(c_out // 2, c_out // 2, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(c_out // 2)
        self.conv3 = nn.Conv2d(c_out // 2, c_out, 1)
        self.downsample = nn.Identity() if c_in == c_out else nn.Sequential(nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        y = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        found: Tensor = self.conv3(torch.relu(self.bn3(y))) + self.downsample(x)
        return found


class _FlatHourglass(nn.Module):
    """`Hourglass` with its layers in one list: of the smallest size first; up branch, two lower ones, the innermost."""

    def __init__(self) -> None:
        super().__init__()
        self.hg = nn.ModuleList(
            nn.ModuleList(nn.Sequential(_Bottleneck(_WIDTH, _WIDTH)) for _ in range(4 if level == 0 else 3))
            for level in range(_DEPTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """All levels."""
        return self._level(_DEPTH - 1, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        layers = self.hg[level]
        assert isinstance(layers, nn.ModuleList)
        low = layers[1](functional.max_pool2d(x, 2))
        low = layers[2](self._level(level - 1, low) if level else layers[3](low))
        found: Tensor = layers[0](x) + functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return found


class FlatStackedHourglass(nn.Module):
    """pytorch-pose's: (N, 3, H, W), sides multiples of 64, to `stacks` heatmaps (N, joints, H/4, W/4)."""

    def __init__(self, *, stacks: int, joints: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Bottleneck(64, 128))
        self.layer2 = nn.Sequential(_Bottleneck(128, _WIDTH))
        self.layer3 = nn.Sequential(_Bottleneck(_WIDTH, _WIDTH))
        self.hg = nn.ModuleList(_FlatHourglass() for _ in range(stacks))
        self.res = nn.ModuleList(nn.Sequential(_Bottleneck(_WIDTH, _WIDTH)) for _ in range(stacks))
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Conv2d(_WIDTH, _WIDTH, 1), nn.BatchNorm2d(_WIDTH), nn.ReLU()) for _ in range(stacks)
        )
        self.score = nn.ModuleList(nn.Conv2d(_WIDTH, joints, 1) for _ in range(stacks))
        self.fc_ = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 1) for _ in range(stacks - 1))
        self.score_ = nn.ModuleList(nn.Conv2d(joints, _WIDTH, 1) for _ in range(stacks - 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The heatmaps of every stack."""
        x = self.layer1(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(functional.max_pool2d(x, 2)))
        found = []
        for i, score in enumerate(self.score):
            features = self.fc[i](self.res[i](self.hg[i](x)))
            found.append(score(features))
            if i < len(self.fc_):
                x = x + self.fc_[i](features) + self.score_[i](found[-1])
        return tuple(found)
