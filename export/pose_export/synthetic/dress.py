"""What people wear: who wears what, and how garments go over each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic import tailor
from pose_export.synthetic.garment import Garment
from pose_export.synthetic.makehuman import Assets
from pose_export.synthetic.measures import WAIST
from pose_export.synthetic.split import Split, garment_split

Chances = dict[str, float]

WOMENS_HAIR: Chances = {
    "long01": 22, "ponytail01": 18, "bob01": 8, "bob02": 12, "braid01": 10, "short01": 5, "short02": 6, "short03": 4,
    "short04": 3, "afro01": 5, "crop": 8, "bald": 1,
}  # fmt: skip
MENS_HAIR: Chances = {
    "short01": 18, "short02": 18, "short04": 12, "afro01": 7, "crop": 26, "bald": 14, "ponytail01": 2, "long01": 3,
}  # fmt: skip
"""Names and shares. "crop" is made from the scalp; "bald" is shaven, or bald."""

UNDER_A_HAT = frozenset({"short01", "short04", "crop", "bald", "long01", "ponytail01", "short02"})
"""Hair that goes under a hat; higher hair would stick through it."""


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Garments, eyes and hair.

    Attributes:
        garments: what is drawn over the skin.
        scalp_hair: how much of the hair's colour the scalp has: 0 bald, 1 full hair.
    """

    garments: tuple[Garment, ...]
    scalp_hair: float = 0.0


def hidden(assets: Assets, outfit: Outfit) -> NDArray[np.bool_]:
    """Base vertices that lie under the outfit, bool (V,)."""
    mask = np.zeros(len(assets.base.points), np.bool_)
    for garment in outfit.garments:
        mask[garment.hides] = True
    return mask


def sample_outfit(
    assets: Assets, rng: np.random.Generator, *, male: float, years: float, split: Split = "train"
) -> Outfit:
    """A random outfit for a man (male = 1) or a woman (0) of this age."""
    man = bool(rng.random() < male)
    face = [*assets.of_kind("eye")[:1], *assets.of_kind("teeth")[:1], *assets.of_kind("lash")]
    face += _one(assets.of_kind("brow"), rng)
    clothes = _clothes(assets, rng, man, split)
    if rng.random() < 0.93:
        shoes = _one(_allowed(assets.of_kind("shoe"), split), rng)
        clothes = [*_tucked_in(assets, clothes, shoes), *shoes]
    hair, scalp = _hair(assets, rng, man, years, split)
    if rng.random() < 0.06 and (not hair or hair[0].name in UNDER_A_HAT):
        hair += _one(_allowed(assets.of_kind("hat"), split), rng)
    return Outfit(garments=(*face, *clothes, *hair), scalp_hair=scalp)


def _hair(
    assets: Assets, rng: np.random.Generator, man: bool, years: float, split: Split
) -> tuple[list[Garment], float]:
    known = {hair.name: hair for hair in _allowed(assets.of_kind("hair"), split)}
    chances = {
        name: chance * (2.5 if name == "bald" and years > 50 else 1)
        for name, chance in (MENS_HAIR if man else WOMENS_HAIR).items()
        if name in known or name in ("crop", "bald")
    }
    name = _pick(chances, rng)
    if name == "bald":
        return [], float(rng.choice([0.0, rng.uniform(0.2, 0.9)]))
    if name == "crop":
        made = tailor.crop(assets, rng)
        return ([made] if made else []), 1.0
    return [known[name]], 1.0


def _clothes(assets: Assets, rng: np.random.Generator, man: bool, split: Split) -> list[Garment]:
    """A suit as it is, or a top with a bottom, each from the assets or made for this person; perhaps a jacket."""
    ready = [garment for garment in _allowed(assets.of_kind("cloth"), split) if rng.random() < _fit(garment, man)]
    if rng.random() < 0.3 and ready:
        suit = ready[int(rng.integers(len(ready)))].suit
        parts = [garment for garment in assets.of_kind("cloth") if garment.suit == suit]
        by_role = {role: [part for part in parts if part.role == role] for role in ("bottom", "top", "suit")}
        return layered(assets, by_role["suit"], by_role["bottom"], by_role["top"], [])
    tops = [garment for garment in ready if garment.role == "top"]
    bottoms = [garment for garment in ready if garment.role == "bottom"]
    wears_skirt = rng.random() < (0.01 if man else 0.3)
    make_bottom: Callable[[np.random.Generator], tailor.Cut] = tailor.skirt if wears_skirt else tailor.trousers
    if wears_skirt or not bottoms or rng.random() < 0.6:
        bottom = _some(tailor.sew(assets, make_bottom(rng), rng))
    else:
        bottom = _one(bottoms, rng)
    if tops and rng.random() < 0.4:
        top = _one(tops, rng)
    else:
        top = _some(tailor.sew(assets, tailor.tee(rng), rng))
        if wears_skirt and bottom and rng.random() < 0.4:  # a dress: skirt and top of one cloth
            bottom = [replace(bottom[0], name="tee/bottom")]
    under = _some(tailor.sew(assets, tailor.tights(), rng)) if wears_skirt and rng.random() < 0.3 else []
    if not under and rng.random() < 0.5:
        under = _some(tailor.sew(assets, tailor.socks(rng), rng))
    over = _some(tailor.sew(assets, tailor.jacket(rng), rng)) if rng.random() < 0.2 else []
    return layered(assets, under, bottom, top, over)


def layered(
    assets: Assets, under: list[Garment], bottom: list[Garment], top: list[Garment], over: list[Garment]
) -> list[Garment]:
    """Garments over each other: what lies well under another is cut away, so that it cannot come through."""
    down, arm = assets.measures.down, assets.measures.arm
    if top and bottom:
        on_torso = top[0].blend(arm) < 0.1
        hem = float(np.quantile(top[0].blend(down)[on_torso], 0.98)) if on_torso.any() else WAIST
        waist = float(bottom[0].blend(down).min())
        bottom = [_flattened(garment, garment.blend(down) - hem) for garment in bottom]
        bottom = _without(bottom, lambda garment: np.asarray(garment.blend(down) < hem - 0.15))
        top = [_stand_off(_uncovering(top[0], (down < hem - 0.1) | (arm > 0)), hem - top[0].blend(down))]
        bottom = [_uncovering(garment, down > waist + 0.3) for garment in bottom]
    under = _without(under, _under(assets, bottom))
    if over:
        top = _without(top, _under(assets, over))
    return [*under, *bottom, *top, *over]


def _stand_off(top: Garment, above_hem: NDArray[np.float32]) -> Garment:
    """Wider by 8 mm at the hem, where it goes over what is below."""
    near = 1 - (above_hem / 0.6).clip(0, 1)
    return replace(top, ease=top.ease + np.where(above_hem < 2, 0.008 * near, 0).astype(np.float32))


def _flattened(bottom: Garment, below_hem: NDArray[np.float32]) -> Garment:
    """Close to the body where the top is over it."""
    share = ((below_hem + 0.1) / 0.2).clip(0.1, 1)
    return replace(bottom, ease=(bottom.ease * share).astype(np.float32))


def _uncovering(garment: Garment, covered: NDArray[np.bool_]) -> Garment:
    """Hides only base vertices that are covered, (V,): a part of a suit that is worn without the other."""
    return replace(garment, hides=garment.hides[covered[garment.hides]])


def _under(assets: Assets, garments: list[Garment]) -> Callable[[Garment], NDArray[np.bool_]]:
    """Which points of a garment are under others: those on base vertices that the others hide."""
    inside = np.zeros(len(assets.base.points), np.float32)
    for garment in garments:
        inside[garment.hides] = 1
    return lambda garment: np.asarray(garment.blend(inside) > 0.9)


def _without(garments: list[Garment], covered: Callable[[Garment], NDArray[np.bool_]]) -> list[Garment]:
    kept = []
    for garment in garments:
        shown = np.asarray(~covered(garment)[garment.mesh.corners].all(axis=1))
        if shown.any():
            kept.append(garment.part(shown))
    return kept


def _tucked_in(assets: Assets, clothes: list[Garment], shoes: list[Garment]) -> list[Garment]:
    """Tights, leggings and what else is narrow ends in the shoe; men's trousers of the assets are cut to go over it."""
    wide = [garment for garment in clothes if garment.name.startswith("male")]
    narrow = [garment for garment in clothes if not garment.name.startswith("male")]
    return [*_without(narrow, _under(assets, shoes)), *wide]


def _fit(garment: Garment, man: bool) -> float:
    """How readily a man or woman wears a garment: anyone wears men's casual clothes, few men women's."""
    if garment.name.startswith("female"):
        return 0.08 if man else 1.0
    return 1.0 if man else 0.5


def _allowed(garments: list[Garment], split: Split) -> list[Garment]:
    return [garment for garment in garments if garment_split(garment.suit) == split]


def _one(garments: list[Garment], rng: np.random.Generator) -> list[Garment]:
    return [garments[int(rng.integers(len(garments)))]] if garments else []


def _some(garment: Garment | None) -> list[Garment]:
    return [garment] if garment else []


def _pick(chances: Chances, rng: np.random.Generator) -> str:
    shares = np.array(list(chances.values()))
    return list(chances)[int(rng.choice(len(shares), p=shares / shares.sum()))]
