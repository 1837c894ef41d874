"""Keypoint sets: names, limbs, flip pairs, OKS sigmas."""

from __future__ import annotations

import msgspec


class Skeleton(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A keypoint set.

    Attributes:
        name: as in `SKELETONS`.
        names: the K keypoints, `left_`/`right_` from the person's view.
        limbs: pairs of 0-based keypoint indices, for drawing.
        flip_pairs: pairs that change places when the image is mirrored.
        sigmas: the K constants of OKS (COCO's sigma_i; k_i = 2 sigma_i).
    """

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
