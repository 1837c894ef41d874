"""A small good bundle: one 1x1 "network" with heatmaps of three keypoints, for tests of all that surrounds networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from pose_runtime.bundle import Bundle, as_part, write_bundle
from pose_runtime.manifest import Manifest
from pose_runtime.skeletons import BOX2

FILES = {
    "reference.onnx": b"no real graph",
    "check/0.png": cv2.imencode(".png", np.full((16, 24, 3), 90, np.uint8))[1].tobytes(),
}


def manifest_dict() -> dict[str, Any]:
    """The manifest as plain types, `files` left to be written."""
    return {
        "version": 1,
        "jetpose": "0.1.0",
        "network": {
            "name": "toy",
            "weights": {"source": "a test", "licence": "unknown", "sha256": "0" * 64},
            "parameters": 12,
            "macs": 3456,
        },
        "input": {
            "tensor": "image",
            "size_wh": [24, 16],
            "batch": 1,
            "colour": "rgb",
            "mean": [0.0, 0.0, 0.0],
            "std": [255.0, 255.0, 255.0],
            "resize": {"rule": "stretch", "interpolation": "bilinear", "round_pixels": True},
        },
        "outputs": [{"tensor": "maps", "role": "heatmaps", "channels": [0, 3], "stride": 1.0}],
        "skeleton": {
            "name": "toy3",
            "names": ["nose", "left_eye", "right_eye"],
            "limbs": [[0, 1], [0, 2]],
            "flip_pairs": [[1, 2]],
            "sigmas": [0.026, 0.025, 0.025],
        },
        "decoder": {
            "family": "heatmap",
            "refine": "none",
            "kernel": 11,
            "beta": 10.0,
            "blur_sigma": 0.0,
            "min_score": 0.1,
            "grid": "centre",
        },
        "graphs": {
            "reference": {
                "file": "reference.onnx",
                "precision": "fp32",
                "int8_mac_share": 0.0,
                "calibration": None,
                "accuracy": [],
            }
        },
        "check": {
            "min_oks": 0.99,
            "frames": [
                {
                    "file": "check/0.png",
                    "keypoints": [[[1.5, 2.0, 0.9], None, [3.0, 4.0, 0.5]]],
                    "scores": [0.7],
                    "heads": [{"tensor": "maps", "mean": 0.1, "std": 0.2, "min": 0.0, "max": 0.9}],
                }
            ],
        },
        "files": {},
    }


def toy_bundle(path: Path) -> Bundle:
    """Write it to `path`."""
    return write_bundle(path, msgspec.convert(manifest_dict(), Manifest), FILES)


CROPS = {
    **manifest_dict()["input"],
    "resize": {"rule": "crop", "enlarge": 1.25, "convention": "hrnet", "round_pixels": True},
}
DETECTOR = {
    "every": 1,
    "min_score": 0.2,
    "max_people": 20,
    "rescore": "box",
    "min_keypoint": 0.2,
    "nms_oks": 0.9,
}


def write(path: Path, changes: dict[str, Any] | None = None, files: dict[str, bytes] | None = None) -> Bundle:
    """The bundle with other top-level values and more files."""
    manifest = msgspec.convert(manifest_dict() | (changes or {}), Manifest)
    return write_bundle(path, manifest, FILES | (files or {}))


def write_with_detector(
    path: Path, changes: dict[str, Any] | None = None, files: dict[str, bytes] | None = None
) -> Bundle:
    """A bundle of crops with a detector in front; `changes` are the detector's, `files` the whole bundle's."""
    boxes = {
        "skeleton": msgspec.to_builtins(BOX2),
        "outputs": [{"tensor": "maps", "role": "heatmaps", "channels": [0, 2], "stride": 1.0}],
    }
    check = manifest_dict()["check"]
    check["frames"][0]["keypoints"] = [[[1.5, 2.0, 0.9], None]]
    if "skeleton" in (changes or {}):
        boxes = {}
        check = manifest_dict()["check"]
    part = write(path.with_suffix(".part"), boxes | {"check": check} | (changes or {}))
    return write(path, {"detector": DETECTOR, "input": CROPS}, as_part(part, "detector") | (files or {}))
