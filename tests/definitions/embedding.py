"""Associative embedding in NumPy, pixel by pixel: what the native decoder must equal bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = Any
Solver = Callable[[Array], list[tuple[int, int]]]


def munkres(cost: Array) -> list[tuple[int, int]]:
    """Textbook Munkres on a square float64 matrix, free choices as in the package munkres 1.1.4."""
    c: Array = np.array(cost, dtype=np.float64)
    n = len(c)
    c -= c.min(axis=1, keepdims=True)
    star: Array = np.zeros((n, n), bool)
    prime: Array = np.zeros((n, n), bool)
    for i in range(n):
        for j in range(n):
            if c[i, j] == 0 and not star[i].any() and not star[:, j].any():
                star[i, j] = True
    while star.sum() < n:
        rows: Array = np.zeros(n, bool)
        columns: Array = star.any(axis=0)
        prime[:] = False
        row = column = 0
        while True:
            found = None
            for i in (*range(row, n), *range(row)):
                for j in (*range(column, n), *range(column)):
                    if c[i, j] == 0 and not rows[i] and not columns[j]:
                        found = i, j
                if found is not None:
                    break
            if found is None:
                smallest = c[np.ix_(~rows, ~columns)].min()
                c[rows] += smallest
                c[:, ~columns] -= smallest
                row = column = 0
                continue
            row, column = found
            prime[row, column] = True
            if not star[row].any():
                break
            column = int(np.argmax(star[row]))
            rows[row], columns[column] = True, False
        path = [(row, column)]
        while star[:, path[-1][1]].any():
            above = int(np.argmax(star[:, path[-1][1]]))
            path += [(above, path[-1][1]), (above, int(np.argmax(prime[above])))]
        for at in path:
            star[at] = not star[at]
    return [(i, int(np.argmax(star[i]))) for i in range(n)]


def peaks(heat: Array, window: int, threshold: float, count: int) -> list[tuple[int, int, Any]]:
    """x, y, score of the best finite peaks of one map, by score, then position."""
    width = heat.shape[1]
    half = window // 2
    known = np.where(np.isnan(heat), -np.inf, heat)
    padded = np.pad(known, half, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
    good = (known == windows.max(axis=(2, 3))) & (known.astype(np.float64) > threshold) & np.isfinite(heat)
    places = np.flatnonzero(good)
    places = places[np.argsort(-heat.ravel()[places], kind="stable")][:count]
    return [(int(i % width), int(i // width), heat.ravel()[i]) for i in places]


@dataclass
class Person:
    key: Any
    joints: dict[int, tuple[int, int, Any, Array]] = field(default_factory=dict)
    tags: list[Array] = field(default_factory=list)


def start(people: list[Person], joint: int, x: int, y: int, score: Any, tag: Array) -> None:
    for person in people:
        if person.key == tag[0]:
            break
    else:
        person = Person(tag[0])
        people.append(person)
    person.joints[joint] = (x, y, score, tag)
    person.tags = [tag]


def group(
    candidates: Sequence[list[tuple[int, int, Any, Array]]],
    order: Sequence[int],
    *,
    max_people: int,
    tag_threshold: float,
    use_detection_val: bool,
    ignore_too_much: bool,
    rms: bool,
    solver: Solver,
) -> list[Person]:
    people: list[Person] = []
    for joint in order:
        found = candidates[joint]
        if not found:
            continue
        if not people:
            for one in found:
                start(people, joint, *one)
            continue
        grouped = people[:max_people]
        if ignore_too_much and len(grouped) == max_people:
            continue
        tags = np.array([tag for *_, tag in found]).astype(np.float64)
        means = np.array([np.mean(person.tags, axis=0) for person in grouped])
        square = (tags[:, None] - means[None]) ** 2
        distance = np.sqrt(square.mean(axis=2) if rms else square.sum(axis=2))
        scores = np.array([score for _, _, score, _ in found], np.float64)
        cost = np.round(distance) * 100 - scores[:, None] if use_detection_val else distance
        n = max(cost.shape)
        square_cost = np.zeros((n, n))
        square_cost[: len(found)] = 1e10
        square_cost[: len(found), : len(grouped)] = cost
        for row, column in solver(square_cost):
            if row >= len(found):
                continue
            if column < len(grouped) and distance[row, column] < tag_threshold:
                grouped[column].joints[joint] = found[row]
                grouped[column].tags.append(found[row][3])
            else:
                start(people, joint, *found[row])
    return people


def quarter(heat: Array, x: int, y: int) -> tuple[float, float]:
    height, width = heat.shape
    right, left = heat[y, min(x + 1, width - 1)], heat[y, max(x - 1, 0)]
    below, above = heat[min(y + 1, height - 1), x], heat[max(y - 1, 0), x]
    return (0.25 if right > left else -0.25), (0.25 if below > above else -0.25)


def search(heat: Array, tags: Array, mean: Array) -> tuple[int, int] | None:
    """First pixel of the largest heat - round(tag distance), of those with finite values."""
    with np.errstate(invalid="ignore", over="ignore"):
        value = heat - np.round(np.sqrt(((tags - mean) ** 2).sum(axis=2)))
    good = np.isfinite(heat) & np.isfinite(value)
    if not good.any():
        return None
    at = int(np.argmax(np.where(good, value, -np.inf)))
    return at % heat.shape[1], at // heat.shape[1]


def embedding(
    heatmaps: Array,
    tags: Array,
    *,
    joint_order: Sequence[int],
    nms: int = 5,
    max_people: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
    use_detection_val: bool = True,
    ignore_too_much: bool = False,
    distance: str = "l2",
    adjust: bool = True,
    refine: bool = True,
    refined_score: str = "map",
    solver: Solver = munkres,
) -> tuple[Array, Array, Array]:
    """As pose_runtime.decode.embedding."""
    joints = len(heatmaps)
    tags = np.broadcast_to(tags, (joints, *tags.shape[1:]))
    candidates = [
        [
            (x, y, score, tags[k, y, x])
            for x, y, score in peaks(heatmaps[k], nms, threshold, max_people)
            if np.isfinite(tags[k, y, x]).all()
        ]
        for k in range(joints)
    ]
    people = group(
        candidates,
        joint_order,
        max_people=max_people,
        tag_threshold=tag_threshold,
        use_detection_val=use_detection_val,
        ignore_too_much=ignore_too_much,
        rms=distance == "rms",
        solver=solver,
    )
    keypoints = np.zeros((len(people), joints, 3), np.float32)
    keypoints[..., :2] = np.nan
    out_tags = np.zeros((len(people), joints, tags.shape[3]), np.float32)
    scores = np.zeros(len(people), np.float32)
    for i, person in enumerate(people):
        for k, (x, y, score, tag) in person.joints.items():
            dx, dy = quarter(heatmaps[k], x, y)
            keypoints[i, k] = (x + dx + 0.5, y + dy + 0.5, score) if adjust else (x, y, score)
            out_tags[i, k] = tag
        scores[i] = keypoints[i, :, 2].mean()
        if not refine:
            continue
        mean = np.mean([person.joints[k][3] for k in sorted(person.joints)], axis=0)
        for k in sorted(set(range(joints)) - set(person.joints)):
            place = search(heatmaps[k], tags[k], mean)
            if place is not None and heatmaps[k][place[1], place[0]] > 0:
                x, y = place
                dx, dy = quarter(heatmaps[k], x, y)
                score = heatmaps[k][y, x] if refined_score == "map" else 1
                keypoints[i, k] = x + 0.5 + dx, y + 0.5 + dy, score
    return keypoints, out_tags, scores


def resize(maps: Array, size_wh: tuple[int, int]) -> Array:
    """Bilinear in float64, half-pixel centres, edges repeated."""
    for axis, size in ((2, size_wh[0]), (1, size_wh[1])):
        length = maps.shape[axis]
        at = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
        first = np.minimum(at.astype(int), length - 1)
        second = np.minimum(first + 1, length - 1)
        weight = (at - first).reshape([-1 if a == axis else 1 for a in range(3)])
        maps = np.take(maps, first, axis) * (1 - weight) + np.take(maps, second, axis) * weight
    return maps
