"""Losses of regressed coordinates (Toshev & Szegedy, CVPR 2014, arXiv 1312.4659)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def coordinate_loss(
    found: Tensor, wanted: Tensor, weights: Tensor, *, kind: Literal["l2", "l1", "huber"] = "l2"
) -> Tensor:
    """Loss of each image, summed over joints, float32 (B,). DeepPose is `l2`; mmpose's SmoothL1 is `huber`.

    Args:
        found: (B, K, 2), in units of the box.
        wanted: the same; anything, NaN too, where the weight is 0.
        weights: (B, K); 0 leaves a joint out.
        kind: of each coordinate; `huber` has its bend at 1.
    """
    with torch.autocast(found.device.type, enabled=False):
        share = weights.float()[..., None]
        values, truth = found.float(), torch.where(share > 0, wanted.float(), found.detach().float())
        if kind == "l2":
            cost = (values - truth) ** 2
        elif kind == "l1":
            cost = (values - truth).abs()
        else:
            cost = F.huber_loss(values, truth, reduction="none")
        return (cost * share).sum(dim=(1, 2))
