"""The published networks beside this checkout as bundles, with pictures to calibrate and to judge them on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pose_calibration.picture_file import PictureFile
from pose_calibration.pictures import Pictures
from shared import shared

_ROOM = 0.15
"""Around the keypoints of one person, as a share of the larger side of the box around them."""
_LEAST = 100
"""Pixels that such a box is high, at least: below, the network sees more interpolation than person."""


@dataclass(frozen=True)
class RealNetwork:
    """One of them: its file without .onnx, the preset, and whether it wants one person who fills the frame."""

    name: str
    preset: str
    single: bool


NETWORKS = (
    RealNetwork("tfpose_mobilenet_v2_small_368x432", "tf-pose", False),
    RealNetwork("tfpose_mobilenet_v2_small_368x656", "tf-pose", False),
    RealNetwork("mv2_cpm_192", "cpm-mobile", True),
    RealNetwork("mv2_hourglass_192", "hourglass-mobile", True),
)


def make_bundle(network: RealNetwork, folder: Path) -> Path:
    """Its FP32 bundle in a folder."""
    out = folder / f"{network.name}.pose"
    code = "import sys; from pose_export.cli import main; sys.exit(main())"
    arguments = ["--onnx", shared("models", f"{network.name}.onnx"), "--preset", network.preset, "--out", out]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    return out


def pictures(network: RealNetwork, folder: Path) -> tuple[Pictures, Pictures]:
    """To calibrate on, and others to judge on: every third photo, and the two thirds between."""
    files = list(_people(folder)) if network.single else _photos()
    what = "crops of one person" if network.single else "photos"
    one = [PictureFile(file, file.name) for file in files[::3]]
    other = [PictureFile(file, file.name) for i, file in enumerate(files) if i % 3]
    return Pictures(one, f"{len(one)} {what}", ()), Pictures(other, f"{len(other)} other {what}", ())


def _photos() -> list[Path]:
    return sorted([*shared("images", "photos").glob("*.jpg"), *shared("images", "coco").glob("*.jpg")])


def _people(folder: Path) -> Iterator[Path]:
    """Each photo's people whose head, arms and legs the tf-pose authors' own run finds, and their mirror images."""
    listed = json.loads(shared("models", "expected", "tfpose_mv2s_656x368_r4.json").read_text())["images"]
    folder.mkdir(exist_ok=True)
    for name, found in sorted(listed.items()):
        image = cv2.imread(str(shared("images", name)))
        for number, person in enumerate(found["people"]):
            joints = np.array([xy or (np.nan, np.nan) for xy in person["image_xy"][:14]])
            if np.isnan(joints).any() or np.ptp(joints[:, 1]) < _LEAST:
                continue
            room = _ROOM * np.ptp(joints, axis=0).max()
            left, top = np.maximum(joints.min(axis=0) - room, 0).astype(int)
            right, bottom = (joints.max(axis=0) + room).astype(int) + 1
            crop = image[top:bottom, left:right]
            for side, pixels in (("", crop), ("_mirrored", crop[:, ::-1])):
                file = folder / f"{Path(name).stem}_{number}{side}.png"
                cv2.imwrite(str(file), pixels)
                yield file
