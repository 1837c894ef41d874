"""jetpose's own small networks: one dense residual trunk, with the head of HigherHRNet or of Lightweight OpenPose.

Made for 256 to 320 px on an Orin Nano or one CPU core: plain 3x3 and 1x1 convolutions in multiples of 16 channels
(depthwise ones gain little from INT8), ReLU, nearest up-sampling and sums. The trunk goes down to 1/32 and comes back
to 1/4 as a feature pyramid does (Lin et al. 2017). All networks name the trunk's parameters alike, so that each can
start from another's weights.
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

    finest = 0
    """The level that the pyramid comes back to: 0 is a quarter, 1 an eighth."""

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
        for i in range(2, self.finest - 1, -1):
            x = self.merges[i](self.laterals[i](levels[i]) + self.up(self.downwards[i](x)))
        return x


def _stage(c_in: int, c_out: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = [] if stride == 1 else [conv_bn(c_in, c_out, 3, stride)]
    return nn.Sequential(*first, *(BasicBlock(c_out) for _ in range(blocks)))


class HigherHRNetTiny(Trunk):
    """Bottom-up with tags: (N, 3, H, W) to (N, 2 joints, H/4, W/4), heat-maps then tags, and (N, joints, H/2, W/2)."""

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        self.coarse, self.deconv, self.fine = _tag_layers(width, joints)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Heat-maps and tags at a quarter, heat-maps at half the size."""
        return _tag_maps(self.features(x), self.coarse, self.deconv, self.fine)


class LightweightTiny(Trunk):
    """Bottom-up with part affinity fields, in two stages: (N, 3, H, W) to four maps at a quarter of the size.

    First stage (N, joints + 1, H/4, W/4) heat-maps, the last one background, and (N, 38, H/4, W/4) fields; then the
    refined ones. In evaluation mode only the refined pair is returned.
    """

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        self.first, self.refine, self.second = _field_layers(width, joints)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Heat-maps and fields of the last stage; in training those of the first stage before them."""
        return _field_maps(self.features(x), self.first, self.refine, self.second, all_stages=self.training)


class JointTiny(Trunk):
    """Both heads on one trunk: what HigherHRNetTiny returns, then what LightweightTiny does, which knows a neck more.

    It is for training: both networks learn in little more than the time of one, and each starts from its weights, for
    a part has the same name in all networks that have it.
    """

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        self.coarse, self.deconv, self.fine = _tag_layers(width, joints)
        self.first, self.refine, self.second = _field_layers(width, joints + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of both."""
        features = self.features(x)
        fields = _field_maps(features, self.first, self.refine, self.second, all_stages=self.training)
        return *_tag_maps(features, self.coarse, self.deconv, self.fine), *fields


class PersonTiny(Trunk):
    """Boxes of people: (N, 3, H, W) to (N, 1, H/8, W/8) logits of centres and (N, 4, H/8, W/8) distances.

    Distances run from a cell's centre to the box's left, top, right and bottom side, in cells ("Objects as Points",
    Zhou et al. 2019, arXiv 1904.07850, has sizes and offsets). The trunk ends at an eighth, with 64 channels.
    """

    finest = 1

    def __init__(self) -> None:
        super().__init__(_WIDTHS[0])
        for finer in (self.laterals, self.downwards, self.merges):
            finer[0] = nn.Identity()  # keeps the others' names
        width = _WIDTHS[1]
        self.neck = nn.Sequential(conv_bn(width, width, 3), BasicBlock(width))
        self.centres, self.sides = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 4, 1)
        nn.init.constant_(_bias(self.centres), -4.6)  # one cell in a hundred: else the empty ones rule the first steps
        nn.init.constant_(_bias(self.sides), 4.0)  # people of some 64 pixels

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Centres, then distances."""
        x = self.neck(self.features(x))
        return self.centres(x), self.sides(x)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _tag_layers(width: int, joints: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    coarse, fine = nn.Conv2d(width, 2 * joints, 1), nn.Conv2d(32, joints, 1)
    up = nn.ConvTranspose2d(width + 2 * joints, 32, 4, 2, padding=1, bias=False)
    return coarse, nn.Sequential(up, nn.BatchNorm2d(32), nn.ReLU(inplace=True)), fine


def _tag_maps(features: Tensor, coarse: nn.Module, deconv: nn.Module, fine: nn.Module) -> tuple[Tensor, ...]:
    maps: Tensor = coarse(features)
    return maps, fine(deconv(torch.cat((features, maps), dim=1)))


def _field_layers(width: int, joints: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    maps = joints + 1 + 2 * _LIMBS
    refine = nn.Sequential(conv_bn(width + maps, width, 1), BasicBlock(width), BasicBlock(width))
    return nn.Conv2d(width, maps, 1), refine, nn.Conv2d(width, maps, 1)


def _field_maps(
    features: Tensor, first: nn.Module, refine: nn.Module, second: nn.Module, *, all_stages: bool
) -> tuple[Tensor, ...]:
    one: Tensor = first(features)
    two: Tensor = second(refine(torch.cat((features, one), dim=1)))
    pairs = [(maps[:, : -2 * _LIMBS], maps[:, -2 * _LIMBS :]) for maps in ((one, two) if all_stages else (two,))]
    return tuple(part for pair in pairs for part in pair)
