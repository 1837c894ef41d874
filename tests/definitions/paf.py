"""What part-affinity-field decoding means, stage by stage, in plain Python on whole decoded maps.

`decoded` makes the maps with OpenCV and SciPy as the authors do; the stages work on any maps, so that each is compared
on the same input as the native one.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

F = np.float32


def decoded(maps: Any, profile: str, upsample: int, crop: Any = (0, 0, 0, 0), size_wh: Any = None) -> Any:
    """Enlarged, cropped, resized maps float32 (C, H, W) of maps (C, h, w)."""
    result = []
    for plane in maps:
        if profile == "tf_pose":
            large = plane.repeat(upsample, 0).repeat(upsample, 1)
        else:
            large = cv2.resize(plane, None, fx=upsample, fy=upsample, interpolation=cv2.INTER_CUBIC)
        top, left, bottom, right = crop
        large = large[top : large.shape[0] - bottom, left : large.shape[1] - right]
        if size_wh is not None:
            large = cv2.resize(large, size_wh, interpolation=cv2.INTER_CUBIC)
        result.append(large)
    return np.array(result)


def smoothed(maps: Any, profile: str) -> Any:
    """What peaks are searched in."""
    if profile == "openpose":
        return np.array([gaussian_filter(m.astype(float), 3) for m in maps])
    if profile == "tf_pose":
        kernel = np.sqrt(np.diff(norm.cdf(np.linspace(-3.14, 3.14, 26))))
        kernel /= kernel.sum()
        border = cv2.BORDER_CONSTANT
        return np.array([cv2.sepFilter2D(m.astype(float), -1, kernel, kernel, borderType=border) for m in maps])
    return maps


def enlarged_peaks(searched: Any, values: Any, profile: str, o: dict[str, Any]) -> list[tuple[int, int, float]]:
    """Peaks (x, y, score) of one part, in order."""
    height, width = searched.shape
    padded = np.zeros((height + 2, width + 2), F)
    padded[1:-1, 1:-1] = searched
    found = []
    for y in range(height):
        for x in range(width):
            v = searched[y, x]
            around = padded[y : y + 3, x : x + 3]
            cross = (around[0, 1], around[2, 1], around[1, 0], around[1, 2])
            if profile == "lightweight":
                is_peak = v >= F(o["peak_threshold"]) and all(v > n for n in cross)
            elif profile == "openpose":
                is_peak = v > F(o["peak_threshold"]) and all(v >= n for n in cross)
            else:
                is_peak = v > F(o["peak_threshold"]) and v == around.max()
            if is_peak:
                found.append((x, y, v))
    best = sorted(found, key=lambda f: (-f[2], f[1], f[0]))[: o["max_peaks"]]
    if profile != "lightweight":
        return [(x, y, values[y, x]) for x, y, _ in sorted(best, key=lambda f: (f[1], f[0]))]
    kept: list[tuple[int, int, float]] = []
    for x, y, v in sorted(best):
        if all(np.hypot(x - i, y - j) >= o["min_distance"] for i, j, _ in kept):
            kept.append((x, y, v))
    return kept


def pair_score(a: Any, b: Any, field: Any, profile: str, o: dict[str, Any]) -> float:
    """Score of one pair of peaks; 0: no limb. field: decoded x and y of the field (2, H, W)."""
    n, (_, height, width) = o["samples"], field.shape
    along = np.array(b[:2], F) - np.array(a[:2], F)
    length = np.sqrt(along[0] * along[0] + along[1] * along[1])
    if profile == "tf_pose" and length == 0:
        return 0.0
    length = length + F(1e-6) if profile == "lightweight" else max(length, F(1e-3)) if profile == "openpose" else length
    unit = along / length
    dots = []
    for t in range(n):
        if profile == "tf_pose":
            x, y = (int(float(F(p) + F(t) * (d / F(n))) + 0.5) for p, d in zip(a[:2], along, strict=True))
        else:
            x, y = (int(np.rint(F(t) * (F(1) / F(n - 1) * d) + F(p))) for p, d in zip(a[:2], along, strict=True))
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
        dots.append(field[0, y, x] * unit[0] + field[1, y, x] * unit[1])
    hits = [d for d in dots if d > F(o["limb_threshold"])]
    if len(hits) < o["min_hits"]:
        return 0.0
    if profile == "lightweight":
        score = float(sum(hits, F(0))) / (len(hits) + 1e-6)
    else:
        score = float(sum(dots, F(0)) / F(n) + min(F(0), F(0.5) * F(height) / length - F(1)))
    return score if np.isfinite(score) else 0.0


def greedy(a: Any, b: Any, field: Any, profile: str, o: dict[str, Any]) -> list[tuple[int, int, float]]:
    """Connections (index of a, index of b, score), the best first."""
    pairs = []
    for i, peak_a in enumerate(a):
        for j, peak_b in enumerate(b):
            score = pair_score(peak_a, peak_b, field, profile, o)
            if score > 0:
                pairs.append((F(score), i, j))
    taken: list[tuple[int, int, float]] = []
    for score, i, j in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if all(i != c[0] and j != c[1] for c in taken):
            taken.append((i, j, score))
    return taken


def join(person: dict[str, Any], part: int, peak: int, score: float) -> None:
    """A connection's far end goes to a person."""
    person["ids"][part] = peak
    person["sum"] += score
    person["count"] += 1


def assemble(profile: str, limbs: Any, matching_only: Any, parts: int, connections: Any, peaks: Any, o: Any) -> Any:
    """People as dicts: ids (K), sum, count. connections: per limb (id of a, id of b, score); peaks: all, by id."""
    people: list[dict[str, Any]] = []
    empty = 1 if profile == "tf_pose" else 0  # lowest id that counts as filled when two people are compared
    for index, ((a, b, _, _), links) in enumerate(zip(limbs, connections, strict=True)):
        for i, j, score in links:
            gain = float(peaks[j][2]) + float(score)
            if profile == "lightweight" and index in matching_only:
                for person in people:
                    ids = person["ids"]
                    if ids[a] == i and ids[b] == -1:
                        ids[b] = j
                    elif ids[b] == j and ids[a] == -1:
                        ids[a] = i
                continue
            if profile == "lightweight":
                found = [person for person in people if person["ids"][a] == i]
                for person in found:
                    join(person, b, j, gain)
            else:
                found = [person for person in people if person["ids"][a] == i or person["ids"][b] == j]
                if len(found) == 1 and found[0]["ids"][b] != j:
                    join(found[0], b, j, gain)
                elif len(found) > 1:
                    first, second = found[:2]
                    filled = [min(m, n) >= empty for m, n in zip(first["ids"], second["ids"], strict=True)]
                    if any(filled):
                        join(first, b, j, gain)
                    else:
                        first["ids"] = [m + n + 1 for m, n in zip(first["ids"], second["ids"], strict=True)]
                        first["sum"] += second["sum"] + float(score)
                        first["count"] += second["count"]
                        people = [person for person in people if person is not second]
            if not found and index not in matching_only:
                ids = [-1] * parts
                ids[a], ids[b] = i, j
                people.append({"ids": ids, "sum": float(peaks[i][2]) + gain, "count": 2})
    return [p for p in people if p["count"] >= o["min_parts"] and p["sum"] / p["count"] >= F(o["min_score"])]


# ---- trt_pose ------------------------------------------------------------------------------------------------


def windowed_peaks(heat: Any, o: dict[str, Any]) -> tuple[list[tuple[int, int]], list[tuple[float, float, float]]]:
    """Pixels (x, y) of the first max_peaks peaks and their refined (x, y, score)."""
    height, width = heat.shape
    half = o["window"] // 2
    cells: list[tuple[int, int]] = []
    for y in range(height):
        for x in range(width):
            v = heat[y, x]
            window = heat[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
            if np.isfinite(v) and v >= F(o["peak_threshold"]) and not (window > v).any():
                cells.append((x, y))
    cells = cells[: o["max_peaks"]]

    def mirrored(i: int, n: int) -> int:
        return min(max(-i if i < 0 else 2 * n - 2 - i if i >= n else i, 0), n - 1)

    points = []
    for x, y in cells:
        total = sum_x = sum_y = F(0)
        for i in range(y - half, y + half + 1):
            for j in range(x - half, x + half + 1):
                v = heat[mirrored(i, height), mirrored(j, width)]
                total, sum_x, sum_y = total + v, sum_x + v * F(j), sum_y + v * F(i)
        at_x = (sum_x / total + F(0.5)) / F(width) * F(width)
        at_y = (sum_y / total + F(0.5)) / F(height) * F(height)
        if not (np.isfinite(at_x) and np.isfinite(at_y)):
            at_x, at_y = F(x + 0.5), F(y + 0.5)
        points.append((at_x, at_y, heat[y, x]))
    return cells, points


def line_mean(a: Any, b: Any, field: Any, samples: int) -> float:
    """Mean of the field's component along the line a-b; field: x and y (2, h, w)."""
    _, height, width = field.shape
    dx, dy = F(b[0] - a[0]), F(b[1] - a[1])
    length = np.sqrt(dy * dy + dx * dx) + F(1e-5)
    total = F(0)
    for t in range(samples):
        progress = F(t) / F(samples - 1)
        x, y = a[0] + progress * dx, a[1] + progress * dy
        if -1 < x < width and -1 < y < height:
            total += dy / length * field[1, int(y), int(x)] + dx / length * field[0, int(y), int(x)]
    mean = total / F(samples)
    return mean if np.isfinite(mean) else F(0)


def optimal(graph: Any, threshold: float) -> list[tuple[int, int]]:
    """The assignment with the largest sum over the whole block, without its weak pairs."""
    rows, columns = linear_sum_assignment(-np.asarray(graph, float))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if graph[i, j] > F(threshold)]


def components(counts: Any, limbs: Any, connections: Any, max_people: int) -> list[list[int]]:
    """Index of the peak of each part, or -1, of each connected component, breadth first."""
    seen: set[tuple[int, int]] = set()
    objects: list[list[int]] = []
    for start in ((part, index) for part, count in enumerate(counts) for index in range(count)):
        if start in seen or len(objects) == max_people:
            continue
        found = [-1] * len(counts)
        queue = deque([start])
        while queue:
            part, index = queue.popleft()
            if (part, index) in seen:
                continue
            seen.add((part, index))
            found[part] = index
            for (a, b, _, _), pairs in zip(limbs, connections, strict=True):
                queue.extend((b, j) for i, j in pairs if a == part and i == index)
                queue.extend((a, i) for i, j in pairs if b == part and j == index)
        objects.append(found)
    return objects
