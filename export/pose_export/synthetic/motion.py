"""Poses and clips of recorded and authored human motion, on the 19 segments of `rig.SEGMENTS`.

Every quaternion is the world rotation that carries a segment out of an upright T-pose (facing +z, arms along the x
axis with palms down), so that poses from any source fit any body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic import rotations
from pose_export.synthetic.makehuman import read_arrays
from pose_export.synthetic.rig import SEGMENT_PARENTS, SEGMENTS
from pose_export.synthetic.split import Split, hashed_split
from pose_runtime.errors import ExportError

FAMILIES: tuple[tuple[str, str, float], ...] = (
    # name, pattern of source letter and clip name, share
    ("sit", r"E authored_sit_|B simple_sit", 20),
    ("stand", r"E authored_stand|B simple_stand", 20),
    ("walk", r"B .*_walking_", 15),
    ("authored", r"E authored_(?!sit_|stand)", 14),
    ("sport", r"B (?!.*_walking_)", 10),
    ("acrobatics", r"C ", 8),
    ("dance", r"A ", 10),
    ("everyday", r"D ", 3),
)
"""How poses are mixed. Recordings hold far more dance than photographs do."""

_OTHER_SIDE = {"l_": "r_", "r_": "l_"}
MIRRORED = np.array([SEGMENTS.index(_OTHER_SIDE.get(name[:2], name[:2]) + name[2:]) for name in SEGMENTS])
"""For each segment the one on the other side."""

KNEES = (SEGMENTS.index("l_shin"), SEGMENTS.index("r_shin"))
ELBOWS = (SEGMENTS.index("l_forearm"), SEGMENTS.index("r_forearm"))
LIFT_THRESHOLD = 0.06
"""Metres; recordings are not exact enough to call anything lower a jump."""

MAX_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a body is held.

    Attributes:
        quaternions: float32 (19, 4), w x y z, world rotations of `rig.SEGMENTS` out of the T-pose.
        lift: metres between the floor and the lowest point of the body.
        family: what kind of motion it is from, a name in `FAMILIES`.
        travel: float32 (2,), x and z of the pelvis since the start of the clip, metres; zero in a single pose.
    """

    quaternions: NDArray[np.float32]
    lift: float
    family: str
    travel: NDArray[np.float32]

    def mirrored(self) -> Pose:
        """Left and right exchanged."""
        return replace(
            self,
            quaternions=self.quaternions[MIRRORED] * np.array([1, 1, -1, -1], np.float32),
            travel=self.travel * np.array([-1, 1], np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class Takes:
    """Rows of poses that belong to named clips.

    Attributes:
        quaternions: float32 (N, 19, 4).
        roots: float32 (N, 3), pelvis, metres; NaN where none was recorded.
        lifts: float32 (N,), metres above the floor.
        clips: int (N,), row of `names`.
        frames: int (N,), number of the frame in its clip.
        names, sources: of the clips.
    """

    quaternions: NDArray[np.float32]
    roots: NDArray[np.float32]
    lifts: NDArray[np.float32]
    clips: NDArray[np.int64]
    frames: NDArray[np.int64]
    names: tuple[str, ...]
    sources: tuple[str, ...]

    @cached_property
    def by_family(self) -> dict[tuple[Split, str], list[NDArray[np.int64]]]:
        """For each split and family the rows of each clip; empty lists are left out."""
        table: dict[tuple[Split, str], list[NDArray[np.int64]]] = {}
        order = np.argsort(self.clips, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self.clips[order])) + 1):
            clip = int(self.clips[rows[0]])
            family = family_of(self.sources[clip], self.names[clip])
            for split, part in _parts(self.names[clip], rows, self.frames[rows]):
                if len(part):
                    table.setdefault((split, family), []).append(part)
        return table


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Single poses of great variety, and fewer continuous clips."""

    poses: Takes
    clips: Takes
    fps: float


def family_of(source: str, name: str) -> str:
    """The family of a clip."""
    for family, pattern, _ in FAMILIES:
        if re.match(pattern, f"{source} {name}"):
            return family
    return "everyday"


def _parts(name: str, rows: NDArray[np.int64], frames: NDArray[np.int64]) -> Iterator[tuple[Split, NDArray[np.int64]]]:
    """Recordings are held out whole; authored poses have nothing to do with each other and are held out one by one."""
    if name.startswith("authored"):
        held = np.array([hashed_split(f"{name} {frame}") == "validation" for frame in frames])
    else:
        held = np.full(len(rows), clip_split(name) == "validation")
    yield "train", rows[~held]
    yield "validation", rows[held]


def clip_split(name: str) -> Split:
    """Where a recording belongs; the two partners of one salsa (n and n + 15) stay together, as do parts of a take."""
    salsa = re.fullmatch(r"(.*salsa_)(\d+)", name)
    if salsa:
        name = f"{salsa[1]}{int(salsa[2]) % 15}"
    return hashed_split(name)


def open_motion(folder: Path) -> Motion:
    """Read and check `poses.npz` and `clips.npz`.

    Raises:
        ExportError: a file is missing, or its arrays do not fit together.
    """
    poses, clips = (folder / name for name in ("poses.npz", "clips.npz"))
    arrays = read_arrays(clips)
    start = _array(arrays, "start", clips, "i").astype(np.int64)
    names = len(_array(arrays, "clip_names", clips, "U"))
    rows = len(_array(arrays, "quat_i16", clips, "i"))
    if start.shape != (names + 1,) or start[0] != 0 or start[-1] != rows or (np.diff(start) < 2).any():
        raise ExportError(f"{clips}: start: wanted {names + 1} growing rows from 0 to {rows}")
    arrays["clip_id"] = np.repeat(np.arange(names), np.diff(start))
    arrays["frame"] = np.arange(rows) - start[arrays["clip_id"]]
    fps = _array(arrays, "fps", clips, "if").astype(np.float64)
    if fps.shape != () or not 1 <= fps <= 1000:
        raise ExportError(f"{clips}: fps: got {fps}, wanted one number from 1 to 1000")
    return Motion(poses=_takes(read_arrays(poses), poses), clips=_takes(arrays, clips), fps=float(fps))


def _array(arrays: dict[str, NDArray[np.generic]], name: str, path: Path, kinds: str) -> NDArray[np.generic]:
    if name not in arrays or arrays[name].dtype.kind not in kinds:
        raise ExportError(f"{path}: wanted an array {name}")
    return arrays[name]


def _takes(arrays: dict[str, NDArray[np.generic]], path: Path) -> Takes:
    packed = _array(arrays, "quat_i16", path, "i").astype(np.float32) / 32767
    count = len(packed)
    names = _array(arrays, "clip_names", path, "U")
    sources = _array(arrays, "clip_source", path, "U")
    clips = _array(arrays, "clip_id", path, "iu").astype(np.int64)
    frames = _array(arrays, "frame", path, "iu").astype(np.int64)
    roots = _array(arrays, "root_pos_m", path, "f").astype(np.float32)
    offsets = _array(arrays, "tpose_offset_m", path, "f").astype(np.float32)
    segments = tuple(str(name) for name in _array(arrays, "segments", path, "U"))
    if segments != SEGMENTS or offsets.shape != (len(SEGMENTS), 3):
        raise ExportError(f"{path}: wanted the segments {', '.join(SEGMENTS)}")
    fit = packed.shape == (count, len(SEGMENTS), 4) and roots.shape == (count, 3)
    fit = fit and clips.shape == frames.shape == (count,) and names.shape == sources.shape
    if not fit or not 0 < count <= MAX_ROWS or clips.min() < 0 or clips.max() >= len(names):
        raise ExportError(f"{path}: arrays of {count} poses do not fit together")
    if np.abs(np.linalg.norm(packed, axis=2) - 1).max() > 0.01:
        raise ExportError(f"{path}: quat_i16: a quaternion has not length 1")
    quaternions = rotations.normalised(packed)
    return Takes(
        quaternions=quaternions,
        roots=roots,
        lifts=_lifts(quaternions, roots, offsets, clips),
        clips=clips,
        frames=frames,
        names=tuple(str(name) for name in names),
        sources=tuple(str(source) for source in sources),
    )


def _lifts(
    quaternions: NDArray[np.float32],
    roots: NDArray[np.float32],
    offsets: NDArray[np.float32],
    clips: NDArray[np.int64],
) -> NDArray[np.float32]:
    """How far the feet and all else are above the clip's floor: (N,), metres; 0 where no pelvis was recorded.

    The joints of a plain skeleton tell: the floor is where the lowest joint is in the lowest tenth of the frames.
    """
    joints = np.zeros((len(roots), len(SEGMENTS)), np.float32)
    joints[:, 0] = roots[:, 1]
    matrices = rotations.to_matrices(quaternions)
    for segment, parent in enumerate(SEGMENT_PARENTS):
        if parent >= 0:
            joints[:, segment] = joints[:, parent] + matrices[:, parent, 1] @ offsets[segment]
    toes = [joints[:, s] + matrices[:, s, 1] @ np.array([0, -0.05, 0.13], np.float32) for s in (15, 18)]
    lowest = np.minimum(joints.min(axis=1), np.minimum(*toes))
    lifts = np.zeros(len(roots), np.float32)
    for clip in np.unique(clips):
        rows = clips == clip
        if np.isfinite(lowest[rows]).all():
            lifts[rows] = lowest[rows] - np.quantile(lowest[rows], 0.1)
    return np.where(lifts < LIFT_THRESHOLD, 0, lifts.clip(0, 1.5))


def sample_pose(motion: Motion, rng: np.random.Generator, split: Split = "train") -> Pose:
    """A random pose: first the family, then a clip, then a moment; half of them mirrored; a little changed.

    The pelvis faces +z, where it faces anywhere.
    """
    family, clips = _sample_family(motion.poses, rng, split)
    rows = clips[int(rng.integers(len(clips)))]
    row = int(rows[rng.integers(len(rows))])
    quaternions = perturbed(motion.poses.quaternions[row], rng)
    turn = rotations.conjugate(heading(quaternions[0]))
    pose = Pose(
        quaternions=rotations.multiply(turn, quaternions),
        lift=float(motion.poses.lifts[row]),
        family=family,
        travel=np.zeros(2, np.float32),
    )
    return pose.mirrored() if rng.random() < 0.5 else pose


def _sample_family(takes: Takes, rng: np.random.Generator, split: Split) -> tuple[str, list[NDArray[np.int64]]]:
    present = [(name, share) for name, _, share in FAMILIES if (split, name) in takes.by_family]
    if not present:
        raise ExportError(f"motion: no pose belongs to the {split} part")
    shares = np.array([share for _, share in present])
    family = present[int(rng.choice(len(present), p=shares / shares.sum()))][0]
    return family, takes.by_family[split, family]


def heading(pelvis: NDArray[np.float32]) -> NDArray[np.float32]:
    """The turn about y that best explains a rotation (4,); no turn where the body faces straight up or down."""
    front = rotations.to_matrices(pelvis)[:, 2]
    angle = np.arctan2(front[0], front[2]) if np.hypot(front[0], front[2]) > 0.3 else 0.0
    return rotations.about((0, 1, 0), angle)


def perturbed(quaternions: NDArray[np.float32], rng: np.random.Generator, degrees: float = 3) -> NDArray[np.float32]:
    """The pose with every joint turned a little; knees and elbows only bend, by their hinge."""
    axes = rng.normal(size=(len(SEGMENTS), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.radians(degrees) * rng.normal(size=len(SEGMENTS)).clip(-2, 2)
    hinges = {KNEES[0]: (1, 0, 0), KNEES[1]: (1, 0, 0), ELBOWS[0]: (0, -1, 0), ELBOWS[1]: (0, 1, 0)}
    for segment, hinge in hinges.items():
        axes[segment], angles[segment] = hinge, abs(angles[segment])
    angles[0] *= 0.5
    small = rotations.about(axes, angles)
    result = np.empty_like(quaternions)
    for segment, parent in enumerate(SEGMENT_PARENTS):
        if parent < 0:
            result[segment] = rotations.multiply(quaternions[segment], small[segment])
            continue
        local = rotations.multiply(rotations.conjugate(quaternions[parent]), quaternions[segment])
        result[segment] = rotations.multiply(result[parent], rotations.multiply(local, small[segment]))
    return rotations.normalised(result)


def sample_clip(
    motion: Motion, rng: np.random.Generator, frames: int, fps: float, split: Split = "train"
) -> list[Pose]:
    """Consecutive poses of one clip, from a random start; at its end it plays backwards.

    Args:
        motion: where from.
        rng: which clip, where it starts, and whether it is mirrored.
        frames: how many.
        fps: how many a second; between recorded frames rotations are interpolated.
        split: which part of the clips.
    """
    takes = motion.clips
    family, clips = _sample_family(takes, rng, split)
    rows = clips[int(rng.integers(len(clips)))]
    last = len(rows) - 1
    times = rng.uniform(0, last) + np.arange(frames) * motion.fps / fps
    times = last - np.abs(times % (2 * last) - last)
    turn = rotations.conjugate(heading(takes.quaternions[rows[int(times[0])], 0]))
    mirror = rng.random() < 0.5
    poses = [_between(takes, rows, float(time), turn, family) for time in times]
    poses = [replace(pose, travel=pose.travel - poses[0].travel) for pose in poses]
    return [pose.mirrored() for pose in poses] if mirror else poses


def _between(takes: Takes, rows: NDArray[np.int64], time: float, turn: NDArray[np.float32], family: str) -> Pose:
    first = min(int(time), len(rows) - 2)
    a, b, t = rows[first], rows[first + 1], time - first
    root = (takes.roots[a] * (1 - t) + takes.roots[b] * t) if np.isfinite(takes.roots[rows]).all() else np.zeros(3)
    travel = (rotations.to_matrices(turn) @ root)[[0, 2]]
    return Pose(
        quaternions=rotations.multiply(turn, rotations.slerp(takes.quaternions[a], takes.quaternions[b], t)),
        lift=float(takes.lifts[a] * (1 - t) + takes.lifts[b] * t),
        family=family,
        travel=travel.astype(np.float32),
    )
