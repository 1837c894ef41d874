"""Tags: pull those of one person together, push people apart (Newell et al., NeurIPS 2017, arXiv 1611.05424).

For people n of N with a labelled joint, joints k of the K_n labelled ones, h their tags (D numbers), m_n a person's
mean tag:

    exp      pull 1/N Σ_n 1/K_n Σ_k mean_D (h_nk - m_n)²; push ½ · mean over pairs of two people of exp(-|m_a - m_b|²)
    max      HigherHRNet's other push: max(0, 1 - |m_a - m_b|), |.| summed over D
    mmpose   MMPose 1.x: as exp, but each person is also paired with themselves (which adds ½ · D / (N - 1) and
             no gradient), and exp is taken of each tag component and summed
    paper    pull 1/N Σ_n Σ_k |h_nk - m_n|²; push 1/N² Σ_a Σ_b exp(-|m_a - m_b|² / 2σ²), pairs with oneself included

`exp` is the authors' code and HigherHRNet's choice. It is the default here because the published networks were trained
with it and the decoders' tag threshold of 1 belongs to it; because its size depends neither on how many people there
are nor on how many of their joints are seen, so that one crowded picture does not outweigh a batch; and because it is 0
where there is nothing to push.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Variant = Literal["exp", "max", "mmpose", "paper"]


class TagLoss(NamedTuple):
    """Both terms of each image, float32 (B,); both are 0 for an image without people."""

    pull: Tensor
    push: Tensor


def tag_loss(tags: Tensor, places: Tensor, *, variant: Variant = "exp", sigma: float = 1.0) -> TagLoss:
    """Pull and push of each image, not weighted: the authors add a thousandth of both to the heatmaps' loss.

    Args:
        tags: (B, M) or (B, M, D), the flattened tag maps, M = K·H·W.
        places: integers (B, P, K, 2): index into M and whether there is a joint (`targets.embedding.tag_places`). The
            order of a person's joints does not matter.
        variant: whose formula; see the module.
        sigma: of the paper's push; the others have 2σ² = 1.
    """
    with torch.autocast(tags.device.type, enabled=False):
        values = (tags if tags.ndim == 3 else tags[..., None]).float()
        batch, people, joints, _ = places.shape
        index = places[..., 0].reshape(batch, -1, 1).long().expand(-1, -1, values.shape[-1])
        read = values.gather(1, index).reshape(batch, people, joints, -1)
        there = (places[..., 1] > 0).float()
        counts = there.sum(dim=2)
        # Nobody's mean is 0 / 1, and every term that it is in is multiplied by 0.
        means = (read * there[..., None]).sum(dim=2) / counts.clamp(min=1)[..., None]
        spread = (read - means[:, :, None]) ** 2 * there[..., None]
        here = (counts > 0).float()
        return TagLoss(_pull(spread, counts, here, variant), _push(means, here, variant, sigma))


def _pull(spread: Tensor, counts: Tensor, here: Tensor, variant: Variant) -> Tensor:
    """From squared distances (B, P, K, D)."""
    each = spread.sum(dim=(2, 3)) if variant == "paper" else spread.mean(dim=3).sum(dim=2) / counts.clamp(min=1)
    return each.sum(dim=1) / here.sum(dim=1).clamp(min=1)


def _push(means: Tensor, here: Tensor, variant: Variant, sigma: float) -> Tensor:
    """From mean tags (B, P, D) and who is there (B, P)."""
    apart = means[:, :, None] - means[:, None]
    pairs = here[:, :, None] * here[:, None]
    count = here.sum(dim=1)
    if variant in ("exp", "max"):
        pairs = pairs * (1 - torch.eye(pairs.shape[1], device=pairs.device))
    if variant == "max":
        near = (1 - apart.abs().sum(dim=3)).clamp(min=0)
    elif variant == "mmpose":
        near = torch.exp(-(apart**2)).sum(dim=3)
    else:
        near = torch.exp(-(apart**2).sum(dim=3) / (2 * sigma**2 if variant == "paper" else 1))
    total = (near * pairs).sum(dim=(1, 2))
    if variant == "paper":
        return total / (count**2).clamp(min=1)
    return 0.5 * total / (count * (count - 1)).clamp(min=1) * (count > 1)
