"""Drawn pictures with COCO annotations, and the tiny network with joints that COCO knows.

People are coloured squares: nose red, left shoulder blue, right hip green.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import tiny
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.skeletons import Skeleton

NAMES = ("left_shoulder", "right_hip", "nose")
PLACES = (5, 12, 0)
SIZE = (128, 96)
Dots = tuple[tuple[int, int] | None, tuple[int, int] | None, tuple[int, int] | None]

PEOPLE: tuple[Dots, ...] = (
    ((40, 30), (60, 70), (50, 15)),
    ((90, 40), (70, 80), (80, 20)),
    ((30, 50), (50, 84), (20, 30)),
    ((60, 30), (90, 60), (100, 20)),
)


def bundle(path: Path, names: tuple[str, ...] = NAMES, **options: Any) -> Bundle:
    """The tiny network with joints that COCO knows."""
    skeleton = Skeleton(name="dots", names=names, limbs=((0, 2), (1, 2)), flip_pairs=(), sigmas=(0.05, 0.05, 0.05))
    of = tiny.replaced(tiny.make_manifest(**options), skeleton=skeleton)
    png = cv2.imencode(".png", tiny.frame((20, 20), None, None))[1].tobytes()
    return write_bundle(path, of, {"reference.onnx": tiny.make_graph(of), "check/0.png": png})


def data_set(folder: Path, people: tuple[Dots, ...] = PEOPLE, shift: int = 0) -> Path:
    """Drawn pictures and their COCO annotations; the squares' centres are half a pixel up and left of x, y."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for i, dots in enumerate(people, 1):
        cv2.imwrite(str(folder / f"{i}.png"), tiny.frame(*dots, size_wh=SIZE))
        images.append({"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]})
        keypoints = np.zeros((17, 3))
        for place, dot in zip(PLACES, dots, strict=True):
            if dot is not None:
                keypoints[place] = dot[0] - 0.5 + shift, dot[1] - 0.5, 2
        annotations.append({
            "id": i, "image_id": i, "category_id": 1, "keypoints": keypoints.reshape(-1).tolist(),
            "num_keypoints": 3, "area": 4000.0, "bbox": [0.0, 0.0, *map(float, SIZE)], "iscrowd": 0,
        })  # fmt: skip
    tree = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    path = folder / "annotations.json"
    path.write_text(json.dumps(tree))
    return path
