"""Goldens of G-RMI's Hough voting: `losses/grmi.npz`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case
from pose_runtime.decode import offset


def grmi(root: Path) -> Iterator[Case]:
    """Votes of exact and of noisy maps, places of the peaks, score of the pose."""
    path = root / "losses" / "grmi.npz"
    if not path.exists():
        return
    with np.load(path) as arrays:
        radius = float(arrays["R"])
        for kind, suffix in (("exact", ""), ("noisy", "_noisy")):
            heat, want = arrays["heat" + suffix], arrays["fused_" + kind]
            fused = np.empty(want.shape, np.float32)
            keypoints, scores = offset(heat, arrays["offset" + suffix], radius=radius, logits=False, fused=fused)
            yield Case(f"fused {kind}", float(np.abs(fused - want).max()), 1e-6)
            if kind == "noisy":  # the peaks of the golden are those of the noisy maps
                yield Case("peaks", float(np.abs(keypoints[0, :, :2] - arrays["peak_xy"]).max()), 0)
                yield Case("score", abs(float(scores[0]) - float(arrays["score"])), 1e-6)


FAMILIES = {"losses/grmi": grmi}
