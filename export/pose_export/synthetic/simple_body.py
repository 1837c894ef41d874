"""People without any assets: tubes and ellipsoids that read as a dressed mannequin, with the same bones and keypoints.

They rest in the T-pose. They serve tests and demonstrations, and training where the assets are absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.body import contacts, thickness
from pose_export.synthetic.garment import skinning_of
from pose_export.synthetic.makehuman import SCALP
from pose_export.synthetic.mesh import normals_of
from pose_export.synthetic.rig import BONE_NAMES, BONE_PARENTS, BONE_SEGMENTS, BONES
from pose_export.synthetic.surface import Character, Kind, Surface, Traits

FACE, LIPS, EARS = 1, 2, 3
AROUND = 20
"""Vertices around a tube."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """A piece of a surface: points (n, 3), triangles (t, 3), texture (n, 2), bone shares (n, B), region (n,)."""

    points: Floats
    triangles: NDArray[np.int64]
    uv: Floats
    shares: Floats
    region: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Build:
    """Proportions of a simple person; lengths in shares of the height.

    Attributes:
        height: metres.
        male: 0 woman, 1 man.
        stout: 1 is average; thickness of all tubes.
        legs: 1 is average; share of the height.
    """

    height: float
    male: float
    stout: float
    legs: float


def simple_character(rng: np.random.Generator) -> Character:
    """A random simple person; the same generator state gives the same person."""
    male, child = float(rng.random() < 0.5), rng.random() < 0.12
    build = Build(
        height=float(rng.uniform(1.3, 1.55) if child else rng.normal(1.64 + 0.12 * male, 0.06)),
        male=male,
        stout=float(rng.uniform(0.85, 1.25)),
        legs=float(rng.uniform(0.97, 1.04)),
    )
    joints = _joints(build)
    surfaces = [_surface("skin", "skin", _skin(build, joints)), *_face(build, joints)]
    surfaces += [*_clothes(build, joints, rng), *_hair(build, joints, rng)]
    shares = rng.dirichlet((0.4, 0.4, 0.4))
    keypoints = _keypoints(build, joints)
    return Character(
        surfaces=tuple(surfaces),
        traits=Traits(
            male=male,
            age=float(rng.uniform(10, 15) if child else rng.uniform(18, 75)),
            african=float(shares[0]),
            asian=float(shares[1]),
            caucasian=float(1 - shares[0] - shares[1]),
            height=build.height,
            scalp_hair=1.0,
        ),
        heads=np.stack([joints[bone.name] for bone in BONES]),
        parents=BONE_PARENTS,
        segments=BONE_SEGMENTS,
        aligned=np.tile(np.eye(3, dtype=np.float32), (len(BONES), 1, 1)),
        keypoints=keypoints,
        keypoint_bones=np.array([BONE_NAMES.index(name) for name in KEYPOINT_BONES]),
        radii=thickness(keypoints, surfaces[0].positions),
        contacts=contacts(surfaces),
        hands=np.stack([joints[f"wrist.{s}"] + _vector(d * 0.05 * build.height, 0, 0) for s, d in SIDES]),
        hand_bones=(BONE_NAMES.index("wrist.L"), BONE_NAMES.index("wrist.R")),
    )


SIDES = (("L", 1), ("R", -1))
KEYPOINT_BONES = ("head",) * 5 + tuple(
    f"{bone}.{side}"
    for bone in ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot")
    for side in "LR"
)


def _joints(build: Build) -> dict[str, Floats]:
    """Heads of the bones in the T-pose, metres."""
    hip = 0.515 * build.legs
    torso = (0.825 - hip) / 0.31
    spine = {"root": 0.01, "spine04": 0.045, "spine03": 0.085, "spine02": 0.145, "spine01": 0.225, "neck01": 0.31}
    flat = {name: (0.0, hip + up * torso, 0.0) for name, up in spine.items()}
    flat |= {"neck02": (0, 0.845, 0), "neck03": (0, 0.86, 0.002), "head": (0, 0.875, 0.004)}
    shoulder = 0.1 + 0.012 * build.male
    for side, d in SIDES:
        flat |= {
            f"clavicle.{side}": (d * 0.02, 0.8, 0.01),
            f"upperarm01.{side}": (d * shoulder, 0.805, 0),
            f"lowerarm01.{side}": (d * (shoulder + 0.17), 0.805, 0),
            f"wrist.{side}": (d * (shoulder + 0.31), 0.805, 0),
            f"upperleg01.{side}": (d * (0.055 - 0.003 * build.male), hip, 0),
            f"lowerleg01.{side}": (d * 0.053, 0.045 + (hip - 0.045) * 0.485, 0.004),
            f"foot.{side}": (d * 0.053, 0.045, -0.004),
        }
    return {name: np.array(place, np.float32) * np.float32(build.height) for name, place in flat.items()}


def _keypoints(build: Build, joints: dict[str, Floats]) -> Floats:
    h, head = build.height, joints["head"]
    face = [(0, 0.036, 0.07), (0.018, 0.057, 0.051), (-0.018, 0.057, 0.051), (0.046, 0.046, 0), (-0.046, 0.046, 0)]
    points = [head + np.array(place, np.float32) * np.float32(h) for place in face]
    return np.stack([*points, *(joints[name] for name in KEYPOINT_BONES[5:])]).astype(np.float32)


def _vector(x: float, y: float, z: float) -> Floats:
    return np.array((x, y, z), np.float32)


def _chain(along: Floats, bones: Sequence[tuple[str, float]], width: float) -> Floats:
    """Bone shares (k, B) at places along a limb; each bone starts where it says, and `width` around is shared."""
    shares = np.zeros((len(along), len(BONE_NAMES)), np.float32)
    left = np.ones(len(along), np.float32)
    for name, start in reversed(bones[1:]):
        own = left * ((along - start) / width + 0.5).clip(0, 1)
        shares[:, BONE_NAMES.index(name)] += own
        left = left - own
    shares[:, BONE_NAMES.index(bones[0][0])] += left
    return shares


def _loft(
    centres: NDArray[np.floating],
    radii: NDArray[np.floating],
    across: Sequence[float],
    depth: Sequence[float],
    shares: Floats,
    region: int = 0,
) -> Part:
    """A closed tube of elliptic rings.

    Args:
        centres: (k, 3), of the rings.
        radii: (k, 2), along `across` and along `depth`.
        across, depth: unit vectors in which the rings lie; their cross product points to the next ring.
        shares: (k, B), of the bones, per ring.
        region: code of all its points.
    """
    rings = len(centres)
    angle = np.arange(AROUND) / AROUND * 2 * np.pi
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    offsets = circle[None] * radii[:, None]
    points = centres[:, None] + offsets[..., :1] * np.array(across) + offsets[..., 1:] * np.array(depth)
    points = np.concatenate([points.reshape(-1, 3), centres[[0, -1]]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    folded = np.minimum(angle, 2 * np.pi - angle)  # no seam: the pattern is mirrored at the back
    uv = np.stack(np.broadcast_arrays(folded * radii.mean(), along[:, None]), axis=2).reshape(-1, 2)
    uv = np.concatenate([uv, [[0, 0], [0, along[-1]]]])
    row, column = np.meshgrid(np.arange(rings - 1), np.arange(AROUND), indexing="ij")
    a = (row * AROUND + column).ravel()
    b = (row * AROUND + (column + 1) % AROUND).ravel()
    turn = np.arange(AROUND)
    after, last = (turn + 1) % AROUND, (rings - 1) * AROUND
    first_cap = np.stack([np.full(AROUND, rings * AROUND), after, turn], axis=1)
    last_cap = np.stack([np.full(AROUND, rings * AROUND + 1), last + turn, last + after], axis=1)
    sides = [np.stack([a, b, a + AROUND], axis=1), np.stack([b, b + AROUND, a + AROUND], axis=1)]
    return Part(
        points=points.astype(np.float32),
        triangles=np.concatenate([*sides, first_cap, last_cap]),
        uv=uv.astype(np.float32),
        shares=np.concatenate([shares.repeat(AROUND, axis=0), shares[[0, -1]]]),
        region=np.full(len(points), region, np.uint8),
    )


def _ellipsoid(centre: Floats, radii: Sequence[float], bone: str, region: int = 0) -> Part:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)[1:-1]
    angle = np.concatenate([[-1.5], angle, [1.5]])
    centres = centre + np.stack([0 * angle, np.sin(angle) * radii[1], 0 * angle], axis=1)
    rings = np.cos(angle)[:, None] * np.array([radii[2], radii[0]])
    return _loft(centres, rings, (0, 0, 1), (1, 0, 0), _chain(np.zeros(len(angle), np.float32), [(bone, 0)], 1), region)


def _surface(kind: Kind, name: str, parts: Sequence[Part]) -> Surface:
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    points = np.concatenate([part.points for part in parts])
    triangles = np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)])
    skinning = skinning_of(np.concatenate([part.shares for part in parts]))
    return Surface(
        kind=kind,
        name=name,
        positions=points,
        normals=normals_of(points, triangles),
        uv=np.concatenate([part.uv for part in parts]),
        triangles=triangles.astype(np.uint32),
        bones=skinning.bones,
        weights=skinning.weights,
        region=np.concatenate([part.region for part in parts]),
    )


def _torso(build: Build, joints: dict[str, Floats], top: float, bottom: float, ease: float) -> Part:
    """Crotch (0) to the base of the neck (1), from `bottom` to `top`; `ease` in metres."""
    h, hip, neck = build.height, joints["upperleg01.L"][1], joints["neck01"][1]
    low, high = hip - 0.035 * h, neck + 0.004 * h
    t = np.linspace(bottom, top, 15)
    knots = (0, 0.12, 0.28, 0.45, 0.65, 0.82, 0.93, 1.0)
    man = (0.055, 0.096, 0.09, 0.085, 0.1, 0.108, 0.085, 0.034)
    woman = (0.055, 0.1, 0.092, 0.074, 0.086, 0.092, 0.074, 0.03)
    wide = np.interp(t, knots, np.array(man) * build.male + np.array(woman) * (1 - build.male))
    deep = np.interp(t, knots, (0.045, 0.066, 0.064, 0.058, 0.066, 0.066, 0.05, 0.033))
    belly = 1 + (build.stout - 1) * np.interp(t, (0, 0.4, 0.8, 1), (0.8, 1.4, 0.8, 0.2))
    radii = np.stack([deep * belly, wide * belly], axis=1) * h + ease
    heights = low + t * (high - low)
    names = ("root", "spine04", "spine03", "spine02", "spine01", "neck01")
    shares = _chain(heights.astype(np.float32), [(name, float(joints[name][1])) for name in names], 0.05 * h)
    centres = np.stack([0 * t, heights, 0.006 * h * np.sin(t * 3)], axis=1)
    return _loft(centres, radii, (0, 0, 1), (1, 0, 0), shares)


def _limb(
    joints: dict[str, Floats],
    names: Sequence[str],
    stations: Sequence[float],
    thick: Sequence[float],
    span: tuple[float, float],
    ease: float,
    parent: str,
) -> Part:
    """A tube down an arm or leg: 0 is the first joint, 1 the second, 2 the third; `span` says from where to where."""
    t = np.linspace(*span, 21)
    places = np.stack([joints[name] for name in names])
    centres = np.stack([np.interp(t, (0, 1, 2), places[:, axis]) for axis in range(3)], axis=1)
    centres += np.minimum(t, 0)[:, None] * (places[1] - places[0])
    radius = np.interp(t, stations, thick) + ease
    arm = names[0].startswith("upperarm")
    left = places[0, 0] > 0
    frame: tuple[Sequence[float], Sequence[float]] = ((1, 0, 0), (0, 0, 1))
    if arm:
        frame = ((0, 1, 0), (0, 0, 1)) if left else ((0, 0, 1), (0, 1, 0))
    chain = [(parent, -9.0), (names[0], -0.02), (names[1], 1.0), (names[2], 2.0)]
    return _loft(centres, np.stack([radius, radius], axis=1), *frame, _chain(t.astype(np.float32), chain, 0.22))


def _arm(build: Build, joints: dict[str, Floats], side: str, end: float, ease: float) -> Part:
    names = [f"{bone}.{side}" for bone in ("upperarm01", "lowerarm01", "wrist")]
    thick = np.array((0.014, 0.027, 0.031, 0.031, 0.024, 0.024, 0.0155)) * build.height
    thick *= build.stout**0.7 * (0.88 + 0.12 * build.male)
    return _limb(joints, names, (-0.22, -0.12, 0, 0.2, 1, 1.25, 2), list(thick), (-0.22, end), ease, f"clavicle.{side}")


def _leg(build: Build, joints: dict[str, Floats], side: str, end: float, ease: float) -> Part:
    names = [f"{bone}.{side}" for bone in ("upperleg01", "lowerleg01", "foot")]
    thick = np.array((0.02, 0.04, 0.05, 0.052, 0.034, 0.034, 0.02)) * build.height * build.stout**0.7
    return _limb(joints, names, (-0.16, -0.1, 0, 0.15, 1, 1.3, 2), list(thick), (-0.16, end), ease, "root")


def _hand(build: Build, joints: dict[str, Floats], side: str, d: int) -> list[Part]:
    h, wrist, bone = build.height, joints[f"wrist.{side}"], f"wrist.{side}"
    parts = [_ellipsoid(wrist + _vector(d * 0.026 * h, 0, 0), (0.032 * h, 0.011 * h, 0.023 * h), bone)]
    for across in (-0.016, -0.0055, 0.005, 0.0155):
        middle = _vector(d * 0.068 * h, -0.002 * h, across * h)
        parts.append(_ellipsoid(wrist + middle, (0.025 * h, 0.0055 * h, 0.0055 * h), bone))
    thumb = _vector(d * 0.04 * h, -0.003 * h, 0.028 * h)
    return [*parts, _ellipsoid(wrist + thumb, (0.02 * h, 0.006 * h, 0.007 * h), bone)]


def _foot(build: Build, joints: dict[str, Floats], side: str, ease: float) -> Part:
    h, ankle = build.height, joints[f"foot.{side}"]
    t = np.linspace(0, 1, 9)
    tall = np.interp(t, (0, 0.2, 0.4, 0.8, 1), (0.012, 0.026, 0.024, 0.012, 0.005)) * h + ease
    wide = np.interp(t, (0, 0.2, 0.7, 1), (0.012, 0.02, 0.026, 0.012)) * h + ease
    way = np.stack([0 * t + ankle[0], tall - ease, ankle[2] - 0.035 * h + t * 0.15 * h], axis=1)
    shares = _chain(np.zeros(9, np.float32), [(f"foot.{side}", 0)], 1)
    return _loft(way, np.stack([wide, tall], axis=1), (1, 0, 0), (0, 1, 0), shares)


def _head(build: Build, joints: dict[str, Floats]) -> list[Part]:
    """Skull with a jaw, a nose, lips, ears and the neck."""
    h, head = build.height, joints["head"]
    t = np.linspace(-0.98, 1, 15)
    round_ = np.sqrt(np.maximum(1 - t**2, 0.003))
    wide = round_ * np.interp(t, (-1, -0.4, 0.2, 1), (0.028, 0.041, 0.046, 0.045)) * h
    deep = round_ * np.interp(t, (-1, -0.3, 0.3, 1), (0.036, 0.05, 0.057, 0.054)) * h
    forward = np.interp(t, (-1, 0, 1), (0.018, 0.004, 0)) * h
    centres = np.stack([0 * t, head[1] + (0.055 + t * 0.067) * h, head[2] + forward], axis=1)
    skull = _loft(centres, np.stack([deep, wide], axis=1), (0, 0, 1), (1, 0, 0), _rigid("head", 15), FACE)
    front = skull.points[:, 2] > head[2] + 0.012 * h
    hairy = (skull.points[:, 1] > head[1] + 0.088 * h) | (~front & (skull.points[:, 1] > head[1] + 0.04 * h))
    skull.region[~front] = 0
    skull.region[hairy] = SCALP

    def at(x: float, y: float, z: float) -> Floats:
        return np.asarray(head + np.array([x, y, z], np.float32) * np.float32(h), np.float32)

    nose = _ellipsoid(at(0, 0.041, 0.057), (0.0075 * h, 0.016 * h, 0.01 * h), "head", FACE)
    tip = _ellipsoid(at(0, 0.034, 0.062), (0.0095 * h, 0.006 * h, 0.0085 * h), "head", FACE)
    lips = [_ellipsoid(at(0, y, 0.0535), (0.0165 * h, 0.0035 * h, 0.0045 * h), "head", LIPS) for y in (0.018, 0.0135)]
    ears = [_ellipsoid(at(d * 0.047, 0.046, 0), (0.005 * h, 0.018 * h, 0.011 * h), "head", EARS) for d in (1, -1)]
    ys = np.linspace(joints["neck01"][1] - 0.02 * h, head[1] + 0.025 * h, 6)
    line = np.stack([0 * ys, ys, 0 * ys], axis=1)
    chain = [(name, float(joints[name][1])) for name in ("neck01", "neck02", "neck03", "head")]
    width = np.full((6, 2), (0.031 + 0.004 * build.male) * h)
    neck = _loft(line, width, (0, 0, 1), (1, 0, 0), _chain(ys.astype(np.float32), chain, 0.02 * h))
    return [skull, nose, tip, *lips, *ears, neck]


def _rigid(bone: str, rows: int) -> Floats:
    return _chain(np.zeros(rows, np.float32), [(bone, 0)], 1)


def _skin(build: Build, joints: dict[str, Floats]) -> list[Part]:
    parts = [_torso(build, joints, 1, 0, 0), *_head(build, joints)]
    for side, d in SIDES:
        parts += [_arm(build, joints, side, 2.02, 0), _leg(build, joints, side, 2, 0), _foot(build, joints, side, 0)]
        parts += _hand(build, joints, side, d)
    return parts


def _face(build: Build, joints: dict[str, Floats]) -> list[Surface]:
    h, head = np.float32(build.height), joints["head"]
    eyes, brows = [], []
    for _, d in SIDES:
        middle = head + _vector(d * 0.018, 0.057, 0.0455) * h
        eye = _ellipsoid(np.asarray(middle, np.float32), (0.0085 * h, 0.0065 * h, 0.0085 * h), "head")
        flat = (eye.points[:, :2] - middle[:2]) / (0.017 * h)
        back = np.where(eye.points[:, 2] < middle[2], 1.0, 0.0)[:, None] * np.sign(flat + 1e-9)
        eyes.append(Part(eye.points, eye.triangles, (0.5 + flat + back).astype(np.float32), eye.shares, eye.region))
        above = np.asarray(head + _vector(d * 0.019, 0.07, 0.0485) * h, np.float32)
        brows.append(_ellipsoid(above, (0.0125 * h, 0.0022 * h, 0.004 * h), "head"))
    return [_surface("eye", "eyes", eyes), _surface("brow", "brows", brows)]


def _clothes(build: Build, joints: dict[str, Floats], rng: np.random.Generator) -> list[Surface]:
    """A top with sleeves, trousers or shorts, and shoes."""
    ease = float(rng.uniform(0.01, 0.018))
    sleeve = float(rng.choice([0.35, 0.6, 1.85]))
    length = float(rng.choice([rng.uniform(0.5, 0.9), rng.uniform(1.75, 1.95)]))
    hem = float(rng.uniform(0.1, 0.3))
    top = [_torso(build, joints, 0.985, hem, ease), *(_arm(build, joints, s, sleeve, ease) for s, _ in SIDES)]
    bottom = [_torso(build, joints, hem + 0.1, -0.02, 0.004)]
    bottom += [_leg(build, joints, side, length, 0.007) for side, _ in SIDES]
    shoes = [_foot(build, joints, side, 0.006) for side, _ in SIDES]
    return [
        _surface("cloth", "simple_tee/top", top),
        _surface("cloth", "simple_trousers/bottom", bottom),
        _surface("shoe", "simple_shoes", shoes),
    ]


def _hair(build: Build, joints: dict[str, Floats], rng: np.random.Generator) -> list[Surface]:
    """A cap; for some women it falls to the shoulders; some men have none."""
    if build.male and rng.random() < 0.2:
        return []
    h, head = build.height, joints["head"]
    cap = np.asarray(head + _vector(0, 0.073, -0.012) * np.float32(h), np.float32)
    parts = [_ellipsoid(cap, (0.051 * h, 0.055 * h, 0.058 * h), "head")]
    if not build.male and rng.random() < 0.7:
        t = np.linspace(0, 1, 8)
        drop = float(rng.uniform(0.06, 0.16)) * h
        line = np.stack([0 * t, cap[1] - t * drop, cap[2] - 0.022 * h + 0 * t], axis=1)[::-1]
        width = np.stack([np.full(8, 0.036), np.interp(t, (0, 0.7, 1), (0.05, 0.052, 0.035))], axis=1)[::-1] * h
        parts.append(_loft(line, width, (0, 0, 1), (1, 0, 0), _rigid("head", 8)))
    return [_surface("hair", "simple_hair", parts)]
