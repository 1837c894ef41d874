"""HigherHRNet: HRNet with a second, finer heat-map and tags that tell people apart.

Cheng et al., "HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation", CVPR 2020; tags as
in Newell et al., "Associative Embedding", NeurIPS 2017. Parameters carry the authors' names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pose_export.networks.hrnet import Backbone, BasicBlock


class HigherHRNet(Backbone):
    """Bottom-up pose network: (N, 3, H, W) to two tensors.

    First (N, 2 joints, H/4, W/4): heat-maps, then one tag map per joint. Second (N, joints, H/2, W/2): heat-maps only.
    """

    def __init__(self, *, width: int, joints: int) -> None:
        super().__init__(width)
        both = width + 2 * joints
        self.final_layers = nn.ModuleList([nn.Conv2d(width, 2 * joints, 1), nn.Conv2d(width, joints, 1)])
        up = nn.Sequential(
            nn.ConvTranspose2d(both, width, 4, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks = (nn.Sequential(BasicBlock(width)) for _ in range(4))
        self.deconv_layers = nn.ModuleList([nn.Sequential(up, *blocks)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-maps and tags at a quarter, heat-maps at half the size."""
        features = self.features(x)
        coarse: Tensor = self.final_layers[0](features)
        fine: Tensor = self.final_layers[1](self.deconv_layers[0](torch.cat((features, coarse), dim=1)))
        return coarse, fine
