"""ResNet with bottleneck blocks: the backbone of DeepPose's later networks, SimpleBaseline and G-RMI.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride in the 3x3 convolution, as
torchvision and MMPose have it; parameters carry their names. Atrous (G-RMI; Chen et al., DeepLab, TPAMI 2018): a layer
keeps its input's size and spreads the taps of its 3x3 convolutions instead, so that the same weights see the same
context at a higher resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pose_export.networks.hrnet import conv_bn

_EXPANSION = 4
_STRIDES = (1, 2, 2, 2)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: (N, c_in, H, W) to (N, 4 c_mid, H / stride, W / stride)."""

    def __init__(self, c_in: int, c_mid: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        c_out = _EXPANSION * c_mid
        self.conv1 = nn.Conv2d(c_in, c_mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_mid)
        self.conv2 = nn.Conv2d(c_mid, c_mid, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(c_mid)
        self.conv3 = nn.Conv2d(c_mid, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        same = c_in == c_out and stride == 1
        self.downsample = nn.Identity() if same else conv_bn(c_in, c_out, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to x, or to its projection where the shapes differ."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """The backbone: (N, 3, H, W) to (N, channels, H / output_stride, W / output_stride).

    Args:
        blocks: of each of the four layers: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) 101, (3, 8, 36, 3) 152.
        width: channels of the stem, a 32nd of those of the result.
        output_stride: 32, or 16 or 8 with atrous layers in the place of strides.

    Attributes:
        channels: of `features`.
    """

    def __init__(self, *, blocks: Sequence[int], width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels, reached, dilation = width, 4, 1
        for i, (count, wanted) in enumerate(zip(blocks, _STRIDES, strict=True)):
            stride = wanted if reached * wanted <= output_stride else 1
            # The first block of an atrous layer still stands on the layer before it.
            first = Bottleneck(channels, width * 2**i, stride=stride, dilation=dilation)
            reached, dilation = reached * stride, dilation * wanted // stride
            channels = _EXPANSION * width * 2**i
            others = (Bottleneck(channels, width * 2**i, dilation=dilation) for _ in range(count - 1))
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *others))
        self.channels = channels

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to the last layer's maps."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(len(_STRIDES)):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return x
