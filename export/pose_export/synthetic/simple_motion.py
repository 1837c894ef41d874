"""Poses and clips without any recordings: walking, waving, sitting, jumping ... from sines of joint angles."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic import rotations
from pose_export.synthetic.motion import Motion, Takes
from pose_export.synthetic.rig import SEGMENT_PARENTS, SEGMENTS

FPS = 30.0
FRAMES = 60
VARIANTS = 12

Series = NDArray[np.float64]
Angles = dict[str, "float | Series"]
Action = Callable[[Series], "tuple[Angles, float | Series, float | Series]"]
"""Angles, lift and way travelled (metres) at times in seconds."""


def posed(angles: Mapping[str, float | Series]) -> NDArray[np.float32]:
    """Quaternions (..., 19, 4) of a body with these joint angles, degrees; what is not named is 0, arms hang down.

    Args:
        angles: numbers, or series of one shape (...): `pitch` and `roll` of the whole body; `bow` and `twist` of the
            trunk; `nod` and `turn` of the head; and for l_ and r_: `hip` (thigh forwards), `spread` (sideways),
            `knee`, `ankle` (toes up), `raise` (arm from hanging sideways up), `swing` (arm forwards), `elbow`.
    """
    get = {name: np.radians(value) for name, value in angles.items()}.get
    x, y, z = np.eye(3)
    local = {name: rotations.about(x, 0.0) for name in SEGMENTS}
    local["pelvis"] = rotations.multiply(rotations.about(z, get("roll", 0)), rotations.about(x, get("pitch", 0)))
    for name in ("abdomen", "chest"):
        bow, twist = rotations.about(x, get("bow", 0) / 2), rotations.about(y, get("twist", 0) / 2)
        local[name] = rotations.multiply(bow, twist)
    for name in ("neck", "head"):
        nod, turn = rotations.about(x, get("nod", 0) / 2), rotations.about(y, get("turn", 0) / 2)
        local[name] = rotations.multiply(turn, nod)
    for side, sign in (("l_", 1), ("r_", -1)):
        spread = rotations.about(z, sign * get(f"{side}spread", 0))
        local[f"{side}thigh"] = rotations.multiply(spread, rotations.about(x, -get(f"{side}hip", 0)))
        local[f"{side}shin"] = rotations.about(x, get(f"{side}knee", 0))
        local[f"{side}foot"] = rotations.about(x, -get(f"{side}ankle", 0))
        hang = rotations.about(z, sign * (get(f"{side}raise", 0) - np.pi / 2))
        local[f"{side}upperarm"] = rotations.multiply(rotations.about(x, -get(f"{side}swing", 0)), hang)
        local[f"{side}forearm"] = rotations.about(y, -sign * get(f"{side}elbow", 0))
    world: list[NDArray[np.float32]] = []
    for name, parent in zip(SEGMENTS, SEGMENT_PARENTS, strict=True):
        world.append(local[name] if parent < 0 else rotations.multiply(world[parent], local[name]))
    return rotations.normalised(np.stack(np.broadcast_arrays(*world), axis=-2))


def _stand(rng: np.random.Generator) -> Action:
    arms, sway = rng.uniform(3, 25, 2), rng.uniform(0.5, 3)
    elbows, rate, turn = rng.uniform(5, 60, 2), rng.uniform(0.2, 0.5), rng.uniform(-30, 30)

    def at(time: Series) -> tuple[Angles, float | Series, float | Series]:
        lean = sway * np.sin(2 * np.pi * rate * time)
        angles: Angles = {"l_raise": arms[0], "r_raise": arms[1], "l_elbow": elbows[0], "r_elbow": elbows[1]}
        return angles | {"twist": 3 * lean, "turn": turn + 4 * lean, "l_spread": 5.0, "r_spread": 5.0}, 0.0, 0.0

    return at


def _walk(rng: np.random.Generator) -> Action:
    stride, rate, elbow = rng.uniform(18, 32), rng.uniform(0.7, 1.2), rng.uniform(10, 60)

    def at(time: Series) -> tuple[Angles, float | Series, float | Series]:
        angles: Angles = {"bow": 3.0, "l_raise": 6.0, "r_raise": 6.0, "twist": -5 * np.sin(2 * np.pi * rate * time)}
        for side, phase in (("l_", 0.0), ("r_", np.pi)):
            turn = 2 * np.pi * rate * time + phase
            angles[f"{side}hip"] = 5 + stride * np.sin(turn)
            angles[f"{side}knee"] = 8 + 45 * np.maximum(0, np.cos(turn)) ** 2
            angles[f"{side}ankle"] = 8 * np.sin(turn)
            angles[f"{side}swing"] = -0.9 * stride * np.sin(turn)
            angles[f"{side}elbow"] = elbow + 8 * np.sin(turn + np.pi)
        return angles, 0.0, 1.3 * rate * np.sin(np.radians(stride)) * 2 * time

    return at


def _wave(rng: np.random.Generator) -> Action:
    high, rate, other = rng.uniform(80, 150), rng.uniform(0.8, 2), rng.uniform(5, 20)
    side, rest = ("l_", "r_") if rng.random() < 0.5 else ("r_", "l_")

    def at(time: Series) -> tuple[Angles, float | Series, float | Series]:
        beat = np.sin(2 * np.pi * rate * time)
        angles: Angles = {f"{side}raise": high + 8 * beat, f"{side}elbow": 45 + 30 * beat, f"{rest}raise": other}
        return angles | {"twist": 2 * beat, f"{rest}elbow": 20.0}, 0.0, 0.0

    return at


def _sit(rng: np.random.Generator) -> Action:
    hip, knee, spread = rng.uniform(75, 100), rng.uniform(65, 105), rng.uniform(2, 20)
    swing, elbow, rate = rng.uniform(10, 50, 2), rng.uniform(10, 80, 2), rng.uniform(0.2, 0.5)

    def at(time: Series) -> tuple[Angles, float | Series, float | Series]:
        beat = np.sin(2 * np.pi * rate * time)
        angles: Angles = {"bow": 8 + 4 * beat, "turn": 15 * beat, "l_raise": 8.0, "r_raise": 8.0}
        for row, side in enumerate(("l_", "r_")):
            angles |= {f"{side}hip": hip, f"{side}knee": knee, f"{side}spread": spread}
            angles |= {f"{side}swing": swing[row] + 3 * beat, f"{side}elbow": elbow[row]}
        return angles, 0.0, 0.0

    return at


def _jump(rng: np.random.Generator) -> Action:
    depth, rate = rng.uniform(40, 80), rng.uniform(0.5, 0.8)
    height, arms = rng.uniform(0.15, 0.45), rng.uniform(40, 150)

    def at(time: Series) -> tuple[Angles, float | Series, float | Series]:
        wave = np.sin(2 * np.pi * rate * time)
        crouch, air = np.maximum(0, -wave), np.maximum(0, wave)
        angles: Angles = {"pitch": 25 * crouch, "bow": 15 * crouch}
        for side in ("l_", "r_"):
            angles |= {f"{side}hip": 10 * air + 1.1 * depth * crouch, f"{side}knee": 10 + 1.6 * depth * crouch}
            angles |= {f"{side}ankle": 30 * crouch - 25 * air, f"{side}raise": 10 + arms * air}
            angles |= {f"{side}swing": -30 * crouch, f"{side}elbow": 20.0}
        return angles, height * air, 0.0

    return at


FAMILIES: tuple[tuple[str, str, Callable[[np.random.Generator], Action]], ...] = (
    ("B", "simple_stand", _stand),
    ("B", "simple_sit", _sit),
    ("B", "simple_walking", _walk),
    ("B", "simple_wave", _wave),
    ("B", "simple_jump", _jump),
)
"""Source letter and name as in recordings, so that they fall into the families of `motion.FAMILIES`."""


def simple_motion(seed: int = 0) -> Motion:
    """Motion with the same interface as recordings, from nothing: 12 variants of each family, two seconds each."""
    clips = [(source, f"{name}_{i}", how) for source, name, how in FAMILIES for i in range(VARIANTS)]
    times = np.arange(FRAMES) / FPS
    poses, lifts, roots = [], [], []
    for number, (_, _, how) in enumerate(clips):
        angles, lift, way = how(np.random.default_rng((seed, number)))(times)
        poses.append(np.broadcast_to(posed(angles), (FRAMES, len(SEGMENTS), 4)))
        lifts.append(lift + 0 * times)
        roots.append(np.stack([0 * times, 0.9 + lift + 0 * times, way + 0 * times], axis=1))
    takes = Takes(
        quaternions=np.concatenate(poses),
        roots=np.concatenate(roots).astype(np.float32),
        lifts=np.concatenate(lifts).astype(np.float32),
        clips=np.arange(len(clips)).repeat(FRAMES),
        frames=np.tile(np.arange(FRAMES), len(clips)),
        names=tuple(name for _, name, _ in clips),
        sources=tuple(source for source, _, _ in clips),
    )
    return Motion(poses=takes, clips=takes, fps=FPS)
