"""Who of the found people is which annotated one: greedily by OKS, as COCO defines it against annotations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose_calibration.annotations import People
from pose_runtime.arrays import AnyArray, Float64Array
from pose_runtime.oks import greedy_pairs, present, similarities

MIN_OKS = 0.5
"""Of a pair: an annotated person without one is missed, a found one invented."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """One picture.

    Attributes:
        pairs: position of the annotated and of the found person, most similar first, of any OKS above 0; only people
            that count.
        oks: float64 (P,) of the pairs.
        invented: positions of found people that have no pair of OKS 0.5 and do not lie in a crowd or on somebody
            without annotated keypoints.
    """

    pairs: tuple[tuple[int, int], ...]
    oks: Float64Array
    invented: tuple[int, ...]


def match(people: People, keypoints: AnyArray, sigmas: tuple[float, ...]) -> Matches:
    """Match annotated people with found ones.

    keypoints: (M, K, 3) of the found, of the annotations' skeleton and with its sigmas.
    """
    oks = annotation_oks(people, keypoints, sigmas)
    excused = np.asarray((oks[~people.counts] >= MIN_OKS).any(axis=0))
    oks[~people.counts] = 0
    pairs = greedy_pairs(oks, np.finfo(np.float64).tiny)
    found = {j for i, j in pairs if oks[i, j] >= MIN_OKS}
    invented = tuple(j for j in range(len(keypoints)) if j not in found and not excused[j])
    return Matches(tuple(pairs), np.array([oks[pair] for pair in pairs], np.float64), invented)


def annotation_oks(people: People, keypoints: AnyArray, sigmas: tuple[float, ...]) -> Float64Array:
    """OKS of annotated people (N) with found ones (M), float64 (N, M), as pycocotools computes it.

    Only annotated keypoints count; one that was not found is 0. For somebody without annotated keypoints a found
    keypoint's distance is that to the box, extended by its width and height on every side, and those that are missing
    are passed over.
    """
    constants = np.array(sigmas, np.float64)
    area = people.areas[:, None]
    there, labelled = present(keypoints), people.keypoints[..., 2] > 0
    single = similarities(people.keypoints, keypoints, area, constants)
    oks = _mean(np.where(there, single, 0), labelled[:, None])
    for i in np.flatnonzero(~labelled.any(axis=1)):
        x, y, w, h = people.boxes[i]
        corners = np.array([[x - w, y - h], [x + 2 * w, y + 2 * h]])
        inside = np.clip(keypoints[..., :2].astype(np.float64), *corners)
        off = np.square(keypoints[..., :2] - inside).sum(axis=-1)
        with np.errstate(over="ignore"):  # a tiny area gives infinity, and that similarity 0
            near = np.exp(-off / (2 * (2 * constants) ** 2) / (area[i] + np.finfo(np.float64).eps))
        oks[i] = _mean(near, there)
    return oks


def _mean(values: Float64Array, where: AnyArray) -> Float64Array:
    """Over the last axis, where it counts; 0 where nothing does."""
    return np.asarray(np.where(where, values, 0).sum(axis=-1) / np.maximum(where.sum(axis=-1), 1))
