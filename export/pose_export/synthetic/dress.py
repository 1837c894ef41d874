"""What people wear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.makehuman import Assets, Garment
from pose_export.synthetic.split import Split, garment_split


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Garments from the assets, eyes and hair included."""

    garments: tuple[Garment, ...]


def hidden(assets: Assets, outfit: Outfit) -> NDArray[np.bool_]:
    """Base vertices that lie under the outfit, bool (V,)."""
    mask = np.zeros(len(assets.base.points), np.bool_)
    for garment in outfit.garments:
        mask[garment.hides] = True
    return mask


def sample_outfit(assets: Assets, rng: np.random.Generator, split: Split) -> Outfit:
    """A random outfit."""
    chosen = [*assets.of_kind("eye")[:1], *assets.of_kind("teeth")[:1]]
    chosen += _one(assets.of_kind("brow"), rng)
    chosen += assets.of_kind("lash")
    chosen += _one(_allowed(assets.of_kind("cloth"), split), rng)
    chosen += _one(_allowed(assets.of_kind("shoe"), split), rng)
    chosen += _one(_allowed(assets.of_kind("hair"), split), rng)
    return Outfit(garments=tuple(chosen))


def _allowed(garments: list[Garment], split: Split) -> list[Garment]:
    return [garment for garment in garments if garment_split(garment.name) == split]


def _one(garments: list[Garment], rng: np.random.Generator) -> list[Garment]:
    return [garments[int(rng.integers(len(garments)))]] if garments else []
