"""What hangs on the body: a mesh whose points are fixed to vertices of the base mesh, as MakeHuman's .mhclo has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.mesh import Mesh
from pose_export.synthetic.surface import Kind

METRE = np.float32(0.1)
"""MakeHuman's unit, a decimetre, in metres."""

Role = Literal["top", "bottom", "suit", "over", "none"]
"""Where clothes go: upper body, lower body, both, over a top."""


@dataclass(frozen=True, kw_only=True)
class Skinning:
    """What moves each of n points: bones uint8 (n, 4) of `rig.BONES`, weights float32 (n, 4) of sum 1."""

    bones: NDArray[np.uint8]
    weights: NDArray[np.float32]

    def at(self, rows: NDArray[np.int64]) -> Skinning:
        """That of some points."""
        return Skinning(bones=self.bones[rows], weights=self.weights[rows])


def skinning_of(shares: NDArray[np.float32]) -> Skinning:
    """The four largest shares of each row (n, B), scaled to sum 1."""
    bones = np.argsort(-shares, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(shares, bones, axis=1).clip(0)
    return Skinning(bones=bones.astype(np.uint8), weights=weights / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class Garment:
    """A mesh that is fitted to the body: clothes, hair, eyes ...

    Attributes:
        kind: what it is.
        name: "SUIT" or "SUIT/PART"; parts of one suit are made from the same cloth or match.
        role: where clothes go.
        mesh: as drawn; its own points are not used.
        anchors: int (v, 3), base vertices that each point hangs on.
        shares: float32 (v, 3), of the anchors.
        offsets: float32 (v, 3), added after scaling, decimetres.
        scale_between: int (3, 2), per axis two base vertices whose distance along it scales the offsets.
        scale_from: float32 (3,), the distance at which the scale is 1, decimetres.
        ease: float32 (v,), how far each point is pushed out along its normal, metres.
        hides: int (k,), base vertices under the garment.
        skinning: of the points.
    """

    kind: Kind
    name: str
    role: Role
    mesh: Mesh
    anchors: NDArray[np.int64]
    shares: NDArray[np.float32]
    offsets: NDArray[np.float32]
    scale_between: NDArray[np.int64]
    scale_from: NDArray[np.float32]
    ease: NDArray[np.float32]
    hides: NDArray[np.int64]
    skinning: Skinning

    @property
    def suit(self) -> str:
        """The suit that this is a part of."""
        return self.name.partition("/")[0]

    def fit(self, body: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points (v, 3) on a morphed body at rest, (V, 3), in decimetres; without ease."""
        ends = body[self.scale_between, np.arange(3)[:, None]]
        scale = np.abs(ends[:, 0] - ends[:, 1]) / self.scale_from
        return np.asarray(self.blend(body) + self.offsets * scale, np.float32)

    def blend(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each point has of values at the base vertices, (V, ...) to (v, ...)."""
        extra = (1,) * (values.ndim - 1)
        parts = (values[self.anchors[:, i]] * self.shares[:, i].reshape(-1, *extra) for i in range(3))
        return np.asarray(sum(parts), np.float32)

    def part(self, wanted: NDArray[np.bool_]) -> Garment:
        """The same with only some triangles, bool (t,), and the points they need."""
        mesh = self.mesh.keep(wanted)
        used, corners = np.unique(mesh.corners, return_inverse=True)
        place = np.zeros(len(self.anchors), np.int64)
        place[used] = np.arange(len(used))
        return replace(
            self,
            mesh=replace(mesh, points=mesh.points[used], corners=corners.reshape(-1, 3), source=place[mesh.source]),
            anchors=self.anchors[used],
            shares=self.shares[used],
            offsets=self.offsets[used],
            ease=self.ease[used],
            skinning=self.skinning.at(used),
        )


def components(corners: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` points the lowest point that triangles connect it to, (count,)."""
    labels = np.arange(count)
    while True:
        before = labels.copy()
        np.minimum.at(labels, corners, labels[corners].min(axis=1, keepdims=True))
        labels = labels[labels]
        if (labels == before).all():
            return labels


WAIST_Y, HIP_Y = 2.0, -3.0
"""Heights on the base mesh, decimetres: what ends below the first is a bottom; what goes from below the second up to
the chest is worn on the whole body."""

SUIT_EASE = 0.003
"""Metres; on bodies far from the one it was made for, a collar as made lets skin come through."""

CUT_Y = 0.9
"""Where a whole suit made in one piece is cut, so that its halves may have different colours."""


def split_suit(suit: Garment, base: NDArray[np.float32]) -> list[Garment]:
    """Tops and bottoms of a suit, by its connected parts; the parts of an overall stay together in the role "suit"."""
    heights = suit.fit(base)[:, 1]
    labels = components(suit.mesh.corners, len(heights))
    highest = np.full(len(labels), -np.inf, np.float32)
    np.maximum.at(highest, labels, heights)
    lowest = np.full(len(labels), np.inf, np.float32)
    np.minimum.at(lowest, labels, heights)
    whole = bool(((highest > 4) & (lowest < HIP_Y)).any())
    is_bottom = highest[labels] < WAIST_Y
    if whole:
        is_bottom = (lowest[labels] < HIP_Y) & (highest[labels] > 4) | is_bottom
    bottom = is_bottom[suit.mesh.corners[:, 0]]
    if whole and bottom.all():
        bottom = heights[suit.mesh.corners].mean(axis=1) < CUT_Y
    roles: tuple[tuple[Role, str, NDArray[np.bool_]], ...] = (
        ("suit" if whole else "bottom", "bottom", bottom),
        ("suit" if whole else "top", "top", ~bottom),
    )
    eased = replace(suit, ease=np.full(len(heights), SUIT_EASE, np.float32))
    parts = [
        replace(eased.part(mask), name=f"{suit.name}/{name}", role=role) for role, name, mask in roles if mask.any()
    ]
    return _share_hides(parts, base)


def _share_hides(parts: list[Garment], base: NDArray[np.float32]) -> list[Garment]:
    """Each hidden vertex goes to the part that hangs nearest to it."""
    if len(parts) < 2:
        return parts
    hides = parts[0].hides
    distances = []
    for part in parts:
        near = base[np.unique(part.anchors)[::6]]
        distances.append(_nearest(base[hides], near))
    owner = np.argmin(distances, axis=0)
    return [replace(part, hides=hides[owner == i]) for i, part in enumerate(parts)]


def _nearest(points: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ others.T + (others**2).sum(axis=1)
    return np.asarray(squares.min(axis=1))


def trim_fringe(hair: Garment, base: NDArray[np.float32], eyes: NDArray[np.float32], brow: float) -> Garment:
    """The hair without what hangs before the face, below the height `brow`; `eyes` (2, 3) on the base mesh."""
    points = hair.fit(base)
    reach = np.abs(eyes[:, 0]).max() + 0.22
    before = (points[:, 2] > eyes[:, 2].min() - 0.35) & (points[:, 1] < brow) & (np.abs(points[:, 0]) < reach)
    shown = ~before[hair.mesh.corners].any(axis=1)
    return hair.part(shown) if shown.any() else hair


def in_metres(mesh: Mesh, points: NDArray[np.float32]) -> Mesh:
    """The mesh with texture coordinates scaled to metres, so that cloth patterns have a size; points are decimetres."""
    a, b = mesh.triangles[:, 0], mesh.triangles[:, 1]
    length = np.linalg.norm(points[mesh.source[a]] - points[mesh.source[b]], axis=1) * METRE
    drawn = np.linalg.norm(mesh.uv[a] - mesh.uv[b], axis=1)
    real = drawn > 1e-9
    scale = float(np.median(length[real] / drawn[real])) if real.any() else 1.0
    return replace(mesh, uv=(mesh.uv * np.float32(scale)).astype(np.float32))


def looking(eyes: Garment, base: NDArray[np.float32]) -> Garment:
    """Eyes whose texture coordinates say where the iris is: (0.5, 0.5) is its middle, the rim of the eyeball 0.5 away.

    The iris of a human eye reaches to about 0.24. Vertices at the back lie 1 away and more.
    """
    points = eyes.fit(base)[eyes.mesh.source]
    uv = np.full((len(points), 2), 2.0, np.float32)
    for side in (points[:, 0] > 0, points[:, 0] <= 0):
        if side.any():
            low, high = points[side].min(axis=0), points[side].max(axis=0)
            flat = (points[side, :2] - (low + high)[:2] / 2) / max(float(high[0] - low[0]), 1e-6)
            back = points[side, 2] < (low + high)[2] / 2
            uv[side] = 0.5 + flat + np.where(back, 1.0, 0.0)[:, None] * np.sign(flat + 1e-9)
    return replace(eyes, mesh=replace(eyes.mesh, uv=uv))
