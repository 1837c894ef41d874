"""A person's shape: drawn at random, morphed from the base mesh, dressed, ready to be posed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic import dress
from pose_export.synthetic.garment import METRE, Garment
from pose_export.synthetic.makehuman import Assets
from pose_export.synthetic.mesh import Mesh, normals_of
from pose_export.synthetic.rig import BONE_NAMES, BONE_PARENTS, BONE_SEGMENTS, BONES, alignments
from pose_export.synthetic.split import Split
from pose_export.synthetic.surface import Character, Points, Surface, Traits

CHILD, YOUNG, OLD = 0.1875, 0.5, 1.0
"""Ages of 10, 25 and 90 years on MakeHuman's scale; below 10 there are no targets."""

DETAILS = ("head/", "nose/", "chin/", "mouth/", "cheek/", "forehead/", "ears/", "eyes/", "neck/")
BUILD = ("torso/", "hip/", "stomach/", "buttocks/", "armslegs/")
HEADS = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A body in MakeHuman's terms, each from 0 to 1.

    Attributes:
        male: 0 woman, 1 man.
        age: 0.1875 is 10 years, 0.5 is 25, 1 is 90; linear between.
        african, asian, caucasian: sum 1.
        muscle, weight, height, proportions: 0.5 is average.
        details: weights of further targets by name.
    """

    male: float
    age: float
    african: float
    asian: float
    caucasian: float
    muscle: float
    weight: float
    height: float
    proportions: float
    details: dict[str, float]

    @property
    def years(self) -> float:
        """Age in years."""
        return float(np.interp(self.age, (CHILD, YOUNG, OLD), (10, 25, 90)))


def sample_shape(assets: Assets, rng: np.random.Generator) -> Shape:
    """A random person: as many women as men, one in eight below 18."""
    male = float(rng.random() < 0.5)
    male = float(np.clip(abs(male - rng.beta(1, 8)), 0, 1))
    child = rng.random() < 0.12
    age = rng.uniform(CHILD, 0.35) if child else YOUNG + (OLD - YOUNG) * rng.beta(1, 2.2) - 0.1 * rng.random()
    races = rng.dirichlet((0.35, 0.35, 0.45))
    return Shape(
        male=male,
        age=float(age),
        african=float(races[0]),
        asian=float(races[1]),
        caucasian=float(1 - races[0] - races[1]),
        muscle=float(rng.beta(3, 3)),
        weight=float(rng.beta(3, 3)),
        height=float(np.clip(rng.normal(0.5 if child else 0.52, 0.05), 0.35, 0.68)),
        proportions=float(rng.beta(4, 3)),
        details=_details(assets, rng),
    )


def _details(assets: Assets, rng: np.random.Generator) -> dict[str, float]:
    """Some targets of face and build; both sides of the body alike."""
    weights = {f"head/head-{rng.choice(HEADS)}": float(rng.uniform(0, 0.7))} if rng.random() < 0.5 else {}
    for prefixes, number, most in ((DETAILS, int(rng.integers(5, 11)), 0.6), (BUILD, int(rng.integers(0, 5)), 0.4)):
        names = [name for name in assets.targets if name.startswith(prefixes) and _mild(name)]
        for name in rng.choice(names, min(number, len(names)), replace=False) if names else ():
            for side in {name, name.replace("/r-", "/l-"), name.replace("/l-", "/r-")}:
                weights[side] = float(rng.uniform(0, most)) if side == name else 0.0
            both = max(weights[side] for side in {name, name.replace("/r-", "/l-"), name.replace("/l-", "/r-")})
            weights |= dict.fromkeys({name, name.replace("/r-", "/l-"), name.replace("/l-", "/r-")}, both)
    return weights


def _mild(name: str) -> bool:
    """Whether a target moves no joint sideways and is no rarity."""
    odd = ("-trans-", "pregnant", "pointed", "-rot-", "valgus", "foot", "hand", "head-age", "jaw-drop", "head-angle")
    whole = tuple(f"head-{head}" for head in HEADS)
    return not any(word in name for word in odd) and not name.endswith(whole)


def target_weights(shape: Shape) -> Iterator[tuple[str, float]]:
    """Names of the targets that make up a shape, and their weights: each is the product of its factors."""
    gender = {"male": shape.male, "female": 1 - shape.male}
    if shape.age < YOUNG:
        young = max(0.0, (shape.age - CHILD) * 3.2)
        ages = {"young": young, "child": min(1.0, shape.age * 5.333) - young}
    else:
        ages = {"old": 2 * shape.age - 1, "young": 2 - 2 * shape.age}
    races = {"african": shape.african, "asian": shape.asian, "caucasian": shape.caucasian}
    muscle = {f"{k}muscle": v for k, v in _ends(shape.muscle).items()}
    weight = {f"{k}weight": v for k, v in _ends(shape.weight).items()}
    height = {f"{k}height": v for k, v in _ends(shape.height).items() if k != "average"}
    ideal = {"ideal": "max", "uncommon": "min"}
    proportions = {f"{k}proportions": _ends(shape.proportions)[v] for k, v in ideal.items()}
    tables = [
        ("macrodetails/", [races, gender, ages]),
        ("macrodetails/universal-", [gender, ages, muscle, weight]),
        ("macrodetails/height/", [gender, ages, muscle, weight, height]),
        ("macrodetails/proportions/", [gender, ages, muscle, weight, proportions]),
    ]
    for prefix, factors in tables:
        for parts in product(*(table.items() for table in factors)):
            share = float(np.prod([value for _, value in parts]))
            if share > 1e-4:
                yield prefix + "-".join(name for name, _ in parts), share
    yield from shape.details.items()


def _ends(value: float) -> dict[str, float]:
    high, low = max(0.0, 2 * value - 1), max(0.0, 1 - 2 * value)
    return {"max": high, "min": low, "average": 1 - high - low}


def morph(assets: Assets, shape: Shape) -> NDArray[np.float32]:
    """The base mesh, helpers included, in this shape: float32 (V, 3), decimetres."""
    points: NDArray[np.float32] = assets.base.points.copy()
    for name, weight in target_weights(shape):
        if name in assets.targets:
            where, moves = assets.targets[name]
            points[where] += np.float32(weight) * moves
    return points


def make_character(assets: Assets, rng: np.random.Generator, split: Split = "train") -> Character:
    """A random, dressed person; the same generator state gives the same person."""
    shape = sample_shape(assets, rng)
    outfit = dress.sample_outfit(assets, rng, male=shape.male, years=shape.years, split=split)
    return build(assets, shape, outfit)


def build(assets: Assets, shape: Shape, outfit: dress.Outfit) -> Character:
    """The person of this shape in this outfit."""
    body = morph(assets, shape)
    points = body * METRE
    skin = body_surface(assets, points, dress.hidden(assets, outfit))
    surfaces = [skin, *(fitted_surface(garment, body) for garment in outfit.garments)]
    joints = {name: points[vertices].mean(axis=0) for name, vertices in assets.joints.items()}
    keypoints = np.stack([points[vertices].mean(axis=0) for vertices, _ in assets.keypoints])
    bare = points[assets.groups["body"]]
    return Character(
        surfaces=tuple(surfaces),
        traits=Traits(
            male=shape.male,
            age=shape.years,
            african=shape.african,
            asian=shape.asian,
            caucasian=shape.caucasian,
            height=float(np.ptp(bare[:, 1])),
            scalp_hair=outfit.scalp_hair,
        ),
        heads=np.stack([joints[bone.name] for bone in BONES]),
        parents=BONE_PARENTS,
        segments=BONE_SEGMENTS,
        aligned=alignments(joints),
        keypoints=keypoints,
        keypoint_bones=np.array([bone for _, bone in assets.keypoints]),
        radii=thickness(keypoints, bare),
        contacts=contacts(surfaces),
        hands=np.stack([(joints[f"wrist.{side}"] + joints[f"finger3-1.{side}"] * 2) / 3 for side in "LR"]),
        hand_bones=(BONE_NAMES.index("wrist.L"), BONE_NAMES.index("wrist.R")),
    )


def body_surface(assets: Assets, points: NDArray[np.float32], hidden: NDArray[np.bool_]) -> Surface:
    """The skin; faces that touch a hidden base vertex are left out, unless nothing would remain."""
    base = assets.base
    row = base.group_names.index("body")
    whole = base.groups == row
    shown = whole & ~hidden[base.corners].any(axis=1)
    normals = normals_of(points, base.corners[whole])
    mesh = base.keep(shown if shown.any() else whole)
    return Surface(
        kind="skin",
        name="skin",
        positions=points[mesh.source],
        normals=normals[mesh.source],
        uv=mesh.uv,
        triangles=mesh.triangles,
        bones=assets.skinning.bones[mesh.source],
        weights=assets.skinning.weights[mesh.source],
        region=assets.region[mesh.source],
    )


def fitted_surface(garment: Garment, body: NDArray[np.float32]) -> Surface:
    """A garment on a morphed body (decimetres)."""
    mesh: Mesh = garment.mesh
    points = garment.fit(body) * METRE
    if garment.ease.any():
        points = points + normals_of(points, mesh.corners) * garment.ease[:, None]
    return Surface(
        kind=garment.kind,
        name=garment.name,
        positions=points[mesh.source],
        normals=normals_of(points, mesh.corners)[mesh.source],
        uv=mesh.uv,
        triangles=mesh.triangles,
        bones=garment.skinning.bones[mesh.source],
        weights=garment.skinning.weights[mesh.source],
        region=np.zeros(len(mesh.source), np.uint8),
    )


def thickness(keypoints: NDArray[np.float32], bare: NDArray[np.float32]) -> NDArray[np.float32]:
    """How thick the flesh is around each keypoint, float32 (17,): the mean distance to the 24 nearest skin
    vertices, at least 12 mm."""
    distances = np.linalg.norm(keypoints[:, None] - bare[None, ::2], axis=2)
    return np.asarray(np.partition(distances, 24, axis=1)[:, :24].mean(axis=1).clip(0.012))


def contacts(surfaces: list[Surface]) -> Points:
    """Every eighth vertex of skin, clothes and shoes, and all within 3 cm of the floor at rest."""
    solid = [surface for surface in surfaces if surface.kind in ("skin", "cloth", "shoe")]
    floor = min(surface.positions[:, 1].min() for surface in solid) + 0.03
    picked = []
    for surface in solid:
        wanted = surface.positions[:, 1] < floor
        wanted[::8] = True
        picked.append((surface.positions[wanted], surface.bones[wanted], surface.weights[wanted]))
    positions, bones, weights = (np.concatenate(column) for column in zip(*picked, strict=True))
    return Points(positions=positions, bones=bones, weights=weights)
