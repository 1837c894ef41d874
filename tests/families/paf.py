"""Goldens of part-affinity-field decoding: `paf/decode/{lw,hz,pp,trt}_*.npz`.

Discrete results (where peaks are, which connect, who is who) differ by 0 or infinity.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from goldens import Case, Family
from pose_runtime.decode import PafParts, paf_parts, paf_sample

Golden = Mapping[str, Any]
Compare = Callable[[Golden], Iterator[tuple[str, float, float]]]  # what, difference, tolerance

VALUE = 2e-6  # of maps and scores of peaks
SCORE = 1e-4  # of people: sums of some forty scores
UNBOUNDED = {"max_peaks": 512, "max_people": 4096}  # the most there is: these authors keep everything


def gap(got: Any, want: Any) -> float:
    """Largest difference; infinite where shapes differ or one side only is NaN."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    if got.shape != want.shape:
        return 0.0 if got.size == want.size == 0 else np.inf
    difference = np.where(np.isnan(got) & np.isnan(want), 0, np.abs(got - want))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0))


def same(got: Any, want: Any) -> float:
    """0 where equal, else infinity."""
    return 0.0 if gap(got, want) == 0 else np.inf


def of(files: Golden, name: str) -> Any:
    """The maps of a golden: quantised to 1/127, or float16."""
    array = files[name]
    return array.astype(np.float32) / np.float32(127) if array.dtype == np.int8 else array.astype(np.float32)


def lightweight(files: Golden) -> Iterator[tuple[str, float, float]]:
    """lw_demo (enlarged by upsample_ratio) and lw_val (decoded at the image's size)."""
    heat, fields = of(files, "heat_q"), of(files, "paf_q")
    geometry: dict[str, Any] = {}
    step = 16
    if "upsample_ratio" in files:
        geometry["upsample"] = int(files["upsample_ratio"])
    else:
        step = 32
        geometry["upsample"] = int(files["stride"])
        geometry["crop"] = tuple(int(n) for n in files["pad"])
        geometry["size_wh"] = tuple(int(n) for n in files["image_hw"][::-1])
    found = paf_parts(heat, fields, profile="lightweight", **geometry, **UNBOUNDED)
    for name, maps in (("heat_up_probe", heat), ("paf_up_probe", fields)):
        if name in files:
            probe = paf_sample(maps, profile="lightweight", step=step, **geometry)
            yield name, gap(probe.transpose(1, 2, 0), files[name]), VALUE
    want = files["keypoints"].reshape(-1, 4)
    yield "keypoint_counts", same(found.counts, files["keypoint_counts"]), 0
    yield "keypoints", same(found.peaks[:, :2], want[:, :2]), 0
    yield "peak scores", gap(found.peaks[:, 2], want[:, 2]), VALUE
    yield "ids", same(np.arange(len(found.peaks)), want[:, 3]), 0
    yield from people(found, files["pose_entries"])
    if "poses_image_xy" in files:
        ratio = float(files["stride"]) / float(files["upsample_ratio"])
        pad = np.array([files["pad"][1], files["pad"][0]])
        image = (found.keypoints[..., :2].astype(float) * ratio - pad) / float(files["scale"])
        truncated = np.where(np.isnan(image), -1, np.trunc(image))
        yield "poses_image_xy", same(truncated, files["poses_image_xy"]), 0
    if "coco_keypoints" in files:
        yield "coco_keypoints", same(coco17(found), files["coco_keypoints"]), 0
        yield "coco_scores", gap(found.scores, files["coco_scores"]), SCORE * 17


def coco17(found: PafParts) -> Any:
    """COCO's 17 keypoints as the authors write them: + 0.5, visibility 1, missing 0."""
    order = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    points = found.keypoints[:, order].astype(float)
    points[..., :2] += 0.5
    points[..., 2] = 1
    points[np.isnan(points[..., 0])] = 0
    return points.reshape(len(points), 3 * len(order))


def people(found: PafParts, want: Any) -> Iterator[tuple[str, float, float]]:
    """Rows of ids, sum of scores, parts."""
    want = want.reshape(-1, found.ids.shape[1] + 2)
    yield "people", same(found.ids, want[:, :-2]), 0
    yield "people's parts", same(found.sizes, want[:, -1]), 0
    yield "people's scores", gap(found.sums, want[:, -2]), SCORE


def openpose(files: Golden) -> Iterator[tuple[str, float, float]]:
    """The classic Python rules at the image's size."""
    heat, fields = of(files, "heat_q"), of(files, "paf_q")
    scaled_h, scaled_w = (int(n) for n in files["scaled_hw"])
    crop = (0, 0, heat.shape[1] * 8 - scaled_h, heat.shape[2] * 8 - scaled_w)
    size_wh = (int(files["image_hw"][1]), int(files["image_hw"][0]))
    found = paf_parts(heat, fields, profile="openpose", crop=crop, size_wh=size_wh, **UNBOUNDED)
    want = files["candidate"].reshape(-1, 4)
    yield "candidate x, y", same(found.peaks[:, :2], want[:, :2]), 0
    yield "candidate score", gap(found.peaks[:, 2], want[:, 2]), VALUE
    yield "candidate id", same(np.arange(len(found.peaks)), want[:, 3]), 0
    yield from people(found, files["subset"])


def tf_pose(files: Golden) -> Iterator[tuple[str, float, float]]:
    """tf-pose: smoothed maps, peaks, people."""
    heat, fields = of(files, "heat_q"), of(files, "paf_q")
    ratio = int(files["upsample_ratio"])
    found = paf_parts(heat, fields, profile="tf_pose", upsample=ratio, **UNBOUNDED)
    if "smooth_probe" in files:
        probe = paf_sample(heat, profile="tf_pose", upsample=ratio, step=16, searched=True)
        yield "smooth_probe", gap(probe.transpose(1, 2, 0), files["smooth_probe"]), VALUE
    parts = np.repeat(np.arange(len(found.counts)), found.counts)
    yield "peaks_part_y_x", same(np.c_[parts, found.cells[:, ::-1]], files["peaks_part_y_x"]), 0
    values = np.c_[found.searched, found.peaks[:, 2]]
    yield "peaks_smoothed_and_heat", gap(values, files["peaks_smoothed_and_heat"]), VALUE
    yield "human_part_ids", same(found.ids, files["human_part_ids"]), 0
    yield "human_scores", gap(found.scores, files["human_scores"]), 1e-5
    xy = files["human_xy"].astype(float)
    missing = found.ids < 0
    if xy.shape[:2] == missing.shape:
        yield "human_xy", same(found.keypoints[..., :2][~missing], xy[~missing]), 0
    yield "human_part_scores", gap(found.keypoints[..., 2], files["human_part_scores"]), VALUE


def trt_pose(files: Golden) -> Iterator[tuple[str, float, float]]:
    """All stages of trt_pose."""
    heat, fields = of(files, "cmap_f16"), of(files, "paf_f16")
    options = json.loads(str(files["options"]))
    found = paf_parts(
        heat, fields, profile="trt_pose", peak_threshold=options["cmap_threshold"],
        limb_threshold=options["link_threshold"], window=options["cmap_window"],
        samples=options["line_integral_samples"], max_peaks=options["max_num_parts"],
        max_people=options["max_num_objects"],
    )  # fmt: skip
    yield "peak_counts", same(found.counts, files["peak_counts"]), 0
    offsets = np.r_[0, found.counts.cumsum()]
    size = np.array(heat.shape[1:], np.float32)
    for part, count in enumerate(files["peak_counts"]):
        mine = slice(offsets[part], offsets[part + 1])
        yield f"peaks_ij {part}", same(found.cells[mine, ::-1], files["peaks_ij"][part, :count]), 0
        refined = found.peaks[mine, 1::-1] / size
        yield f"refined_ij {part}", gap(refined, files["refined_ij"][part, :count]), 1e-6
    for limb, graph in enumerate(found.graph):
        na, nb = graph.shape
        yield f"score_graph {limb}", gap(graph, files["score_graph"][limb, :na, :nb]), VALUE
        want = files["connections"][limb]
        got = np.full_like(want, -1)
        for a, b in found.connections[limb]:
            got[0, a], got[1, b] = b, a
        yield f"connections {limb}", same(got, want), 0
    objects = np.where(found.ids < 0, -1, found.ids - offsets[:-1])
    yield "object_count", same(len(objects), files["object_count"]), 0
    yield "objects", same(objects, files["objects"][: int(files["object_count"])]), 0


def family(pattern: str, compare: Compare) -> Family:
    """A family of all files of a pattern: one case per file, its worst comparison."""

    def run(folder: Path) -> Iterator[Case]:
        for path in sorted((folder / "paf" / "decode").glob(pattern)):
            with np.load(path) as files:
                results = list(compare({name: files[name] for name in files.files}))
            what, difference, tolerance = max(results, key=lambda r: (not r[1] <= r[2], r[1]))
            yield Case(f"{path.stem}: {what}", difference, tolerance)

    return run


FAMILIES: dict[str, Family] = {
    "paf/lightweight": family("lw_*.npz", lightweight),
    "paf/openpose": family("hz_*.npz", openpose),
    "paf/tf_pose": family("pp_*.npz", tf_pose),
    "paf/trt_pose": family("trt_*.npz", trt_pose),
}
