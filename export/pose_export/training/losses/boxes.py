"""The losses of a detector of centres and boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, heat: Tensor, mask: Tensor, *, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Penalty-reduced focal loss, the sum over all cells: "Objects as Points" (arXiv 1904.07850), equation 1.

    Where heat is 1, -(1 - p)^alpha ln p; elsewhere -(1 - heat)^beta p^alpha ln(1 - p). To be divided by the number of
    people.

    Args:
        logits: (B, 1, H, W); p is their logistic function.
        heat: the same shape, 0 to 1.
        mask: (B, H, W), True where the loss counts.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, heat = logits.float(), heat.float()
        p = logits.sigmoid()
        there = (1 - p) ** alpha * F.logsigmoid(logits)
        nobody = (1 - heat) ** beta * p**alpha * F.logsigmoid(-logits)
        return -(torch.where(heat == 1, there, nobody) * mask[:, None]).sum()


def giou_loss(found: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """1 - generalised IoU of boxes around the same cells, weighted mean (Rezatofighi et al. 2019, arXiv 1902.09630).

    Args:
        found: (B, 4, H, W): distances to left, top, right and bottom; negative ones count as 0.
        wanted: the same, positive where the weight is.
        weights: (B, H, W); 0 costs nothing.
    """
    with torch.autocast(found.device.type, enabled=False):
        at = weights > 0
        a, b = (maps.float().permute(0, 2, 3, 1)[at] for maps in (found, wanted))
        share = weights.float()[at]
        a = a.clamp(min=0)
        inner, outer = _area(torch.minimum(a, b)), _area(torch.maximum(a, b))
        union = _area(a) + _area(b) - inner
        giou = inner / union - (outer - union) / outer
        return ((1 - giou) * share).sum() / share.sum().clamp(min=1)


def side_loss(found: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """L1 of the distances, sum over the sides, weighted mean over the cells; arguments as for `giou_loss`."""
    with torch.autocast(found.device.type, enabled=False):
        cost = (found.float() - wanted.float()).abs().sum(dim=1) * weights
        return cost.sum() / weights.sum().clamp(min=1)


def _area(sides: Tensor) -> Tensor:
    return (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])
