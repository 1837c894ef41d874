"""The offset loss of G-RMI (Papandreou et al., CVPR 2017, arXiv 1701.01779)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def offset_loss(found: Tensor, wanted: Tensor, disks: Tensor) -> Tensor:
    """Huber loss of the error's length, bend at 1 map pixel, summed over the disks' pixels: float32 (B,).

    Args:
        found: (B, K, 2, H, W), map pixels.
        wanted: the same.
        disks: (B, K, H, W), true where the offset counts.
    """
    with torch.autocast(found.device.type, enabled=False):
        square = ((found.float() - wanted.float()) ** 2).sum(dim=2)
        # The length has no gradient at 0; where nothing counts or nothing is wrong, take the root of 1 instead.
        flat = (square == 0) | ~disks.bool()
        length = torch.where(flat, torch.ones_like(square), square).sqrt()
        cost = F.huber_loss(length, torch.zeros_like(length), reduction="none")
        return torch.where(flat, torch.zeros_like(cost), cost).sum(dim=(1, 2, 3))
