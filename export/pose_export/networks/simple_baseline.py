"""SimpleBaseline: a ResNet, three transposed convolutions, and a heatmap per joint.

Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018. Parameters carry the authors' names.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pose_export.networks.resnet import ResNet


class SimpleBaseline(ResNet):
    """(N, 3, H, W), sides multiples of 32, to heatmaps (N, joints, H/4, W/4), no sigmoid."""

    def __init__(self, *, joints: int, blocks: Sequence[int], width: int = 64, deconv: int = 256) -> None:
        super().__init__(blocks=blocks, width=width)
        layers: list[nn.Module] = []
        channels = self.channels
        for _ in range(3):
            up = nn.ConvTranspose2d(channels, deconv, 4, 2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(deconv), nn.ReLU(inplace=True)]
            channels = deconv
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(deconv, joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One heatmap per joint."""
        heatmaps: Tensor = self.final_layer(self.deconv_layers(self.features(x)))
        return heatmaps
