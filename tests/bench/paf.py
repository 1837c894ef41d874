"""Benchmarks of part-affinity-field decoding, and the synthetic maps they (and the tests) decode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bench.case import BenchCase
from pose_runtime.decode import COCO18_LIMBS, TRT_POSE_LIMBS, paf

PEOPLE = (1, 5, 20, 30)

# A standing figure in units of its height, OpenPose COCO-18 order: x, y.
FIGURE = np.array([
    (0, 0.08), (0, 0.2), (-0.11, 0.2), (-0.14, 0.36), (-0.13, 0.5), (0.11, 0.2), (0.14, 0.36), (0.13, 0.5),
    (-0.07, 0.52), (-0.07, 0.74), (-0.07, 0.95), (0.07, 0.52), (0.07, 0.74), (0.07, 0.95), (-0.02, 0.05), (0.02, 0.05),
    (-0.05, 0.07), (0.05, 0.07),
])  # fmt: skip
TRT_PARTS = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10, 1)


def place_people(rng: np.random.Generator, count: int, width: int, height: int) -> np.ndarray:
    """Joints (count, 18, 2) in cells: figures on a jittered grid, smaller where there are more."""
    rows = max(1, round(np.sqrt(count * height / width / 2)))
    columns = -(-count // rows)
    people = []
    for i in range(count):
        tall = 0.9 * height / rows * rng.uniform(0.75, 1)
        centre = (i % columns + 0.5 + rng.uniform(-0.15, 0.15)) * width / columns
        top = (i // columns) * height / rows + rng.uniform(0, 0.05) * height
        swing = FIGURE + rng.normal(0, 0.012, FIGURE.shape)
        people.append(swing * tall * (1, 1) + (centre, top))
    return np.array(people).reshape(count, 18, 2)


def draw(joints: np.ndarray, limbs: Any, channels: int, width: int, height: int, sigma: float, rng: Any) -> Any:
    """Maps float32 (parts + 1, h, w) and fields (channels, h, w) of joints (n, parts, 2), with a little noise."""
    y, x = np.mgrid[:height, :width]
    parts = joints.shape[1]
    heat = np.zeros((parts + 1, height, width))
    fields = np.zeros((channels, height, width))
    for person in joints:
        for k, (px, py) in enumerate(person):
            blob = rng.uniform(0.6, 0.9) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
            heat[k] = np.maximum(heat[k], blob)
        for a, b, cx, cy in limbs:
            along = person[b] - person[a]
            length = max(float(np.hypot(*along)), 1e-6)
            unit = along / length
            t = (x - person[a][0]) * unit[0] + (y - person[a][1]) * unit[1]
            across = (x - person[a][0]) * unit[1] - (y - person[a][1]) * unit[0]
            beyond = t - t.clip(0, length)
            strength = 0.8 * np.exp(-(beyond**2 + across**2) / (2 * (0.8 * sigma) ** 2))
            strength[strength < 0.02] = 0
            fields[cx] += strength * unit[0]
            fields[cy] += strength * unit[1]
    heat[parts] = 1 - heat[:parts].max(0)
    heat += rng.normal(0, 0.006, heat.shape)
    fields += rng.normal(0, 0.01, fields.shape)
    return heat.astype(np.float32), fields.astype(np.float32)


def scene(profile: str, people: int, width: int, height: int, seed: int = 0) -> Any:
    """Maps and fields of one synthetic image for a profile."""
    rng = np.random.default_rng([seed, people, width, height])
    joints = place_people(rng, people, width, height)
    if profile == "trt_pose":
        return draw(joints[:, TRT_PARTS], TRT_POSE_LIMBS, 42, width, height, 0.025 * height / np.sqrt(2), rng)
    return draw(joints, COCO18_LIMBS, 38, width, height, 1.0, rng)


def cases() -> Iterator[BenchCase]:
    """Every profile at its usual size; goals are for up to five people."""
    sizes = {
        "lightweight": (57, 32, 1.2),
        "openpose": (82, 46, 3.0),
        "tf_pose": (82, 46, None),
        "trt_pose": (56, 56, 0.05),
    }
    for profile, (width, height, goal_ms) in sizes.items():
        for people in PEOPLE:
            heat, fields = scene(profile, people, width, height)
            run = partial(paf, heat, fields, profile=profile)
            yield BenchCase(f"paf {profile} {width}x{height}", people, run, goal_ms if people <= 5 else None)
