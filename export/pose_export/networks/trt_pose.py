"""trt_pose: ResNet-18 or DenseNet-121, and heatmaps and part affinity fields behind an attention each.

NVIDIA-AI-IOT/trt_pose (2019), after Cao et al. 2017; He et al., "Deep Residual Learning", CVPR 2016; Huang et al.,
"Densely Connected Convolutional Networks", CVPR 2017. Parameters carry the published names; the classifiers of the
backbones, which the files hold, are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pose_export.networks.hrnet import conv_bn

_WIDTH = 256


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which halves where `stride` is 2."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        same = c_in == c_out and stride == 1
        self.downsample = nn.Identity() if same else conv_bn(c_in, c_out, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """(N, 3, H, W) to (N, 512, H/32, W/32)."""

    channels = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for i in range(4):
            width = 64 * 2**i
            blocks = (_BasicBlock(channels, width, 1 if i == 0 else 2), _BasicBlock(width, width, 1))
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            channels = width

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's maps."""
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return x


class _DenseLayer(nn.Module):
    """32 more channels from all before."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, 128, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The channels so far with the new ones."""
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(torch.relu(self.norm2(y)))), dim=1)


class DenseNet121(nn.Module):
    """(N, 3, H, W) to (N, 1024, H/32, W/32), without the last ReLU."""

    channels = 1024

    def __init__(self) -> None:
        super().__init__()
        features = nn.Sequential()
        features.add_module("conv0", nn.Conv2d(3, 64, 7, 2, padding=3, bias=False))
        features.add_module("norm0", nn.BatchNorm2d(64))
        features.add_module("relu0", nn.ReLU(inplace=True))
        features.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
        channels = 64
        for i, layers in enumerate((6, 12, 24, 16)):
            block = nn.Sequential()
            for j in range(layers):
                block.add_module(f"denselayer{j + 1}", _DenseLayer(channels))
                channels += 32
            features.add_module(f"denseblock{i + 1}", block)
            if i < 3:
                between = nn.Sequential()
                between.add_module("norm", nn.BatchNorm2d(channels))
                between.add_module("relu", nn.ReLU(inplace=True))
                between.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
                between.add_module("pool", nn.AvgPool2d(2))
                features.add_module(f"transition{i + 1}", between)
                channels //= 2
        features.add_module("norm5", nn.BatchNorm2d(channels))
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """The last block's maps."""
        y: Tensor = self.features(x)
        return y


_BACKBONES: dict[str, type[ResNet18] | type[DenseNet121]] = {"resnet": ResNet18, "densenet": DenseNet121}


class _Backbone(nn.Module):
    """The backbone under its published name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.add_module(name, _BACKBONES[name]())

    def forward(self, x: Tensor) -> Tensor:
        """Its maps."""
        y: Tensor = self.get_submodule(self._name)(x)
        return y


def _upsampling(c_in: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (c_in, _WIDTH, _WIDTH):
        up = nn.ConvTranspose2d(channels, _WIDTH, 4, 2, padding=1)
        layers += [up, nn.BatchNorm2d(_WIDTH), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class _Head(nn.Module):
    """Three times twice the size, an attention, and the maps."""

    def __init__(self, c_in: int, heatmaps: int, pafs: int) -> None:
        super().__init__()
        self.cmap_up, self.paf_up = _upsampling(c_in), _upsampling(c_in)
        self.cmap_att = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.paf_att = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.cmap_conv = nn.Conv2d(_WIDTH, heatmaps, 1)
        self.paf_conv = nn.Conv2d(_WIDTH, pafs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and fields."""
        heat, field = self.cmap_up(x), self.paf_up(x)
        heat = heat * torch.sigmoid(self.cmap_att(heat))
        field = field * torch.tanh(self.paf_att(field))
        return self.cmap_conv(heat), self.paf_conv(field)


class TrtPose(nn.Sequential):
    """(N, 3, H, W), sides multiples of 32, to heatmaps (N, 18, H/4, W/4) and fields (N, 42, H/4, W/4), y before x."""

    def __init__(self, *, backbone: str, joints: int = 18, limbs: int = 21) -> None:
        channels = _BACKBONES[backbone].channels
        super().__init__(_Backbone(backbone), _Head(channels, joints, 2 * limbs))
