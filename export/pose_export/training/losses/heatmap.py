"""Losses of heatmaps and fields, in all published normalisations.

How the published ones are put together, with S stages, B images, K maps:

    OpenPose, CPM              sum over stages and pixels, halved, mean over B: `reduce="sum"` · 0.5 (Caffe's Euclidean)
    stacked hourglass (Lua)    `map_loss(...).mean()` per stage, `over_stages(..., "sum")`
    stacked hourglass (torch)  `map_loss(...).mean()` per stage, `over_stages(..., "mean")`
    associative embedding      `map_loss(..., mask=...)` per stage, mean over stages
    HigherHRNet                the same, resolutions summed
    SimpleBaseline, HRNet      0.5 · `map_loss(..., weights=..., square_weights=True).mean()`, stages summed
    MMPose                     `map_loss(..., weights=...).mean()`
    G-RMI                      `map_loss(..., kind="logistic", reduce="sum")`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["l2", "l1", "huber", "logistic"]


def pixel_loss(found: Tensor, wanted: Tensor, kind: Kind) -> Tensor:
    """The loss of every element, float32.

    Args:
        found: the network's answer; logits for `logistic`.
        wanted: same shape; 0 to 1 for `logistic`, which is the cross-entropy of the two.
        kind: `huber` has its bend at 1.
    """
    found, wanted = found.float(), wanted.float()
    if kind == "l2":
        return (found - wanted) ** 2
    if kind == "l1":
        return (found - wanted).abs()
    if kind == "huber":
        return F.huber_loss(found, wanted, reduction="none")
    return F.binary_cross_entropy_with_logits(found, wanted, reduction="none")


def map_loss(
    found: Tensor,
    wanted: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    square_weights: bool = False,
    kind: Kind = "l2",
    reduce: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Loss of each image, float32 (B,).

    Args:
        found: (B, K, H, W).
        wanted: the same.
        mask: (B, H, W) or (B, K, H, W); what is 0 or False costs nothing, but a mean is over all pixels still, as
            published.
        weights: (B, K), one per map; 0 where the joint is not labelled.
        square_weights: SimpleBaseline and HRNet weigh prediction and target, so that weights count squared; MMPose
            weighs the loss. Alike for 0 and 1.
        kind: of the elements, see `pixel_loss`.
        reduce: over maps and pixels.
    """
    with torch.autocast(found.device.type, enabled=False):
        cost = pixel_loss(found, wanted, kind)
        if mask is not None:
            cost = cost * (mask if mask.ndim == 4 else mask[:, None]).float()
        if weights is not None:
            share = weights.float()[:, :, None, None]
            cost = cost * (share**2 if square_weights else share)
        return cost.mean(dim=(1, 2, 3)) if reduce == "mean" else cost.sum(dim=(1, 2, 3))


def emphasis(mask: Tensor, wanted: Tensor, foreground: float) -> Tensor:
    """A mask for `map_loss`, float32 (B, K, H, W), that also counts peaks and limbs more than the emptiness around.

    Nearly all of a map is 0, and a network first learns to say nothing at all; this shortens that time. Nothing
    published: 0 is the published loss.

    Args:
        mask: (B, H, W), of what counts.
        wanted: (B, K, H, W); a pixel counts 1 + foreground · |wanted| times.
    """
    return mask[:, None].float() * (1 + foreground * wanted.float().abs())


def over_stages(losses: Sequence[Tensor], how: Literal["sum", "mean"]) -> Tensor:
    """One loss of those of all stages: intermediate supervision. Shapes are kept."""
    stacked = torch.stack(list(losses))
    return stacked.sum(dim=0) if how == "sum" else stacked.mean(dim=0)
