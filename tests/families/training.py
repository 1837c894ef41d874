"""Goldens of training's targets and losses, in the folder `losses`. Needs torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from goldens import Case, Family
from pose_export.training.losses.embedding import Variant, tag_loss
from pose_export.training.losses.heatmap import map_loss, over_stages, pixel_loss
from pose_export.training.losses.offset import offset_loss
from pose_export.training.losses.vector import coordinate_loss
from pose_export.training.targets.centre import centre_map, pooled_centre_map
from pose_export.training.targets.embedding import tag_places
from pose_export.training.targets.heatmap import (
    Peak,
    background,
    heatmaps,
    hourglass_peak,
    msra_peak,
    pytorch_pose_peak,
    unbiased_peak,
    usual_sigma,
)
from pose_export.training.targets.offset import disks_and_offsets
from pose_export.training.targets.paf import Divisor, line_integral, part_affinity_fields
from pose_export.training.targets.vector import normalise, stage_targets

TOLERANCE = 1e-6
Arrays = dict[str, Any]


def difference(found: Any, wanted: Any) -> float:
    """Largest difference, inf where shapes differ; relative to the wanted array's size where that is over 1."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1))


def reader(name: str, check: Callable[[Arrays], Iterator[Case]]) -> Family:
    """A family that runs `check` on the arrays of `losses/NAME.npz`."""

    def family(root: Path) -> Iterator[Case]:
        path = root / "losses" / f"{name}.npz"
        if path.exists():
            with np.load(path) as arrays:
                yield from check(dict(arrays))

    return family


def targets(arrays: Arrays) -> Iterator[Case]:
    for name in names(arrays, "(?:patch|psh).*(?=_hm)"):
        yield from patches(name, arrays[f"{name}_kp"], arrays[f"{name}_hm"], arrays.get(f"{name}_kpref"))
    for name in names(arrays, "labelmap_s[0-9]+_(?:Gaussian|Cauchy)"):
        _, sigma, shape = name.split("_")
        peak = pytorch_pose_peak(float(sigma[1:]), "cauchy" if shape == "Cauchy" else "gaussian")
        everything = np.ones(len(arrays["labelmap_pts"]))
        yield from single(name, arrays["labelmap_pts"], everything, arrays[name], arrays[f"{name}_vis"], peak)
    for name in names(arrays, "rounded_s[0-9]+"):
        peak, weights = msra_peak(float(name[9:])), arrays[f"{name}_w"]
        yield from single(name, arrays["td_kp"], arrays["td_vis"], arrays[name], weights, peak)
    for name in names(arrays, "unbiased_s[0-9]+"):
        peak, weights = unbiased_peak(float(name[10:])), arrays[f"{name}_w"]
        yield from single(
            name, arrays["td_kp"], weights, arrays[name], weights, peak
        )  # of the joints of the usual rule
    for name in names(arrays, "seed_2?sigma2_[0-9]+"):
        sigma = float(name.rsplit("_", 1)[1]) ** 0.5
        yield from whole(name, arrays["seed_people"], arrays[name], sigma if "_2sigma2" in name else usual_sigma(sigma))


def names(arrays: Arrays, pattern: str) -> list[str]:
    """What `pattern` finds at the start of the arrays' names, where nothing but `_hm` follows."""
    found = (re.fullmatch(f"({pattern})(?:_hm)?", key) for key in arrays)
    return [match[1] for match in found if match]


def patches(name: str, keypoints: Any, wanted: Any, wanted_places: Any | None) -> Iterator[Case]:
    """The hourglass and associative-embedding generator; where given, the places of the tags."""
    size_wh = wanted.shape[2], wanted.shape[1]
    # The hourglass code tells a missing joint by x = 0, associative embedding by v = 0.
    labelled = keypoints[..., 0 if name.startswith("psh") else 2] > 0
    maps, _ = heatmaps(keypoints[..., :2], labelled, size_wh, hourglass_peak(max(size_wh) / 64))
    yield Case(name, difference(maps, wanted), TOLERANCE)
    if wanted_places is not None:
        places = tag_places(keypoints[..., :2], labelled, size_wh, max_people=len(wanted_places))
        order = np.argsort(-places[..., 1:], axis=1, kind="stable")  # the authors pack the joints they have
        yield Case(f"{name} places", difference(np.take_along_axis(places, order, 1), wanted_places), 0)


def whole(name: str, keypoints: Any, wanted: Any, sigma: float) -> Iterator[Case]:
    """Peaks over the whole map, and the background that they leave."""
    size_wh = wanted.shape[2], wanted.shape[1]
    maps, _ = heatmaps(keypoints[..., :2], keypoints[..., 2] > 0, size_wh, unbiased_peak(sigma))
    yield Case(name, difference(maps, wanted), TOLERANCE)
    yield Case(f"{name} background", difference(background(maps), 1 - wanted.max(axis=0)[None]), TOLERANCE)


def single(name: str, xy: Any, labelled: Any, wanted: Any, weights: Any, peak: Peak) -> Iterator[Case]:
    """One person's maps, and which joints count."""
    maps, drawn = heatmaps(xy[None], labelled[None] > 0, (wanted.shape[2], wanted.shape[1]), peak)
    yield Case(name, difference(maps, wanted), TOLERANCE)
    yield Case(f"{name} weights", difference(drawn[0], weights), 0)


def paf_targets(arrays: Arrays) -> Iterator[Case]:
    people, pairs = arrays["people"], [(int(a), int(b)) for a, b in arrays["limbs"]]
    map_wh = (int(arrays["WH"][0]), int(arrays["WH"][1]))
    divisors: dict[str, Divisor] = {"nonzero": "present", "people": "people"}
    for key in [key for key in arrays if "_w" in key]:
        name, width = key.split("_w")
        found = part_affinity_fields(
            people[..., :2], people[..., 2] > 0, pairs, map_wh, half_width=float(width), divisor=divisors[name]
        )
        yield Case(key, difference(found, arrays[key]), TOLERANCE)


def cpm_paf_misc(arrays: Arrays) -> Iterator[Case]:
    side = len(arrays["center_row183"])
    centre = centre_map((side, side))
    yield Case("centre row", difference(centre[183], arrays["center_row183"]), TOLERANCE)
    yield Case("centre sum", difference(centre.sum(dtype=np.float64), arrays["center_sum"]), TOLERANCE)
    peak = np.unravel_index(centre.argmax(), centre.shape)
    yield Case("centre peak", difference(peak, arrays["center_argmax"]), 0)
    yield Case("pooled", difference(pooled_centre_map((side, side)), arrays["pooled"]), TOLERANCE)
    ends = arrays["cand"]
    yield Case("line integral", difference(line_integral(arrays["paf"], ends[:, 0], ends[:, 1]), arrays["score"]), 1e-6)


def grmi(arrays: Arrays) -> Iterator[Case]:
    """Targets, and both losses: of logits against the disks, of the noisy offsets against the exact ones."""
    map_wh = (int(arrays["WH"][0]), int(arrays["WH"][1]))
    keypoints = arrays["kp"]
    disks, offsets = disks_and_offsets(keypoints, np.ones(len(keypoints)), map_wh, radius=float(arrays["R"]))
    yield Case("disks", difference(disks, arrays["heat"]), 0)
    yield Case("offsets", difference(offsets, arrays["offset"]), TOLERANCE)
    there = torch.from_numpy(disks)[None]
    heat = map_loss(torch.from_numpy(arrays["logits"])[None], there, kind="logistic", reduce="sum")
    move = offset_loss(torch.from_numpy(arrays["offset_noisy"])[None], torch.from_numpy(offsets)[None], there)
    for name, loss in (("L_h", heat), ("L_o", move), ("L_total", 4 * heat + move)):
        yield Case(name, difference(loss[0], arrays[name]), TOLERANCE)


def deeppose(arrays: Arrays) -> Iterator[Case]:
    """Normalised joints and their loss; what each stage would have to say for the joint of the next estimate."""
    joints = arrays["y"][None]
    box = np.concatenate([arrays["c"], arrays["wh"]])[None]
    norm = normalise(joints, box, origin="centre")
    yield Case("norm", difference(norm[0], arrays["norm"]), TOLERANCE)
    loss = coordinate_loss(torch.from_numpy(arrays["psi0"])[None], torch.from_numpy(norm), torch.ones(1, len(norm[0])))
    yield Case("loss", difference(loss[0], arrays["loss0"]), TOLERANCE)
    stage, everyone = 1, np.ones(joints.shape[:2])
    while f"psi{stage}" in arrays:
        # An output is the target of the pose that it leads to.
        values, boxes = stage_targets(
            arrays[f"y{stage + 1}"][None], everyone, arrays[f"y{stage}"][None], torso=(9, 2),
            sigma=float(arrays["sigma"]),
        )  # fmt: skip
        yield Case(f"psi{stage}", difference(values[0], arrays[f"psi{stage}"]), TOLERANCE)
        if f"box{stage}_wh" in arrays:
            wanted = np.broadcast_to(arrays[f"box{stage}_wh"], boxes[0, :, 2:].shape)
            yield Case(f"box{stage}", difference(boxes[0, :, 2:], wanted), TOLERANCE)
        stage += 1


def ae_loss(arrays: Arrays) -> Iterator[Case]:
    variants: dict[str, Variant] = {"": "exp", "max_": "max", "mmpose_": "mmpose", "paper_": "paper"}
    for case in sorted(key.removesuffix("_tags") for key in arrays if key.endswith("_tags")):
        joints, height, width = arrays[f"{case}_shape_JHWPD"][:3]
        packed, single_map = arrays[f"{case}_kp_packed"], arrays[f"{case}_kp_perjoint"].copy()
        single_map[..., 0] += np.arange(joints) * height * width
        tags = torch.from_numpy(arrays[f"{case}_tags"]).requires_grad_()
        for layout, places in (("packed", packed), ("per joint", single_map)):
            for prefix, variant in variants.items():
                for key in [key for key in arrays if key.startswith(f"{case}_{prefix}pu")]:
                    sigma = float(key.split("_sigma")[1]) if "_sigma" in key else 1.0
                    loss = tag_loss(tags, torch.from_numpy(places), variant=variant, sigma=sigma)
                    found = loss.pull if "pull" in key else loss.push
                    yield Case(f"{key} {layout}", difference(found.detach(), arrays[key]), TOLERANCE)
            loss = tag_loss(tags, torch.from_numpy(places))
            (slope,) = torch.autograd.grad((loss.push + 2 * loss.pull).sum(), tags)
            yield Case(f"{case} gradient {layout}", difference(slope, arrays[f"{case}_grad_1push_2pull"]), TOLERANCE)


def heatmap_loss(arrays: Arrays) -> Iterator[Case]:
    found, wanted = torch.from_numpy(arrays["pred"]), torch.from_numpy(arrays["gt"])
    mask, weights = torch.from_numpy(arrays["mask"]), torch.from_numpy(arrays["weight"])[..., 0]
    stages = found.unbind(1)
    plain = [map_loss(stage, wanted) for stage in stages]
    masked = [map_loss(stage, wanted, mask=mask) for stage in stages]
    squared = [0.5 * map_loss(stage, wanted, weights=weights, square_weights=True).mean() for stage in stages]
    weighted = [map_loss(stage, wanted, weights=weights).mean() for stage in stages]
    summed = [map_loss(stage, wanted, reduce="sum") for stage in stages]
    results = {
        "per_sample_masked": torch.stack(masked, 1),
        "per_sample_plain": torch.stack(plain, 1),
        "psh_total": over_stages(plain, "mean").mean(),
        "joints_mse_weighted": torch.stack(squared),
        "joints_mse_weighted_total": over_stages(squared, "sum"),
        "joints_mse_unweighted": torch.stack([0.5 * loss.mean() for loss in plain]),
        "keypoint_mse_weighted": torch.stack(weighted),
        "frobenius": torch.stack(summed, 1),
        "frobenius_stage_sum": over_stages(summed, "sum"),
        "lua_mse_sum": over_stages([pixel_loss(stage, wanted, "l2").mean() for stage in stages], "sum"),
    }
    for name, value in results.items():
        yield Case(name, difference(value, arrays[name]), TOLERANCE)


FAMILIES: dict[str, Family] = {
    "losses/ae_loss": reader("ae_loss", ae_loss),
    "losses/heatmap_loss": reader("heatmap_loss", heatmap_loss),
    "losses/targets": reader("targets", targets),
    "losses/paf_targets": reader("paf_targets", paf_targets),
    "losses/cpm_paf_misc": reader("cpm_paf_misc", cpm_paf_misc),
    "losses/grmi training": reader("grmi", grmi),
    "losses/deeppose training": reader("deeppose", deeppose),
}
