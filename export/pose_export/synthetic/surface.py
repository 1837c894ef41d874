"""What can be drawn: surfaces of triangles that bones move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["skin", "eye", "brow", "lash", "teeth", "hair", "cloth", "shoe", "hat", "prop"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """One mesh at rest, with n vertices and t triangles. Metres; y is up, a person faces +z, their left is +x.

    Attributes:
        kind: decides how it is coloured.
        name: of the garment, hair or prop; of clothes SUIT/PART, and parts of one suit match.
        positions, normals: float32 (n, 3); normals have length 1 and point outwards.
        uv: float32 (n, 2), texture coordinates; cloth, shoes and hats in metres; of eyes (0.5, 0.5) is the middle of
            the iris, which reaches to 0.24 around it; else MakeHuman's own, 0 to 1.
        triangles: uint32 (t, 3), counter-clockwise seen from outside.
        bones: uint8 (n, 4), rows of the transforms that move the vertex.
        weights: float32 (n, 4), their shares, sum 1.
        region: uint8 (n,), for skin: 0 body, 1 face, 2 lips, 3 ears, 4 nails, 5 inside of the mouth, 6 eyelids,
            7 scalp; else 0.
    """

    kind: Kind
    name: str
    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32]
    triangles: NDArray[np.uint32]
    bones: NDArray[np.uint8]
    weights: NDArray[np.float32]
    region: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points that bones move.

    Attributes:
        positions: float32 (n, 3), metres, at rest.
        bones: uint8 (n, 4), rows of the transforms that move the point.
        weights: float32 (n, 4), their shares, sum 1.
    """

    positions: NDArray[np.float32]
    bones: NDArray[np.uint8]
    weights: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a person is like; colours and fabrics follow from them.

    Attributes:
        male: 0 woman to 1 man.
        age: years.
        african, asian, caucasian: shares, sum 1.
        height: metres, standing, without shoes.
        scalp_hair: how much of the hair's colour the scalp has: 0 bald, 1 as the hair.
    """

    male: float
    age: float
    african: float
    asian: float
    caucasian: float
    height: float
    scalp_hair: float


@dataclass(frozen=True, kw_only=True)
class Character:
    """A dressed person at rest, ready to be posed.

    Attributes:
        surfaces: skin first.
        traits: what they are like.
        heads: float32 (B, 3), where each of the B bones turns, at rest.
        parents: int (B,), -1 for the root, parents before children.
        segments: for every bone the segments of `motion.SEGMENTS` that turn it, one or two (averaged).
        aligned: float32 (B, 3, 3), takes the bone from rest to the canonical T-pose.
        keypoints: float32 (17, 3), COCO order, at rest.
        keypoint_bones: int (17,), the bone that carries each.
        radii: float32 (17,), thickness of the flesh around each keypoint, metres.
        contacts: some points of the surface; the lowest of them stands on the floor.
        hands: float32 (2, 3), left and right palm at rest; carried by `hand_bones`.
    """

    surfaces: tuple[Surface, ...]
    traits: Traits
    heads: NDArray[np.float32]
    parents: NDArray[np.int64]
    segments: tuple[tuple[int, ...], ...]
    aligned: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    keypoint_bones: NDArray[np.int64]
    radii: NDArray[np.float32]
    contacts: Points
    hands: NDArray[np.float32]
    hand_bones: tuple[int, int] = field(default=(0, 0))
