"""Keypoint sets: names, limbs, flip pairs, OKS sigmas; and conversion between them.

`left_` and `right_` are the person's own. OKS sigmas are COCO's (Lin et al. 2014) for the joints that COCO has; sets
that publish their own carry those (CrowdPose; MPII and JHMDB as MMPose evaluates them; feet as in COCO-WholeBody).
Points that no data set gives a sigma (necks, head tops, the middle of the hips) take CrowdPose's 0.079 for the head
and COCO's shoulder and hip constants.
"""

from __future__ import annotations

import difflib

import msgspec
import numpy as np

from pose_runtime.arrays import FloatArray
from pose_runtime.errors import PoseError


class Skeleton(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A keypoint set.

    Attributes:
        name: as in `SKELETONS`.
        names: the K keypoints.
        limbs: pairs of 0-based keypoint indices, for drawing.
        flip_pairs: pairs that change places when the image is mirrored.
        sigmas: the K constants of OKS (COCO's sigma_i; k_i = 2 sigma_i).
    """

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    @property
    def flip_index(self) -> tuple[int, ...]:
        """For every keypoint, the index of its mirror image."""
        index = list(range(len(self.names)))
        for a, b in self.flip_pairs:
            index[a], index[b] = b, a
        return tuple(index)


_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "neck": 0.079,
    "head_top": 0.079,
}


def _make(name: str, names: str, limbs: str, sigmas: str = "") -> Skeleton:
    """Skeleton from short forms: `l_`/`r_` prefixes, limbs as `0-1 1-2`; flip pairs follow from the names."""
    full = tuple(n.replace("l_", "left_", 1) if n.startswith("l_") else n for n in names.split())
    full = tuple(n.replace("r_", "right_", 1) if n.startswith("r_") else n for n in full)
    pairs = [(i, full.index("right_" + n[5:])) for i, n in enumerate(full) if n.startswith("left_")]
    if sigmas:
        constants = [float(s) for s in sigmas.split()]
    else:
        constants = [_SIGMAS[n.removeprefix("left_").removeprefix("right_")] for n in full]
    limb_pairs = [tuple(map(int, pair.split("-"))) for pair in limbs.split()]
    return Skeleton(
        name=name,
        names=full,
        limbs=tuple((a, b) for a, b in limb_pairs),
        flip_pairs=tuple(sorted((min(p), max(p)) for p in pairs)),
        sigmas=tuple(constants),
    )


BOX2 = _make("box2", "top_left bottom_right", "0-1", "0.1 0.1")
"""What a person detector finds: two corners of a box. A corner off by a tenth of a square's side has an OKS of 0.88."""

_COCO17 = (
    "nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee "
    "l_ankle r_ankle"
)
_COCO_LIMBS = "15-13 13-11 16-14 14-12 11-12 5-11 6-12 5-6 5-7 6-8 7-9 8-10 1-2 0-1 0-2 1-3 2-4 3-5 4-6"
_RIGHT_THEN_LEFT = "r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee l_ankle"

_ALL = (
    _make("coco17", _COCO17, _COCO_LIMBS),
    _make(
        "openpose18",
        f"nose neck {_RIGHT_THEN_LEFT} r_eye l_eye r_ear l_ear",
        "1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17",
    ),
    _make(
        "body25",
        "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist mid_hip r_hip r_knee r_ankle l_hip l_knee "
        "l_ankle r_eye l_eye r_ear l_ear l_big_toe l_small_toe l_heel r_big_toe r_small_toe r_heel",
        "1-8 1-2 1-5 2-3 3-4 5-6 6-7 8-9 9-10 10-11 8-12 12-13 13-14 1-0 0-15 15-17 0-16 16-18 14-19 19-20 14-21 "
        "11-22 22-23 11-24",
        ".026 .079 .079 .072 .062 .079 .072 .062 .107 .107 .087 .089 .107 .087 .089 .025 .025 .035 .035 .068 .066 "
        ".066 .092 .094 .094",
    ),
    _make(
        "trt_pose18",
        f"{_COCO17} neck",
        "15-13 13-11 16-14 14-12 11-12 5-7 6-8 7-9 8-10 1-2 0-1 0-2 1-3 2-4 3-5 4-6 17-0 17-5 17-6 17-11 17-12",
    ),
    _make(
        "mpii16",
        "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax upper_neck head_top r_wrist r_elbow r_shoulder "
        "l_shoulder l_elbow l_wrist",
        "0-1 1-2 2-6 6-3 3-4 4-5 6-7 7-8 8-9 8-12 12-11 11-10 8-13 13-14 14-15",
        ".089 .083 .107 .107 .083 .089 .026 .026 .026 .026 .062 .072 .179 .179 .072 .062",
    ),
    _make(
        "lsp14",
        "r_ankle r_knee r_hip l_hip l_knee l_ankle r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist neck head_top",
        "0-1 1-2 2-3 3-4 4-5 6-7 7-8 8-12 9-12 9-10 10-11 12-13 2-8 3-9",
    ),
    _make(
        "flic11",
        "l_shoulder l_elbow l_wrist r_shoulder r_elbow r_wrist l_hip r_hip l_eye r_eye nose",
        "0-1 1-2 3-4 4-5 0-3 0-6 3-7 6-7 8-10 9-10 0-10 3-10",
    ),
    _make(
        "flic9",
        "l_shoulder l_elbow l_wrist r_shoulder r_elbow r_wrist l_hip r_hip head",
        "0-1 1-2 3-4 4-5 0-3 0-6 3-7 6-7 0-8 3-8",
        ".079 .072 .062 .079 .072 .062 .107 .107 .079",
    ),
    _make(
        "jhmdb15",
        "neck belly head r_shoulder l_shoulder r_hip l_hip r_elbow l_elbow r_knee l_knee r_wrist l_wrist r_ankle "
        "l_ankle",
        "0-2 0-1 0-3 0-4 1-5 1-6 3-7 4-8 7-11 8-12 5-9 6-10 9-13 10-14",
        ".025 .107 .025 .079 .079 .107 .107 .072 .072 .087 .087 .062 .062 .089 .089",
    ),
    _make(
        "crowdpose14",
        "l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee l_ankle r_ankle head_top neck",
        "10-8 8-6 11-9 9-7 6-7 0-6 1-7 0-1 0-2 1-3 2-4 3-5 12-13 1-13 0-13",
    ),
    _make(
        "ai_challenger14",
        f"head_top neck {_RIGHT_THEN_LEFT}",
        "0-1 1-2 2-3 3-4 1-5 5-6 6-7 2-8 5-11 8-11 8-9 9-10 11-12 12-13",
    ),
    _make(
        "openpose_mpi15",
        "head_top neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee "
        "l_ankle chest",
        "0-1 1-2 2-3 3-4 1-5 5-6 6-7 1-14 14-8 8-9 9-10 14-11 11-12 12-13",
        ".079 .079 .079 .072 .062 .079 .072 .062 .107 .087 .089 .107 .087 .089 .107",
    ),
    BOX2,
)

SKELETONS: dict[str, Skeleton] = {skeleton.name: skeleton for skeleton in _ALL}
"""Every shipped keypoint set by name."""

# A point that one set lacks and two of its points define, if both are there.
_MIDDLE_OF = {
    "neck": ("left_shoulder", "right_shoulder"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
    "pelvis": ("left_hip", "right_hip"),
}


def skeleton(name: str) -> Skeleton:
    """The shipped keypoint set of that name.

    Raises:
        PoseError: unknown name; the message lists the known ones.
    """
    if name not in SKELETONS:
        close = difflib.get_close_matches(name, SKELETONS, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PoseError(f"skeleton: got {name!r}; {hint}known: {', '.join(SKELETONS)}")
    return SKELETONS[name]


def convert(keypoints: FloatArray, source: Skeleton, target: Skeleton) -> FloatArray:
    """Keypoints of one set as those of another.

    Joints of the same name are taken over. `neck` and `thorax` are the middle of the shoulders, `mid_hip` and
    `pelvis` of the hips, where the source lacks them and both are there, with the lower of both scores. All else is
    missing. Necks are not quite the same place in all sets: LSP's and MPII's upper neck sit above the shoulders.

    Args:
        keypoints: float32 (..., K_source, 3): x, y, score; score 0 is missing.
        source: their set.
        target: the wanted set.

    Returns:
        float32 (..., K_target, 3), NaN, NaN, 0 where missing.

    Raises:
        PoseError: the sets share no joint, or the array does not fit the source.
    """
    if keypoints.ndim < 2 or keypoints.shape[-2:] != (len(source.names), 3):
        wanted = f"(..., {len(source.names)}, 3) of {source.name}"
        raise PoseError(f"keypoints: got shape {keypoints.shape}, wanted {wanted}")
    out = np.full((*keypoints.shape[:-2], len(target.names), 3), (np.nan, np.nan, 0), np.float32)
    index = {name: i for i, name in enumerate(source.names)}
    shared = 0
    for i, name in enumerate(target.names):
        if name in index:
            out[..., i, :] = keypoints[..., index[name], :]
            shared += 1
        elif all(n in index for n in _MIDDLE_OF.get(name, (name,))):
            a, b = (keypoints[..., index[n], :] for n in _MIDDLE_OF[name])
            both = (a[..., 2] > 0) & (b[..., 2] > 0)
            middle = np.concatenate([(a[..., :2] + b[..., :2]) / 2, np.minimum(a, b)[..., 2:]], -1)
            out[..., i, :] = np.where(both[..., None], middle, out[..., i, :])
    if not shared:
        raise PoseError(f"skeletons {source.name} and {target.name} share no joint")
    out[~(out[..., 2] > 0)] = (np.nan, np.nan, 0)
    return out
