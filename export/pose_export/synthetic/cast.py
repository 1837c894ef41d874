"""Who is on stage: dressed characters, kept for a while since making one takes longer than drawing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.motion import Pose
from pose_export.synthetic.rig import bone_transforms
from pose_export.synthetic.surface import Character

Random = np.random.Generator


@dataclass(frozen=True)
class Actor:
    """A character in a pose; transforms float32 (B, 3, 4) stand over x = z = 0 on the floor and face +z."""

    character: Character
    pose: Pose
    transforms: NDArray[np.float32]


@dataclass(frozen=True)
class Cast:
    """Characters for a run of scenes, and where their poses come from."""

    characters: tuple[Character, ...]
    sample_pose: Callable[[Random], Pose]

    def actor(self, rng: Random) -> Actor:
        """Somebody of the cast in a random pose."""
        character = self.characters[int(rng.integers(len(self.characters)))]
        pose = self.sample_pose(rng)
        return Actor(character, pose, bone_transforms(character, pose.quaternions, pose.lift))
