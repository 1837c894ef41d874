"""jetpose's own small networks: one dense residual trunk, with the head of HigherHRNet or of Lightweight OpenPose.

Made for 256 to 320 px on an Orin Nano or one CPU core: plain 3x3 and 1x1 convolutions in multiples of 16 channels
(depthwise ones gain little from INT8), ReLU, nearest up-sampling and sums. The trunk goes down to 1/32 and comes back
to 1/4 as a feature pyramid does (Lin et al. 2017). Both networks name the trunk's parameters alike, so that either
can start from the other's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pose_export.networks.hrnet import BasicBlock, conv_bn

_WIDTHS = (32, 64, 96, 96)
_BLOCKS = (2, 3, 3, 1)
_LIMBS = 19


class Trunk(nn.Module):
    """(N, 3, H, W), H and W multiples of 32, to (N, width, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 16, 3, 2), conv_bn(16, _WIDTHS[0], 3, 2))
        inputs = (_WIDTHS[0], *_WIDTHS[:-1])
        self.stages = nn.ModuleList(
            _stage(c_in, c_out, blocks, stride=1 if i == 0 else 2)
            for i, (c_in, c_out, blocks) in enumerate(zip(inputs, _WIDTHS, _BLOCKS, strict=True))
        )
        outputs = (width, _WIDTHS[1], _WIDTHS[2])
        self.laterals = nn.ModuleList(conv_bn(a, b, 1, relu=False) for a, b in zip(_WIDTHS, outputs, strict=False))
        self.downwards = nn.ModuleList(
            conv_bn(a, b, 1, relu=False) for a, b in zip((*outputs[1:], _WIDTHS[3]), outputs, strict=True)
        )
        self.merges = nn.ModuleList((BasicBlock(width), BasicBlock(_WIDTHS[1]), nn.ReLU(inplace=True)))
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to the finest map."""
        x = self.stem(x)
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        for i in (2, 1, 0):
            x = self.merges[i](self.laterals[i](levels[i]) + self.up(self.downwards[i](x)))
        return x


def _stage(c_in: int, c_out: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = [] if stride == 1 else [conv_bn(c_in, c_out, 3, stride)]
    return nn.Sequential(*first, *(BasicBlock(c_out) for _ in range(blocks)))


class HigherHRNetTiny(Trunk):
    """Bottom-up with tags: (N, 3, H, W) to (N, 2 joints, H/4, W/4), heat-maps then tags, and (N, joints, H/2, W/2)."""

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        self.coarse = nn.Conv2d(width, 2 * joints, 1)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(width + 2 * joints, 32, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.fine = nn.Conv2d(32, joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-maps and tags at a quarter, heat-maps at half the size."""
        features = self.features(x)
        coarse: Tensor = self.coarse(features)
        fine: Tensor = self.fine(self.deconv(torch.cat((features, coarse), dim=1)))
        return coarse, fine


class LightweightTiny(Trunk):
    """Bottom-up with part affinity fields, in two stages: (N, 3, H, W) to four maps at a quarter of the size.

    First stage (N, joints + 1, H/4, W/4) heat-maps, the last one background, and (N, 38, H/4, W/4) fields; then the
    refined ones. In evaluation mode only the refined pair is returned.
    """

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        maps = joints + 1 + 2 * _LIMBS
        self.joints = joints
        self.first = nn.Conv2d(width, maps, 1)
        self.refine = nn.Sequential(conv_bn(width + maps, width, 1), BasicBlock(width), BasicBlock(width))
        self.second = nn.Conv2d(width, maps, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Heat-maps and fields of the last stage; in training those of the first stage before them."""
        features = self.features(x)
        first: Tensor = self.first(features)
        second: Tensor = self.second(self.refine(torch.cat((features, first), dim=1)))
        stages = (first, second) if self.training else (second,)
        return tuple(part for maps in stages for part in (maps[:, : self.joints + 1], maps[:, self.joints + 1 :]))
