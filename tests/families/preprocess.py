"""Goldens of sizes, affine maps and warped images: `hrnet/preprocess.json`, `hrnet/resize_align.npz`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case
from pose_runtime.frame import Frame
from pose_runtime.geometry import Crop, ShortSide, crop_frame, crop_inverse, plan, short_side_size
from pose_runtime.preprocess import preprocess

RELATIVE = 1e-5  # the authors' matrices come from float32 points


def _relative(got, want) -> float:
    """Largest difference over the largest entry."""
    got, want = np.asarray(got, float).ravel(), np.asarray(want, float).ravel()
    if got.shape != want.shape:
        return float("inf")
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-9))


def _exact(got, want) -> float:
    return 0.0 if list(got) == list(want) else float("inf")


def _forward(inverse):
    """The way from the source to the input."""
    return np.linalg.inv(np.vstack([inverse, [0, 0, 1]]))[:2]


def _test_size(case) -> float:
    shown = short_side_size((case["w"], case["h"]), case["input_size"], case["current_scale"], case["min_scale"])
    inverse = crop_inverse("hrnet", shown.centre, shown.shown_wh, shown.size_wh)
    return max(
        _exact(shown.size_wh, case["size_wh"]),
        _exact(shown.centre, case["center"]),
        _relative(np.array(shown.shown_wh) / 200, case["scale"]),
        _relative(_forward(inverse), case["affine"]),
        _relative(inverse, case["affine_inv"]),
    )


def _crop(case) -> float:
    box, input_wh, rotation = tuple(case["box_xywh"]), tuple(case["input_wh"]), case["rot"]
    difference = 0.0
    for convention, prefix in (("hrnet", ""), ("dark", "dark_")):
        rule = Crop(enlarge=1.25, convention=convention, round_pixels=True)
        centre, shown_wh = crop_frame(rule, box, input_wh)
        inverse = crop_inverse(convention, centre, shown_wh, input_wh, rotation)
        difference = max(
            difference,
            _relative(centre, case[prefix + "center"]),
            _relative(np.array(shown_wh) / 200, case["scale"]),
            _relative(_forward(inverse), case[prefix + "affine"]),
            _relative(inverse, case["affine_inv"]) if convention == "hrnet" else 0.0,
        )
    return difference


def _back(case) -> float:
    rule = ShortSide(base=min(case["size_wh"]), round_pixels=True)
    geometry = plan(rule, (case["w"], case["h"]), (0, 0))
    keypoints = np.array(case["joints"], np.float32)
    geometry.to_source(keypoints, "corner")
    return max(
        _exact(geometry.size_wh, case["size_wh"]), float(np.abs(keypoints - np.array(case["image_joints"])).max())
    )


def maps(root: Path) -> Iterator[Case]:
    """Test sizes, centre and scale, affine maps and the way back."""
    path = root / "hrnet" / "preprocess.json"
    if not path.exists():
        return
    content = json.loads(path.read_text())
    tables = (("higherhrnet_sizes", _test_size, RELATIVE), ("topdown_affine", _crop, RELATIVE))
    for key, check, tolerance in (*tables, ("final_preds", _back, 1e-3)):
        for i, case in enumerate(content.get(key, [])):
            yield Case(f"{key} {i}", check(case), tolerance)


def images(root: Path) -> Iterator[Case]:
    """Images warped to HigherHRNet's test size, uint8, all grey levels exact."""
    path = root / "hrnet" / "resize_align.npz"
    if not path.exists():
        return
    with np.load(path) as arrays:
        for name in (n for n in arrays.files if n.startswith("img")):
            number = name.removeprefix("img")
            image, want = arrays[name], arrays[f"resized{number}"]
            rule = ShortSide(base=int(arrays[f"input_size{number}"]), round_pixels=True)
            geometry = plan(rule, (image.shape[1], image.shape[0]), (0, 0))
            out = np.empty((3, *geometry.size_wh[::-1]), np.float32)
            preprocess(Frame.from_image(image), geometry, colour="bgr", mean=(0, 0, 0), std=(1, 1, 1), out=out)
            got = out.transpose(1, 2, 0)
            difference = float(np.abs(got - want).max()) if got.shape == want.shape else float("inf")
            yield Case(name, difference, 0.0)


FAMILIES = {"hrnet/preprocess": maps, "hrnet/resize_align": images}
