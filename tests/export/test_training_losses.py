"""Losses: values computed by hand, gradients, masks, and bfloat16 autocast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pose_export.training.losses.embedding import tag_loss
from pose_export.training.losses.heatmap import map_loss, over_stages
from pose_export.training.losses.offset import offset_loss
from pose_export.training.losses.vector import coordinate_loss


def tags_of(*people: list[float | None]) -> tuple[Tensor, Tensor]:
    """A map with the given tags side by side, and where each person's lie; None is a joint that is not there."""
    flat = [tag for person in people for tag in person]
    places = [
        [[i * len(person) + k, 1] if tag is not None else [0, 0] for k, tag in enumerate(person)]
        for i, person in enumerate(people)
    ]
    return torch.tensor([[9.0 if tag is None else tag for tag in flat]]), torch.tensor([places])


# ---- maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("l2", 4.0),
        ("l1", 2.0),
        ("huber", 1.5),
        ("logistic", math.log(1 + math.e**2) - 2 * 0.0),
    ],
)
def test_kinds(kind: Any, wanted: float) -> None:
    found = torch.zeros(1, 2, 2, 2)
    found[0, 1, 0, 1] = 2
    cost = map_loss(found, torch.zeros_like(found), kind=kind, reduce="sum")
    rest = 7 * math.log(2) if kind == "logistic" else 0
    assert cost.tolist() == pytest.approx([wanted + rest])


def test_mean_and_sum() -> None:
    found = torch.ones(3, 2, 4, 5)
    assert map_loss(found, 0 * found).tolist() == [1, 1, 1]
    assert map_loss(found, 0 * found, reduce="sum").tolist() == [40, 40, 40]


def test_mask_and_weights() -> None:
    found = torch.ones(1, 2, 2, 2)
    mask = torch.tensor([[[True, False], [False, False]]])
    assert map_loss(found, 0 * found, mask=mask).tolist() == [0.25]  # a mean over all pixels still
    per_map = torch.tensor([[[[True, True], [True, True]], [[True, False], [False, False]]]])
    assert map_loss(found, 0 * found, mask=per_map, reduce="sum").tolist() == [5]
    weights = torch.tensor([[0.5, 0.0]])
    assert map_loss(found, 0 * found, weights=weights, reduce="sum").tolist() == [2]
    assert map_loss(found, 0 * found, weights=weights, square_weights=True, reduce="sum").tolist() == [1]


def test_masked_pixels_have_no_gradient() -> None:
    found = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[:, 1:3] = True
    (slope,) = torch.autograd.grad(map_loss(found, torch.zeros_like(found), mask=mask).sum(), found)
    assert not slope[:, :, 0].any()
    assert not slope[:, :, 3].any()
    assert slope[:, :, 1:3].all()


def test_over_stages() -> None:
    losses = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0])]
    assert over_stages(losses, "sum").tolist() == [4, 8]
    assert over_stages(losses, "mean").tolist() == [2, 4]


# ---- tags ------------------------------------------------------------------------------------------------------


def test_pull_by_hand() -> None:
    """Means 2 and 5; squared distances 1, 1 and 0 of the first, 0 of the second, whose other joints are missing."""
    tags, places = tags_of([1, 3, 2], [5, None, None])
    assert tag_loss(tags, places).pull.tolist() == pytest.approx([(2 / 3 + 0) / 2])
    assert tag_loss(tags, places, variant="max").pull.tolist() == pytest.approx([1 / 3])
    assert tag_loss(tags, places, variant="mmpose").pull.tolist() == pytest.approx([1 / 3])
    assert tag_loss(tags, places, variant="paper").pull.tolist() == pytest.approx([1])


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("exp", 0.5 * (math.exp(-0.25) + math.exp(-4) + math.exp(-2.25)) / 3),
        ("max", 0.5 * 0.5 / 3),
        ("mmpose", 0.5 * (3 + 2 * (math.exp(-0.25) + math.exp(-4) + math.exp(-2.25))) / 6),
        ("paper", (3 + 2 * (math.exp(-0.125) + math.exp(-2) + math.exp(-1.125))) / 9),
    ],
)
def test_push_by_hand(variant: Any, wanted: float) -> None:
    """Means 0, 0.5 and 2."""
    tags, places = tags_of([0, None], [0.25, 0.75], [2, 2])
    assert tag_loss(tags, places, variant=variant).push.tolist() == pytest.approx([wanted])


def test_paper_sigma() -> None:
    tags, places = tags_of([0], [1])
    wanted = (2 + 2 * math.exp(-1 / (2 * 0.5**2))) / 4
    assert tag_loss(tags, places, variant="paper", sigma=0.5).push.tolist() == pytest.approx([wanted])


@pytest.mark.parametrize("variant", ["exp", "max", "mmpose", "paper"])
def test_nobody_costs_nothing(variant: Any) -> None:
    tags = torch.randn(2, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = tag_loss(tags, torch.zeros(2, 5, 3, 2, dtype=torch.int32), variant=variant)
    assert [term.tolist() for term in loss] == [[0, 0], [0, 0]]
    (slope,) = torch.autograd.grad(sum(loss).sum(), tags)
    assert not slope.any()


@pytest.mark.parametrize("variant", ["exp", "max", "mmpose", "paper"])
def test_empty_rows_and_the_order_do_not_matter(variant: Any) -> None:
    tags, places = tags_of([0, 0.4, None], [0.5, None, 0.7], [1.2, 1.3, 1.1])
    few = tag_loss(tags, places, variant=variant)
    padded = torch.cat([torch.zeros(1, 4, 3, 2, dtype=places.dtype), places.flip(1).flip(2)], dim=1)
    for one, two in zip(few, tag_loss(tags, padded, variant=variant), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("variant", ["exp", "max", "mmpose", "paper"])
def test_tag_gradient(variant: Any) -> None:
    """Value and gradient against the same formula, written as loops, in float64."""
    generator = torch.Generator().manual_seed(1)
    tags = torch.rand(1, 12, 2, generator=generator).double().requires_grad_()
    places = torch.stack([torch.randperm(12, generator=generator)[:9], torch.tensor([1, 1, 1, 1, 0, 1, 1, 0, 0])], -1)
    places = places.reshape(1, 3, 3, 2)

    def loops(flat: Tensor) -> Tensor:
        people = [[flat[0, int(i)] for i, there in person if there] for person in places[0]]
        people = [torch.stack(person) for person in people if person]
        means = [person.mean(dim=0) for person in people]
        n = len(people)
        pull = [
            ((p - m) ** 2).sum() / (1 if variant == "paper" else p.numel()) for p, m in zip(people, means, strict=True)
        ]
        push = torch.zeros(())
        for a in range(n):
            for b in range(n):
                d = means[a] - means[b]
                if variant == "paper":
                    push = push + torch.exp(-(d**2).sum() / 2) / n**2
                elif variant == "mmpose":
                    push = push + 0.5 * torch.exp(-(d**2)).sum() / (n * (n - 1))
                elif a != b and variant == "max":
                    push = push + 0.5 * (1 - d.abs().sum()).clamp(min=0) / (n * (n - 1))
                elif a != b:
                    push = push + 0.5 * torch.exp(-(d**2).sum()) / (n * (n - 1))
        return sum(pull) / n + 3 * push

    found = tag_loss(tags, places, variant=variant)
    (slope,) = torch.autograd.grad((found.pull + 3 * found.push).sum(), tags)
    wanted = loops(tags)
    torch.testing.assert_close((found.pull + 3 * found.push)[0].double(), wanted, atol=0, rtol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted, tags)[0], atol=1e-6, rtol=1e-4)


# ---- offsets and coordinates -----------------------------------------------------------------------------------


def test_offset_loss_by_hand() -> None:
    """Errors of length 0.5 (square, halved) and 5 (less a half); 13 lies off the disk."""
    found = torch.zeros(1, 1, 2, 1, 3)
    found[0, 0, :, 0] = torch.tensor([[0.3, 3, 5], [0.4, 4, 12]])
    disks = torch.tensor([[[[True, True, False]]]])
    assert offset_loss(found, torch.zeros_like(found), disks).tolist() == pytest.approx([0.125 + 4.5])


def test_offset_gradient_is_finite_where_nothing_is_wrong() -> None:
    found = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    wanted = torch.zeros(1, 1, 2, 2, 2)
    wanted[0, 0, 0, 0, 0] = 4
    (slope,) = torch.autograd.grad(offset_loss(found, wanted, torch.ones(1, 1, 2, 2)).sum(), found)
    assert slope[0, 0, :, 0, 0].tolist() == [-1, 0]
    assert torch.count_nonzero(slope) == 1


@pytest.mark.parametrize(("kind", "wanted"), [("l2", 9.25), ("l1", 3.5), ("huber", 2.5 + 0.125)])
def test_coordinate_loss_by_hand(kind: Any, wanted: float) -> None:
    found = torch.tensor([[[3.0, 0.5], [7.0, 7.0]]], requires_grad=True)
    truth = torch.tensor([[[0.0, 0.0], [math.nan, math.nan]]])
    cost = coordinate_loss(found, truth, torch.tensor([[1.0, 0.0]]), kind=kind)
    assert cost.tolist() == pytest.approx([wanted])
    (slope,) = torch.autograd.grad(cost.sum(), found)
    assert slope[0, 0].all()
    assert slope[0, 1].tolist() == [0, 0]


# ---- autocast --------------------------------------------------------------------------------------------------

CASES: dict[str, Callable[[Any], Tensor]] = {
    "l2": lambda f: map_loss(f(2, 3, 4, 4), f(2, 3, 4, 4)),
    "logistic": lambda f: map_loss(f(2, 3, 4, 4), f(2, 3, 4, 4) > 0, kind="logistic", reduce="sum"),
    "tags": lambda f: tag_loss(f(2, 48), torch.arange(24).reshape(2, 2, 3, 2)).push,
    "offsets": lambda f: offset_loss(f(2, 3, 2, 4, 4), f(2, 3, 2, 4, 4), f(2, 3, 4, 4) > 0),
    "coordinates": lambda f: coordinate_loss(f(2, 5, 2), f(2, 5, 2), torch.ones(2, 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_autocast_changes_nothing(name: str) -> None:
    def run(dtype: torch.dtype) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        # bfloat16 holds these numbers exactly
        return CASES[name](lambda *shape: torch.randn(shape, generator=generator).bfloat16().to(dtype))

    plain = run(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        cast = run(torch.bfloat16)
    assert cast.dtype == torch.float32
    assert plain.all()
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)
