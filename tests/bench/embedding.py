"""Benchmarks of associative embedding: full-size maps, and the network's own outputs at two resolutions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bench.case import BenchCase
from pose_runtime.decode import embedding, embedding_outputs

SIZE = 512
PEOPLE = (1, 5, 20, 30)
# Rough standing figure in COCO's order, x to the right, y down, unit height.
FIGURE = np.array(
    [(0, 0.06), (0.02, 0.04), (-0.02, 0.04), (0.05, 0.05), (-0.05, 0.05), (0.11, 0.2), (-0.11, 0.2), (0.15, 0.34),
     (-0.15, 0.34), (0.17, 0.47), (-0.17, 0.47), (0.07, 0.52), (-0.07, 0.52), (0.08, 0.75), (-0.08, 0.75),
     (0.08, 0.97), (-0.08, 0.97)]
)  # fmt: skip


def joints_of(people: int, seed: int) -> Any:
    """x, y (0 to 1), height and peak per person and joint, float (people, 17, 3): one joint in ten is hidden
    (peak 0), another is faint; noses always show."""
    random = np.random.default_rng(seed)
    across = int(np.ceil(np.sqrt(people)))
    joints = np.empty((people, 17, 3))
    for i in range(people):
        height = (0.7 + 0.2 * random.random()) / across
        corner = np.array([i % across + 0.5, i // across + 0.05]) / across
        joints[i, :, :2] = corner + height * FIGURE + 0.003 * random.normal(size=(17, 2))
        fate, peak = random.random((2, 17))
        joints[i, :, 2] = np.where(fate < 0.1, 0, np.where(fate < 0.2, 0.04 + 0.04 * peak, 0.3 + 0.65 * peak))
        joints[i, 0, 2] = 0.9
    return joints


def scene(people: int, size: int, sigma: float, seed: int = 0) -> tuple[Any, Any]:
    """Heatmaps and tags (17, size, size); the background is noise of up to 0.02 with tags that are nobody's."""
    random = np.random.default_rng(seed)
    heat = random.random((17, size, size), np.float32) * np.float32(0.02)
    tags = random.random((17, size, size), np.float32) * np.float32(0.3) - np.float32(4)
    grid = np.arange(size, dtype=np.float32)
    reach = int(4 * sigma) + 1
    for i, person in enumerate(joints_of(people, seed)):
        for joint, (x, y, peak) in enumerate(person):
            column, row = int(x * size), int(y * size)
            box = np.s_[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
            square = (grid[box[1]] - x * size)[None] ** 2 + (grid[box[0]] - y * size)[:, None] ** 2
            bump = np.exp(-square / (2 * sigma**2))
            heat[joint][box] = np.maximum(heat[joint][box], np.float32(peak) * bump)
            tags[joint][box][(bump > 0.01) & (peak > 0)] = 1.5 * i + 0.1 * random.random()
    return heat, tags


def cases() -> Iterator[BenchCase]:
    for people in PEOPLE:
        heat, tags = scene(people, SIZE, 4.0)
        goal = 7.0 if people <= 5 else None
        yield BenchCase("embedding, maps 17x512x512", people, partial(embedding, heat, tags[..., None]), goal)
    for people in PEOPLE:
        coarse, tags = scene(people, SIZE // 4, 2.0)
        fine, _ = scene(people, SIZE // 2, 2.0)
        run = partial(embedding_outputs, (coarse, fine), tags, size_wh=(SIZE, SIZE))
        yield BenchCase("embedding, outputs 17x128x128 + 17x256x256", people, run, None)
