"""AP of a real pretrained network on four annotated COCO images, against its authors' own pipeline.

Twelve usable annotations: a smoke test, not an accuracy figure; one person more or less is 3 points.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_calibration.accuracy import KeypointAP, coco_ap, coco_results
from pose_runtime import Pipeline, Poses, open_pipeline
from shared import shared

pytest.importorskip("onnxruntime")
pytest.importorskip("pycocotools")
pytest.importorskip("onnxsim")


@pytest.fixture(scope="module", params=[(368, 656), (368, 432)], ids=["656x368", "432x368"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bundle of tf-pose at eval's resize ratio 8, and its name in the expected summary."""
    height, width = request.param
    folder = tmp_path_factory.mktemp("network")
    bundle = make_bundle(shared("models", f"tfpose_mobilenet_v2_small_{height}x{width}.onnx"), folder / "tf.pose")
    return bundle, f"{width}x{height}"


def make_bundle(onnx: Path, out: Path) -> Path:
    code = "import sys; from pose_export.cli import main; sys.exit(main())"
    arguments = ["--onnx", onnx, "--preset", "tf-pose", "--decoder", "upsample=8", "--out", out]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    return out


def measure(pipeline: Pipeline, resize: tuple[int, int] | None) -> KeypointAP:
    """AP with the authors' rounding to whole pixels; with `resize`, cv2 resizes the image first, as the authors do."""
    annotations = shared("images", "coco", "test_coco.json")
    results = []
    for image in json.loads(annotations.read_text())["images"]:
        picture = cv2.imread(str(annotations.parent / image["file_name"]))
        shown = cv2.resize(picture, resize, interpolation=cv2.INTER_CUBIC) if resize else picture
        poses: Poses = pipeline(shown)
        poses.keypoints[..., 0] *= picture.shape[1] / shown.shape[1]
        poses.keypoints[..., 1] *= picture.shape[0] / shown.shape[0]
        poses.keypoints[..., :2] = np.floor(poses.keypoints[..., :2] + 0.5)
        results += coco_results(image["id"], poses)
    return coco_ap(annotations, results)


def test_ap_is_the_authors(network: tuple[Path, str]) -> None:
    bundle, name = network
    expected = json.loads(shared("models", "expected", "coco4_mv2s_summary.json").read_text())[f"{name}_r8"]
    width, height = map(int, name.split("x"))
    with open_pipeline(bundle) as pipeline:
        same_pixels = measure(pipeline, (width, height))
        own_pixels = measure(pipeline, None)
    assert same_pixels.ap == pytest.approx(100 * expected[0], abs=1)
    assert same_pixels.ap50 == pytest.approx(100 * expected[1], abs=1)
    # Our bicubic differs from cv2's by one grey level in 7 of 724 000 values (ties of rounding). At 656 x 368 that
    # moves the outputs by 1e-4 and one person's arm across a threshold.
    assert own_pixels.ap == pytest.approx(100 * expected[0], abs=1 if name == "432x368" else 4)
