"""Top-down decoding: one person's 17 maps of 64 x 48."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.case import BenchCase
from pose_runtime.decode import heatmap


def cases() -> Iterator[BenchCase]:
    """One crop and thirty, quarter and DARK."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :48]
    for people in (1, 5, 20, 30):
        centres = rng.uniform(5, 43, (people, 17, 2, 1, 1))
        maps = np.exp(-((x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2) / 8)
        maps = (maps + rng.normal(0, 0.01, maps.shape)).astype(np.float32)
        out = np.empty((people, 17, 3), np.float32)
        for refine, goal in (("quarter", 0.02), ("dark", 0.05)):
            yield BenchCase(
                f"heatmap {refine} 17x64x48",
                people,
                lambda maps=maps, refine=refine, out=out: heatmap(maps, refine=refine, out=out),
                goal if people == 1 else None,
            )
