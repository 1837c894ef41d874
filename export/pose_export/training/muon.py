"""Momentum made orthogonal: steps of equal strength in all directions of a weight matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from pose_export.training.rounding import Rows, as_rows, from_rows

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients: singular values come near 1 from far below, fast
_ITERATIONS = 5
_RMS = 0.2  # of an update times the square root of the longer side: about that of Adam's, so its rates fit too
_TINY = 1e-12


class Orthogonal:
    """Muon's momentum of one matrix, in 8 bits with a scale per row.

    Jordan et al., "Muon", 2024: Nesterov momentum, then the nearest matrix whose singular values are all about 1. The
    size of the update is that of Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2.

    Args:
        p: a weight of two or more dimensions: a matrix of its first dimension by all others.
    """

    def __init__(self, p: Tensor) -> None:
        self._first = Rows(p.shape[0], p.shape[1:].numel(), torch.int8, p.device)

    def update(self, gradient: Tensor, beta1: float, beta2: float) -> Tensor:  # noqa: ARG002
        """What is to be subtracted, times the rate; beta2 is not used: there is no second moment."""
        matrix = as_rows(gradient)
        first = self._first.get().lerp_(matrix, 1 - beta1)
        self._first.set(first)
        update = orthogonal(matrix.lerp(first, beta1))
        return from_rows(update.mul_(_RMS * max(update.shape) ** 0.5), gradient.shape)

    def tensors(self) -> list[Tensor]:
        """What must be kept."""
        return self._first.tensors()


def orthogonal(matrix: Tensor) -> Tensor:
    """U V^T, about, of a matrix U S V^T: five Newton-Schulz steps bring singular values to 0.7 ... 1.2."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (torch.linalg.vector_norm(x) + _TINY)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).contiguous()
