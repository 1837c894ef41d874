"""A detector's targets and losses: the definitions written out, values by hand, and what the product decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pose_export import networks
from pose_export.training.losses.boxes import focal_loss, giou_loss, side_loss
from pose_export.training.methods import BoxesMethod
from pose_export.training.record import VISIBLE, Record
from pose_export.training.targets.boxes import box_targets, gaussian_radius
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import skeleton


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For such small tensors several threads cost more than they give, much more on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(boxes: Any, *, ignored: Any = None, size: int = 64, seed: int = 0) -> Record:
    """Bright rectangles on noise; each has one keypoint."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    image = np.random.default_rng(seed).integers(0, 60, (size, size, 3), np.uint8)
    for left, top, width, height in boxes.astype(int):
        image[top : top + height, left : left + width] += 150
    coco = skeleton("coco17")
    keypoints = np.zeros((len(boxes), len(coco.names), 3), np.float32)
    keypoints[:, 0, :2], keypoints[:, 0, 2] = boxes[:, :2] + boxes[:, 2:] / 2, VISIBLE
    return Record(
        name="rectangles", image=image, keypoints=keypoints, boxes=boxes, areas=boxes[:, 2] * boxes[:, 3],
        ids=np.arange(len(boxes)), ignored=ignored, skeleton=coco,
    )  # fmt: skip


def iou(a: Any, b: Any) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inner = float(np.prod(np.maximum(high - low, 0)))
    return inner / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner)


@pytest.mark.parametrize("size", [(10, 10), (4, 30), (25, 7)])
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_corners_may_move_by_the_radius(size: tuple[float, float], overlap: float) -> None:
    """The worst of the eight diagonal moves of both corners keeps just the overlap."""
    radius = float(gaussian_radius(np.array([size]), overlap)[0])
    box = np.array([0, 0, *size], float)
    inwards, outwards, along = ([1, 1, -1, -1], [-1, -1, 1, 1], [1, 1, 1, 1])
    moved = [iou(box, box + radius * np.array(signs)) for signs in (inwards, outwards, along)]
    assert min(moved) == pytest.approx(overlap, abs=1e-9)


def test_targets_against_the_definition() -> None:
    """Cell by cell: the highest peak and the distances to its box's sides."""
    random = np.random.default_rng(4)
    sizes = random.uniform(20, 140, (5, 2))
    boxes = np.concatenate([random.uniform(0, 1, (5, 2)) * (256 - sizes), sizes], axis=1).astype(np.float32)
    heat, distances, weights, centres = box_targets(boxes, (32, 32), 8)
    sigma = np.maximum(gaussian_radius(boxes[:, 2:] / 8), 1) / 3
    cells = np.floor((boxes[:, :2] + boxes[:, 2:] / 2) / 8)
    for y in range(32):
        for x in range(32):
            peaks = np.exp(-((x - cells[:, 0]) ** 2 + (y - cells[:, 1]) ** 2) / (2 * sigma**2))
            best = int(peaks.argmax())
            assert heat[y, x] == pytest.approx(peaks[best], abs=1e-6)
            assert centres[y, x] == bool((cells == (x, y)).all(axis=1).any())
            left, top, width, height = boxes[best] / 8
            sides = (x + 0.5 - left, y + 0.5 - top, left + width - x - 0.5, top + height - y - 0.5)
            if peaks[best] >= 0.1 and min(sides) > 0:
                assert weights[y, x] == pytest.approx(peaks[best], abs=1e-6)
                assert distances[:, y, x] == pytest.approx(sides, abs=1e-4)
            else:
                assert weights[y, x] == 0
                assert not distances[:, y, x].any()
    assert centres.sum() == 5


def test_two_people_of_one_centre() -> None:
    """The smaller one, in front of most of the other, has the cell."""
    _, distances, weights, _ = box_targets(np.array([[0, 0, 64, 64], [24, 16, 16, 32]], np.float32), (8, 8), 8)
    assert weights[4, 4] == 1
    assert tuple(distances[:, 4, 4]) == (1.5, 2.5, 0.5, 1.5)


def test_edges_and_nobody() -> None:
    heat, _, _, centres = box_targets(np.array([[63.5, 63.5, 0.5, 0.5]], np.float32), (8, 8), 8)
    assert centres[7, 7]
    assert heat[7, 7] == 1
    heat, distances, weights, centres = box_targets(np.zeros((0, 4), np.float32), (8, 6), 8)
    assert heat.shape == weights.shape == centres.shape == (6, 8)
    assert not any(maps.any() for maps in (heat, distances, weights, centres))


# ---- losses --------------------------------------------------------------------------------------------------------


def test_focal_loss_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3), -math.log(3)]]]])  # p = 1/2, 3/4, 1/4
    heat = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    mask = torch.ones(1, 1, 3, dtype=torch.bool)
    there = -(0.5**2) * math.log(0.5)
    near = -(0.5**4) * 0.75**2 * math.log(0.25)
    nobody = -(0.25**2) * math.log(0.75)
    assert float(focal_loss(logits, heat, mask)) == pytest.approx(there + near + nobody)
    mask[..., 2] = False
    assert float(focal_loss(logits, heat, mask)) == pytest.approx(there + near)


def test_box_losses_by_hand() -> None:
    found = torch.tensor([1.0, 1, 1, 1]).reshape(1, 4, 1, 1)
    wanted = torch.tensor([1.0, 1, 3, 1]).reshape(1, 4, 1, 1)  # 2 x 2 inside 4 x 2: IoU 1/2, nothing around both
    weights = torch.full((1, 1, 1), 2.0)
    assert float(giou_loss(found, wanted, weights)) == pytest.approx(0.5)
    assert float(side_loss(found, wanted, weights)) == pytest.approx(2.0)
    wanted = torch.tensor([3.0, 1, 1, 3]).reshape(1, 4, 1, 1)
    found = torch.tensor([1.0, 3, 3, 1]).reshape(1, 4, 1, 1)  # 4 x 4 each, 2 x 2 in common, 6 x 6 around
    assert float(giou_loss(found, wanted, weights)) == pytest.approx(1 - (4 / 28 - (36 - 28) / 36))
    assert float(giou_loss(wanted, wanted, weights)) == 0
    assert float(giou_loss(found, wanted, 0 * weights)) == float(side_loss(found, wanted, 0 * weights)) == 0


# ---- the method ----------------------------------------------------------------------------------------------------


def stacked(records: list[Record], method: BoxesMethod) -> dict[str, torch.Tensor]:
    targets = [method.targets(record) for record in records]
    return {name: torch.from_numpy(np.stack([each[name] for each in targets])) for name in targets[0]}


def test_crowds_teach_nothing_but_their_labelled_people() -> None:
    ignored = np.zeros((64, 64), bool)
    ignored[:, 32:] = True
    targets = BoxesMethod().targets(picture([[36, 20, 16, 24]], ignored=ignored))
    assert targets["mask"][:, :4].all()
    assert targets["mask"][:, 4:].sum() == 1
    assert targets["mask"][4, 5]


def test_the_right_answer_costs_little_and_no_answer_more() -> None:
    method = BoxesMethod()
    targets = stacked([picture([[8, 8, 20, 40], [30, 16, 24, 24]]), picture([])], method)
    right = (torch.logit(targets["heatmaps"].clamp(1e-6, 1 - 1e-6)), targets["boxes"].float())
    nothing = (torch.full_like(right[0], -8), torch.ones_like(right[1]))
    terms = method.loss(right, targets)
    assert set(terms) == {"heatmaps", "giou", "sides"}
    assert float(terms["giou"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["sides"]) == pytest.approx(0, abs=1e-6)
    assert float(sum(method.loss(nothing, targets).values())) > 10 * float(sum(terms.values()))
    with pytest.raises(ExportError, match="outputs: got shapes"):
        method.loss(right[:1], targets)


def test_the_detector_learns_two_pictures() -> None:
    torch.manual_seed(0)
    method, network = BoxesMethod(), networks.build(networks.find("person-tiny")).train()
    records = [picture([[8, 8, 20, 40]]), picture([[30, 16, 24, 24]], seed=1)]
    targets = stacked(records, method)
    images = torch.from_numpy(np.stack([record.image for record in records])).permute(0, 3, 1, 2).float() / 64 - 1
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = torch.stack(list(method.loss(network(images), targets).values())).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())
