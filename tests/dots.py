"""A data set that a few convolutions learn in seconds: people are seventeen dots, each keypoint with its own colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from pose_export.networks import Entry, _registry

ENTRY = Entry(
    name="dots.test", method="dots", paper="", year=2026, builder="none:None", arguments={}, macs=0,
    skeleton="coco17", preset="hrnet", size_wh=(64, 64), sizes_wh=((64, 64),), step=8, outputs=("heatmaps",),
    parameters=0, sources=(),
)  # fmt: skip
_SIDE = 96


class Dots(nn.Module):
    """(N, 3, H, W) to heatmaps (N, 17, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 5, 2, padding=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 5, 2, padding=2, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Conv2d(64, 17, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.head(self.stem(x))
        return maps


def register(monkeypatch: Any) -> None:
    """Make the network known as `dots` for one test."""
    from pose_export import networks

    monkeypatch.setitem(_registry._ENTRIES, ENTRY.name, ENTRY)
    monkeypatch.setitem(_registry._ALIASES, "dots", ENTRY.name)
    monkeypatch.setattr(networks, "build", lambda entry: Dots().eval())


def write_coco(folder: Path, pictures: int = 8, seed: int = 0) -> Path:
    """A COCO data set of one person per picture."""
    random = np.random.default_rng(seed)
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(1, pictures + 1):
        image, points = _picture(random)
        name = f"{number}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        images.append({"id": number, "file_name": name, "width": _SIDE, "height": _SIDE})
        low, high = points.min(0), points.max(0)
        annotations.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": float(np.prod(high - low)),
            "bbox": [*map(float, low), *map(float, high - low)], "num_keypoints": 17,
            "keypoints": [float(v) for x, y in points for v in (x, y, 2)], "segmentation": [],
        })  # fmt: skip
    from pose_runtime.skeletons import SKELETONS

    categories = [{"id": 1, "name": "person", "keypoints": list(SKELETONS["coco17"].names), "skeleton": []}]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "person_keypoints_train.json").write_text(json.dumps(tree))
    return folder


def _picture(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dots on the cells of a 5 x 5 grid, so that none hides another."""
    image = np.full((_SIDE, _SIDE, 3), 20, np.uint8)
    cells = random.permutation(25)[:17]
    points = np.stack([cells % 5, cells // 5], 1) * 15 + 18 + random.integers(-3, 4, (17, 2))
    for i, (x, y) in enumerate(points):
        hue = np.array([[[i * 180 // 17, 255, 255]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
        cv2.circle(image, (int(x), int(y)), 4, [int(c) for c in colour], -1)
    return image, points.astype(float)
