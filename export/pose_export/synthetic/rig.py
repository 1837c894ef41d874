"""Bones: which segment of a pose turns which bone, and where a posed character's points are.

The default rig of MakeHuman has 163 bones, but a pose has 19 segments: fingers follow the hand, toes the foot, and the
face the head. Bones that move alike are one bone here, 23 in all. (A bone that copies its parent's rotation has its
parent's transform, wherever its own head is.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic import rotations
from pose_export.synthetic.surface import Character, Points

SEGMENTS = (
    "pelvis", "abdomen", "chest", "neck", "head",
    "l_collar", "l_upperarm", "l_forearm", "l_hand",
    "r_collar", "r_upperarm", "r_forearm", "r_hand",
    "l_thigh", "l_shin", "l_foot", "r_thigh", "r_shin", "r_foot",
)  # fmt: skip
"""What a pose turns, in the order of its quaternions."""

SEGMENT_PARENTS = (-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 0, 16, 17)


@dataclass(frozen=True)
class Bone:
    """One moving part of the rig.

    Attributes:
        name: of the first bone of the rig that moves so.
        parent: name of the part it hangs on, or None.
        segments: one segment, or two whose rotations are averaged.
        towards: the bone whose head gives this one its direction at rest, or None where it has none.
        axis: that direction in the T-pose.
    """

    name: str
    parent: str | None
    segments: tuple[str, ...]
    towards: str | None = None
    axis: tuple[float, float, float] = (0, 0, 0)


def _limbs(side: str, out: float) -> list[Bone]:
    low, up = side.lower(), side.upper()
    arm, leg = (out, 0.0, 0.0), (0.0, -1.0, 0.0)
    return [
        Bone(f"clavicle.{up}", "spine01", (f"{low}_collar",)),
        Bone(f"upperarm01.{up}", f"clavicle.{up}", (f"{low}_upperarm",), f"lowerarm01.{up}", arm),
        Bone(f"lowerarm01.{up}", f"upperarm01.{up}", (f"{low}_forearm",), f"wrist.{up}", arm),
        Bone(f"wrist.{up}", f"lowerarm01.{up}", (f"{low}_hand",), f"finger3-1.{up}", arm),
        Bone(f"upperleg01.{up}", "root", (f"{low}_thigh",), f"lowerleg01.{up}", leg),
        Bone(f"lowerleg01.{up}", f"upperleg01.{up}", (f"{low}_shin",), f"foot.{up}", leg),
        Bone(f"foot.{up}", f"lowerleg01.{up}", (f"{low}_foot",)),
    ]


BONES = (
    Bone("root", None, ("pelvis",)),
    Bone("spine04", "root", ("pelvis", "abdomen")),
    Bone("spine03", "spine04", ("abdomen",)),
    Bone("spine02", "spine03", ("abdomen", "chest")),
    Bone("spine01", "spine02", ("chest",)),
    Bone("neck01", "spine01", ("chest", "neck")),
    Bone("neck02", "neck01", ("neck",)),
    Bone("neck03", "neck02", ("neck", "head")),
    Bone("head", "neck03", ("head",)),
    *_limbs("l", 1.0),
    *_limbs("r", -1.0),
)
"""The moving parts, parents before children."""

FOLLOWERS = {"breast.L": "spine01", "breast.R": "spine01"}
"""Bones that move with another than their parent in the rig: the breasts turn with the chest, about the same joint."""

BONE_NAMES = tuple(bone.name for bone in BONES)
BONE_PARENTS = np.array([-1 if bone.parent is None else BONE_NAMES.index(bone.parent) for bone in BONES])
BONE_SEGMENTS = tuple(tuple(SEGMENTS.index(name) for name in bone.segments) for bone in BONES)


def alignments(joints: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The rotations (B, 3, 3) that take each bone from rest to the T-pose, given the heads of the rig's bones."""
    result = np.tile(np.eye(3, dtype=np.float32), (len(BONES), 1, 1))
    for i, bone in enumerate(BONES):
        if bone.towards:
            direction = joints[bone.towards] - joints[bone.name]
            result[i] = rotations.between(direction, np.array(bone.axis))
    return result


def bone_transforms(character: Character, quaternions: NDArray[np.float32], lift: float = 0.0) -> NDArray[np.float32]:
    """Where a pose puts the bones: float32 (B, 3, 4), each [R | t] takes a point from rest to the pose.

    The pelvis stands over x = z = 0. The lowest point of the body touches the floor, y = 0.

    Args:
        character: who is posed.
        quaternions: float32 (19, 4), w x y z, world rotations of the segments out of the T-pose.
        lift: metres between the floor and the lowest point: above 0 in a jump.
    """
    matrices = rotations.to_matrices(quaternions)
    result = np.zeros((len(character.parents), 3, 4), np.float32)
    for i, segments in enumerate(character.segments):
        if len(segments) == 1:
            turn = matrices[segments[0]]
        else:
            turn = rotations.to_matrices(rotations.mean(quaternions[segments[0]], quaternions[segments[1]])[None])[0]
        turn = turn @ character.aligned[i]
        parent, head = character.parents[i], character.heads[i]
        place = np.array([0, head[1], 0], np.float32)
        if parent >= 0:
            place = result[parent, :, :3] @ head + result[parent, :, 3]
        result[i, :, :3] = turn
        result[i, :, 3] = place - turn @ head
    result[:, 1, 3] += lift - skin(character.contacts, result)[:, 1].min()
    return result


def seat(character: Character, transforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lowest point of the pelvis, float32 (3,): where a seat has to be, if the pose is a sitting one."""
    own = character.contacts.bones[:, 0] == 0
    points = skin(character.contacts, transforms)[own]
    return np.asarray(points[points[:, 1].argmin()])


def skin(points: Points, transforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear blend skinning: where transforms (B, 3, 4) take the points, float32 (n, 3)."""
    blended = np.einsum("nk,nkij->nij", points.weights, transforms[points.bones])
    return np.asarray(np.einsum("nij,nj->ni", blended[:, :, :3], points.positions) + blended[:, :, 3])


def posed_keypoints(character: Character, transforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 17 keypoints, float32 (17, 3), metres; each rides rigidly on its bone."""
    return carried(character.keypoints, character.keypoint_bones, transforms)


def carried(
    points: NDArray[np.float32], bones: NDArray[np.int64], transforms: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Points (n, 3), each moved rigidly by its own bone, (n,)."""
    moves = transforms[bones]
    return np.asarray(np.einsum("nij,nj->ni", moves[:, :, :3], points) + moves[:, :, 3])
