from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pose_calibration.accuracy import coco_ap, coco_results
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from shared import shared

pytest.importorskip("pycocotools")


def one_person(x: float = 10.0) -> tuple[dict, Poses]:
    """COCO annotations of one image with one person, and the poses that hit it exactly."""
    keypoints = np.ones((1, 17, 3), np.float32)
    keypoints[0, :, 0] = x + 3 * np.arange(17)
    keypoints[0, :, 1] = 20 + 2 * np.arange(17)
    flat = [float(v) for x, y, _ in keypoints[0] for v in (x, y, 2)]
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 9000.0, "bbox": [10, 20, 90, 100]}
    annotation |= {"keypoints": flat, "num_keypoints": 17}
    dataset = {"images": [{"id": 7, "width": 200, "height": 200}], "annotations": [annotation]}
    dataset["categories"] = [{"id": 1, "name": "person"}]
    return dataset, Poses(keypoints, np.array([0.9], np.float32), SKELETONS["coco17"])


def test_a_perfect_pose_is_100_points_and_nobody_is_0() -> None:
    dataset, poses = one_person()
    assert coco_ap(dataset, coco_results(7, poses)).ap == pytest.approx(100)
    assert coco_ap(dataset, []).ap == 0


def test_a_shifted_pose_loses_the_strict_thresholds() -> None:
    dataset, poses = one_person()
    poses.keypoints[..., 0] += 8
    result = coco_ap(dataset, coco_results(7, poses))
    assert result.ap50 == pytest.approx(100)
    assert 0 < result.ap < 100


def test_other_skeletons_are_converted() -> None:
    dataset, coco = one_person()
    openpose = np.full((1, 18, 3), np.nan, np.float32)
    openpose[..., 2] = 0
    order = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    openpose[:, order] = coco.keypoints
    poses = Poses(openpose, coco.scores, SKELETONS["openpose18"])
    assert coco_ap(dataset, coco_results(7, poses)).ap == pytest.approx(100)


def test_an_unknown_image_is_refused() -> None:
    dataset, poses = one_person()
    with pytest.raises(PoseError, match=r"images that the annotations lack: \[8\]"):
        coco_ap(dataset, coco_results(8, poses))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"{", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `images`"),
        (b'{"images":[],"categories":[],"annotations":[{"id":1}]}', "missing required field `image_id`"),
    ],
)
def test_a_file_that_holds_no_keypoints_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PoseError, match=f"a.json: .*{words}"):
        coco_ap(path, [])


def test_equals_the_reference_on_a_synthetic_set() -> None:
    folder = shared("reference", "losses")
    expected = json.loads((folder / "coco_expected.json").read_text())
    detections = json.loads((folder / "coco_dt.json").read_text())
    got = coco_ap(folder / "coco_gt.json", detections)
    stats = expected["stats"] if "stats" in expected else expected["coco_stats"]
    wanted = list(stats.values()) if isinstance(stats, dict) else stats
    np.testing.assert_allclose([getattr(got, name) for name in got.__slots__], 100 * np.array(wanted), atol=1e-9)
