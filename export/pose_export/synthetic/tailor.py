"""Clothes and hair made from the base mesh itself: cut by height and sleeve, pushed out, loosened by smooth folds.

They multiply the wardrobe: no two T-shirts have the same sleeves, hem, neck and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.garment import Garment, Role, in_metres, skinning_of
from pose_export.synthetic.makehuman import SCALP, Assets
from pose_export.synthetic.measures import ANKLE, KNEE, NECK, WAIST, WRIST
from pose_export.synthetic.mesh import clip
from pose_export.synthetic.surface import Kind

HIDE_MARGIN = 0.12
"""How far under a seam, in measures, skin is still drawn."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a garment covers, in the values of `Measures`, and how wide it is.

    Attributes:
        name, role: of the garment.
        group: of the base mesh that it is cut from.
        top, hem: it reaches from `top` down to `hem`.
        sleeve: how far along the arm; 0 leaves the arm bare.
        scoop: how much deeper the neck is in front, in measures.
        opening: half width of the gap down the front, decimetres; 0 is closed.
        ease: distance from the skin-tight hull, metres.
        flare: metres that it stands off more at the hem than at the top.
        folds: metres, height of the folds.
    """

    name: str
    role: Role
    group: str = "helper-tights"
    top: float
    hem: float
    sleeve: float = 9.0
    scoop: float = 0.0
    opening: float = 0.0
    ease: float = 0.006
    flare: float = 0.0
    folds: float = 0.003


def tee(rng: np.random.Generator) -> Cut:
    """T-shirt, tank top, long sleeves or a cropped top."""
    sleeves = [0.0, rng.uniform(0.2, 0.8), rng.uniform(0.9, 1.3), rng.uniform(1.7, 1.97)]
    sleeve = rng.choice(sleeves, p=(0.2, 0.4, 0.1, 0.3))
    return Cut(
        name="tee",
        role="top",
        top=NECK - rng.uniform(-0.06, 0.12),
        hem=rng.uniform(WAIST, -0.4) if rng.random() < 0.1 else rng.uniform(-0.3, 0.15),
        sleeve=float(sleeve),
        scoop=rng.uniform(0.02, 0.35),
        ease=rng.uniform(0.002, 0.014),
        flare=rng.uniform(0, 0.02),
        folds=rng.uniform(0, 0.006),
    )


def jacket(rng: np.random.Generator) -> Cut:
    """Worn open over a top."""
    return Cut(
        name="jacket",
        role="over",
        top=NECK - rng.uniform(0, 0.25),
        hem=rng.uniform(-0.4, 0.6),
        sleeve=rng.uniform(1.6, 1.97),
        opening=rng.uniform(0.15, 0.7),
        ease=rng.uniform(0.016, 0.026),
        flare=rng.uniform(0, 0.03),
        folds=rng.uniform(0.002, 0.006),
    )


def trousers(rng: np.random.Generator) -> Cut:
    """Trousers, leggings or shorts."""
    short = rng.random() < 0.4
    return Cut(
        name="shorts" if short else "trousers",
        role="bottom",
        top=rng.uniform(-0.85, -0.5),
        hem=rng.uniform(0.2, KNEE - 0.05) if short else rng.uniform(1.5, ANKLE + 0.02),
        ease=rng.uniform(0.001, 0.012),
        flare=rng.uniform(0, 0.03) if short else rng.choice([0, rng.uniform(0, 0.025)]),
        folds=rng.uniform(0, 0.006),
    )


def skirt(rng: np.random.Generator) -> Cut:
    """A skirt, from half the thigh to the ankle."""
    return Cut(
        name="skirt",
        role="bottom",
        group="helper-skirt",
        top=rng.uniform(-0.95, -0.6),
        hem=rng.uniform(0.45, 1.7),
        ease=0.004,
        flare=rng.uniform(0, 0.12),
        folds=rng.uniform(0.002, 0.012),
    )


def tights() -> Cut:
    """Worn under a skirt; they end in the shoe."""
    return Cut(name="tights", role="none", top=-0.6, hem=ANKLE + 0.05, ease=0.0, folds=0.0)


def socks(rng: np.random.Generator) -> Cut:
    """From half the shin down into the shoe."""
    return Cut(name="socks", role="none", top=rng.uniform(1.4, 1.9), hem=ANKLE + 0.05, ease=0.001, folds=0.0)


def sew(assets: Assets, cut: Cut, rng: np.random.Generator) -> Garment | None:
    """The garment; None where nothing of the mesh is inside the cut."""
    base = assets.base
    down, arm = assets.measures.down, assets.measures.arm
    inside = depth(cut, assets)
    length = max(cut.hem - cut.top, 0.1)
    slope = np.where(arm > 0, 0, ((down - cut.top) / length).clip(0, 1))
    ease = cut.ease + cut.flare * slope**1.5 + cut.folds * smooth_noise(base.points, rng)
    return from_base(
        assets,
        group=cut.group,
        inside=inside,
        ease=ease.clip(0.001),
        kind="cloth",
        name=f"{cut.name}/{cut.role}",
        role=cut.role,
        hides=np.flatnonzero(inside > HIDE_MARGIN),
    )


def depth(cut: Cut, assets: Assets) -> NDArray[np.float32]:
    """How deep inside a cut each base vertex is, in measures: 0 on a seam, negative outside; (V,)."""
    points, down, arm = assets.base.points, assets.measures.down, assets.measures.arm
    front = np.exp(-((points[:, 0] / 0.75) ** 2)) * (points[:, 2] > 0.2)
    shoulder = ((np.abs(points[:, 0]) - 0.6) / 0.7).clip(0, 1)
    from_top = down - cut.top - cut.scoop * front + 0.4 * shoulder
    body = np.minimum(from_top, cut.hem - down)
    sleeve = np.minimum(from_top, np.minimum(cut.sleeve, WRIST) - arm) if cut.sleeve < 9 else np.full(len(arm), -1)
    inside = np.where(arm > 0, sleeve, body)
    if cut.opening:
        gap = np.where((points[:, 2] > 0.0) & (arm == 0), np.abs(points[:, 0]) - cut.opening, 1)
        inside = np.minimum(inside, gap)
    return np.asarray(inside, np.float32)


def smooth_noise(points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """About -1 to 1 for each point (V, 3), from waves 3 to 15 cm long; the same on no two garments."""
    waves = rng.normal(size=(6, 3)) * rng.uniform(4, 12, size=(6, 1)) * 0.35
    phases = rng.uniform(0, 2 * np.pi, 6)
    return np.asarray(np.sin(points @ waves.T + phases).mean(axis=1) * 1.5, np.float32)


def from_base(
    assets: Assets,
    *,
    group: str,
    inside: NDArray[np.float32],
    ease: NDArray[np.float32],
    kind: Kind,
    name: str,
    role: Role,
    hides: NDArray[np.int64],
) -> Garment | None:
    """A garment out of the part of a group where `inside` (V,) is above 0, pushed out by `ease` (V,)."""
    base = assets.base
    piece = clip(base, np.flatnonzero(base.groups == base.group_names.index(group)), inside)
    if piece is None:
        return None
    mesh, ends, share = piece
    mesh = in_metres(mesh, mesh.points) if kind == "cloth" else mesh
    shares = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
    bones = assets.shares[ends[:, 0]] * shares[:, :1] + assets.shares[ends[:, 1]] * shares[:, 1:2]
    return Garment(
        kind=kind,
        name=name,
        role=role,
        mesh=mesh,
        anchors=ends[:, [0, 1, 1]],
        shares=shares,
        offsets=np.zeros((len(ends), 3), np.float32),
        scale_between=np.array([[0, 1]] * 3),
        scale_from=np.ones(3, np.float32),
        ease=(ease[ends[:, 0]] * shares[:, 0] + ease[ends[:, 1]] * shares[:, 1]).astype(np.float32),
        hides=hides,
        skinning=skinning_of(bones),
    )


def crop(assets: Assets, rng: np.random.Generator) -> Garment | None:
    """Short hair: the scalp, thicker away from its edge."""
    base = assets.base
    scalp = assets.region == SCALP
    if not scalp.any():
        return None
    points = base.points
    edge = np.unique(base.corners[np.flatnonzero(scalp[base.corners].any(axis=1) & ~scalp[base.corners].all(axis=1))])
    rim = points[np.intersect1d(edge, np.flatnonzero(scalp))]
    own = np.flatnonzero(scalp)
    rim = rim if len(rim) else points[own]
    distance = np.sqrt(((points[own, None] - rim[None]) ** 2).sum(axis=2).min(axis=1))
    ease = np.zeros(len(points), np.float32)
    high = ((points[own, 1] - points[own, 1].min()) / np.ptp(points[own, 1])) ** 2
    sides, top = rng.uniform(0.002, 0.015), rng.uniform(0.006, 0.04)
    thick = (sides + (top - sides) * high) * (1 + 0.25 * smooth_noise(points[own], rng))
    ease[own] = 0.001 + thick * (distance / rng.uniform(0.3, 0.7)).clip(0, 1) ** 0.6
    return from_base(
        assets,
        group="body",
        inside=scalp - np.float32(0.5),
        ease=ease,
        kind="hair",
        name="crop",
        role="none",
        hides=np.zeros(0, np.int64),
    )
