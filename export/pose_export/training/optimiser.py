"""AdamW, and optimisers whose state is small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from pose_export.training.muon import Orthogonal
from pose_export.training.rounding import Rows, as_rows, from_rows, round_to_24_bits

Beta = Annotated[float, Meta(ge=0, lt=1)]

_CLIP_RMS = 1.0  # Adafactor's d: an update's root mean square is at most this times the rate
_TINY = 1e-30
_COLOURS = 3  # input channels of a first layer


class Optimiser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns gradients into steps.

    Attributes:
        name: `compact` or `muon` (3 + 1 bytes per parameter), or `adamw` (4 + 8).
        lr: peak learning rate.
        weight_decay: decoupled, times the rate; convolutions and matrices only.
        beta1, beta2: of momentum and of the second moment.
        clip: largest L2 norm of the gradient of all parameters together.
    """

    name: Literal["compact", "muon", "adamw"] = "compact"
    lr: Annotated[float, Meta(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 0.01
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    clip: Annotated[float, Meta(gt=0, le=1e6)] = 1.0

    def build(self, network: nn.Module) -> Compact | Adam:
        """For all parameters of the network that are trained."""
        wanted = [p for p in network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in wanted if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        betas = (self.beta1, self.beta2)
        if self.name == "adamw":
            return Adam(groups, lr=self.lr, betas=betas)
        return Compact(groups, lr=self.lr, betas=betas, orthogonal=self.name == "muon")


class Adam(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter, ICLR 2019) that says what must be kept."""

    def tensors(self) -> list[Tensor]:
        """What must be kept besides the weights, in a fixed order; made here before the first step."""
        kept: list[Tensor] = []
        for p in (p for group in self.param_groups for p in group["params"]):
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            kept += [state["step"], state["exp_avg"], state["exp_avg_sq"]]
        return kept


class Compact(torch.optim.Optimizer):
    """Adafactor with momentum, its own learning rate and decoupled weight decay, in few bytes.

    Shazeer and Stern, "Adafactor", ICML 2018: the second moment of a matrix is the outer product of its row and column
    means (algorithm 4), updates are clipped (section 6), beta2 grows as 1 - t^-0.8 (section 7.2). With momentum of the
    scaled update in low precision and beta2 at most 0.999 it trains as Adam does (Zhai et al., "Scaling Vision
    Transformers", CVPR 2022, section 3.4); they keep it in bfloat16, here it is 8 bits with a scale per row. A weight
    of more than two dimensions is a matrix of its first dimension by all others. Biases and norms have full moments.

    Weights are rounded to 24 bits after each step. All that must be kept is in `tensors`.

    Args:
        params: groups with `weight_decay`.
        lr: learning rate.
        betas: of momentum and of the second moment.
        orthogonal: whether matrices take Muon's steps instead; but for the first layer's, as Muon's authors do.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float], orthogonal: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})
        self.steps = torch.zeros((), dtype=torch.int64)
        self._moments = {p: _moments(p, orthogonal) for group in self.param_groups for p in group["params"]}
        with torch.no_grad():
            for p in self._moments:
                round_to_24_bits(p)

    def tensors(self) -> list[Tensor]:
        """What must be kept besides the weights, in a fixed order."""
        return [self.steps, *(tensor for moments in self._moments.values() for tensor in moments.tensors())]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients there are."""
        if closure is not None:
            raise ValueError("closures are not taken")
        self.steps += 1
        grown = 1 - int(self.steps) ** -0.8
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = self._moments[p].update(p.grad.float(), beta1, min(beta2, grown))
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
                round_to_24_bits(p)


class _Full:
    """Both moments in float32."""

    def __init__(self, p: Tensor) -> None:
        self._second, self._first = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, gradient: Tensor, beta1: float, beta2: float) -> Tensor:
        self._second.lerp_(gradient.square().add_(_TINY), 1 - beta2)
        return self._first.lerp_(_clipped(gradient / self._second.sqrt()), 1 - beta1)

    def tensors(self) -> list[Tensor]:
        return [self._second, self._first]


class _Factored:
    """The second moment as row and column means, the first in 8 bits."""

    def __init__(self, p: Tensor) -> None:
        rows, columns = p.shape[0], p.shape[1:].numel()
        self._rows, self._columns = torch.zeros(rows, 1, device=p.device), torch.zeros(1, columns, device=p.device)
        self._first = Rows(rows, columns, torch.int8, p.device)

    def update(self, gradient: Tensor, beta1: float, beta2: float) -> Tensor:
        matrix = as_rows(gradient)
        squares = matrix.square().add_(_TINY)
        self._rows.lerp_(squares.mean(1, keepdim=True), 1 - beta2)
        self._columns.lerp_(squares.mean(0, keepdim=True), 1 - beta2)
        scaled = (matrix * (self._rows / self._rows.mean()).rsqrt()).mul_(self._columns.rsqrt())
        first = self._first.get().lerp_(_clipped(scaled), 1 - beta1)
        self._first.set(first)
        return from_rows(first, gradient.shape)

    def tensors(self) -> list[Tensor]:
        return [self._rows, self._columns, *self._first.tensors()]


def _moments(p: Tensor, orthogonal: bool) -> _Full | _Factored | Orthogonal:
    if p.ndim == 1:
        return _Full(p)
    return Orthogonal(p) if orthogonal and p.shape[1] > _COLOURS else _Factored(p)


def _clipped(update: Tensor) -> Tensor:
    rms = torch.linalg.vector_norm(update) / update.numel() ** 0.5
    return update.div_((rms / _CLIP_RMS).clamp_min_(1.0))
