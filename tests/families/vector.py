"""Goldens of DeepPose's coordinates and cascade: `losses/deeppose.npz`. Its target and loss: `training`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case
from pose_runtime.decode import cascade_boxes, vector

TORSO = (9, 2)  # LSP: left shoulder, right hip
TOLERANCE = 1e-6  # float32, in units of the person's box


def deeppose(root: Path) -> Iterator[Case]:
    """From normalised to pixel coordinates, then each stage of the cascade from the one before."""
    path = root / "losses" / "deeppose.npz"
    if not path.exists():
        return
    with np.load(path) as arrays:
        size = arrays["wh"]

        def difference(keypoints, want) -> float:
            return float((np.abs(keypoints[0, :, :2] - want) / size).max())

        box = np.concatenate([arrays["c"], size])[None]
        yield Case("norm", difference(vector(arrays["norm"][None], box, origin="centre"), arrays["y"]), TOLERANCE)
        pose = vector(arrays["psi0"][None], box, origin="centre")
        yield Case("y1", difference(pose, arrays["y1"]), TOLERANCE)
        stage = 1
        while f"psi{stage}" in arrays.files:
            boxes = cascade_boxes(pose, torso=TORSO, sigma=float(arrays["sigma"]))
            if f"diam{stage}" in arrays.files:
                want = float(arrays["sigma"]) * float(arrays[f"diam{stage}"])
                yield Case(f"box{stage}", float(np.abs(boxes[..., 2:] - want).max() / size.max()), TOLERANCE)
            pose = vector(arrays[f"psi{stage}"][None], boxes, origin="centre")
            yield Case(f"y{stage + 1}", difference(pose, arrays[f"y{stage + 1}"]), TOLERANCE)
            stage += 1


FAMILIES = {"losses/deeppose": deeppose}
