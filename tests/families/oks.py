"""Goldens of OKS between detections and its suppression: `hrnet/oks.json`, `losses/oks_nms.npz`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case
from pose_runtime.oks import detection_oks, oks_nms, soft_oks_nms

# COCO's, by keypoint from nose to ankles
COCO = (0.026, *(0.025,) * 2, *(0.035,) * 2, *(0.079,) * 2, *(0.072,) * 2, *(0.062,) * 2, *(0.107,) * 2, *(0.087,) * 2)
COCO += (0.089, 0.089)


def _worst(got, want) -> float:
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return float("inf")
    return float(np.abs(got - want).max(initial=0))


def _kept(got, want) -> float:
    return 0.0 if list(got) == list(want) else float("inf")


def hrnet(root: Path) -> Iterator[Case]:
    """OKS of the first detection with all, with and without a score threshold; both suppressions."""
    path = root / "hrnet" / "oks.json"
    if not path.exists():
        return
    for i, case in enumerate(json.loads(path.read_text())["cases"]):
        sigmas = COCO if case["sigmas"] is None else case["sigmas"]
        oks = detection_oks(case["keypoints"], case["area"], sigmas)
        for key, want in case.items():
            if key == "oks_of_0_vs_all":
                yield Case(f"{i} {key}", _worst(oks[0], want), 1e-9)
            elif key.startswith("oks_of_0_vs_all_vis"):
                threshold = float(key.removeprefix("oks_of_0_vs_all_vis"))
                got = detection_oks(case["keypoints"], case["area"], sigmas, min_score=threshold)[0]
                yield Case(f"{i} {key}", _worst(got, want), 1e-9)
            elif key in ("oks_nms", "soft_oks_nms"):
                suppress = oks_nms if key == "oks_nms" else soft_oks_nms
                for threshold, kept in want.items():
                    yield Case(f"{i} {key} {threshold}", _kept(suppress(oks, case["score"], float(threshold)), kept), 0)


def losses(root: Path) -> Iterator[Case]:
    """The whole matrix, and greedy suppression at several thresholds."""
    path = root / "losses" / "oks_nms.npz"
    if not path.exists():
        return
    with np.load(path) as arrays:
        oks = detection_oks(arrays["keypoints"], arrays["areas"], COCO)
        yield Case("oks", _worst(oks, arrays["oks"]), 1e-9)
        for name in (n for n in arrays.files if n.startswith("keep_")):
            got = oks_nms(oks, arrays["scores"], float(name.removeprefix("keep_")))
            yield Case(name, _kept(got, arrays[name]), 0)


FAMILIES = {"hrnet/oks": hrnet, "losses/oks_nms": losses}
