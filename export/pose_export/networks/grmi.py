"""G-RMI's pose network: which pixels lie near each joint, and how far away it is.

Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild", CVPR 2017, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from pose_export.networks.resnet import ResNet


class GRMI(ResNet):
    """(N, 3, H, W) to logits (N, joints, H, W) and offsets (N, 2 joints, H, W): x and y of the first joint first.

    The maps are made at an eighth of the size and enlarged so that corner pixels meet; sides of 8 n + 1 pixels, such as
    the paper's 257 x 353, then have a map pixel on every eighth pixel. Offsets are in pixels of the input.
    """

    def __init__(self, *, joints: int, blocks: Sequence[int], width: int = 64) -> None:
        super().__init__(blocks=blocks, width=width, output_stride=8)
        self.joints = joints
        self.head = nn.Conv2d(self.channels, 3 * joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the disks, and offsets."""
        maps = functional.interpolate(
            self.head(self.features(x)), size=x.shape[2:], mode="bilinear", align_corners=True
        )
        return maps[:, : self.joints], maps[:, self.joints :]
