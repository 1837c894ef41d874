"""Person boxes, boxes with keypoints, and classified coordinates, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from definitions import boxes as definition
from pose_runtime.decode import BoxesDecoder, SimccDecoder, YoloPoseDecoder, boxes, simcc, yolo_pose
from pose_runtime.errors import DecodeError

WH = (96, 64)
CELLS = sum((WH[0] // s) * (WH[1] // s) for s in (8, 16, 32))


def decoder(layout: Any, **fields: Any) -> BoxesDecoder:
    given = {"person": 0, "logits": False, "min_score": 0.3, "max_iou": 0.5, "max_people": 20, "grid": "centre"}
    return BoxesDecoder(layout=layout, **(given | fields))


def random_rows(seed: int, count: int, classes: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.uniform(0, 1, (count, 5 + classes)).astype(np.float32)
    rows[:, 2:4] = random.normal(0.5, 0.5, (count, 2))
    return rows


def same(found: tuple[np.ndarray, np.ndarray], wanted: np.ndarray, scores: np.ndarray, kept: list[int]) -> None:
    np.testing.assert_allclose(found[1], scores[kept], rtol=1e-6)
    np.testing.assert_allclose(found[0], wanted[kept], rtol=1e-5, atol=1e-4)


# ---- boxes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_raw_yolox_head(seed: int) -> None:
    rows = random_rows(seed, CELLS, 3)
    wanted, scores = definition.yolox(rows, WH, 1)
    kept = definition.suppress(wanted, scores, 0.3, 0.5, 20)
    assert kept
    same(boxes(decoder("yolox", person=1), [rows], WH), wanted, scores, kept)


def test_a_decoded_yolox_head() -> None:
    rows = np.array([[20, 20, 10, 20, 0.8, 0.5], [21, 20, 10, 20, 0.9, 0.9], [60, 30, 8, 8, 1, 0.4]], np.float32)
    found, scores = boxes(decoder("yolox_decoded"), [rows], WH)
    np.testing.assert_allclose(found, [[16, 10, 26, 30], [56, 26, 64, 34]])
    np.testing.assert_allclose(scores, [0.81, 0.4])


def test_two_classes_alike_count_for_the_first() -> None:
    rows = np.array([[20, 20, 10, 20, 1, 0.5, 0.5]], np.float32)
    assert len(boxes(decoder("yolox_decoded", person=0), [rows], WH)[0]) == 1
    assert len(boxes(decoder("yolox_decoded", person=1), [rows], WH)[0]) == 0


def test_rtmdet_and_torchvision() -> None:
    corners = np.array([[0, 0, 10, 20], [0, 0, 10, 19], [30, 30, 50, 60], [5, 5, 5, 9]], np.float32)
    scores = np.array([0.5, 0.6, 0.9, 1.0], np.float32)
    dets = np.concatenate([corners, scores[:, None]], axis=1)
    found = boxes(decoder("rtmdet"), [dets, np.array([0, 0, 1, 0])], WH)
    np.testing.assert_array_equal(found[0], corners[[1]])
    found = boxes(decoder("torchvision", person=1), [corners, np.array([1, 1, 1, 1]), scores], WH)
    np.testing.assert_array_equal(found[0], corners[[2, 1]])
    np.testing.assert_array_equal(found[1], scores[[2, 1]])
    for layout, empty in (("rtmdet", [dets[:0], scores[:0]]), ("torchvision", [corners[:0], scores[:0], scores[:0]])):
        people, none = boxes(decoder(layout), empty, WH)
        assert (people.shape, none.shape) == ((0, 4), (0,))


@pytest.mark.parametrize("seed", range(10))
def test_a_centre_map(seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 1, (8, 12)).astype(np.float32)
    centres[random.integers(8), :] = 0.75  # a plateau
    sides = random.uniform(0.5, 3, (4, 8, 12)).astype(np.float32)
    wanted, scores = definition.centre_map(centres, sides, 8.0)
    kept = definition.suppress(wanted, scores, 0.3, 0.5, 20)
    assert kept
    same(boxes(decoder("centre_map"), [centres[None], sides], WH), wanted, scores, kept)
    logits = np.log(centres / (1 - centres)).astype(np.float32)
    found = boxes(decoder("centre_map", logits=True), [logits[None], sides], WH)
    np.testing.assert_allclose(found[1], scores[kept], atol=1e-5)


def test_what_is_no_number_is_nobody() -> None:
    rows = np.array([[20, 20, np.nan, 20, 1, 1], [20, 20, np.inf, 20, 1, 1], [20, 20, 9, 9, np.nan, 1]], np.float32)
    assert len(boxes(decoder("yolox_decoded"), [rows], WH)[0]) == 0
    maps = np.full((1, 8, 12), np.nan, np.float32)
    assert len(boxes(decoder("centre_map"), [maps, np.ones((4, 8, 12))], WH)[0]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_so_many(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 60, (300, 2)).astype(np.float32)
    corners = np.concatenate([low, low + random.uniform(1, 30, (300, 2)).astype(np.float32)], axis=1)
    scores = np.round(random.uniform(0, 1, 300), 1).astype(np.float32)  # many are equal
    for max_iou in (0.0, 0.3, 1.0):
        for most in (1, 7, 300):
            of = decoder("torchvision", max_iou=max_iou, max_people=most, person=1)
            kept = definition.suppress(corners, scores, 0.3, max_iou, most)
            found = boxes(of, [corners, np.ones(300), scores], WH)
            np.testing.assert_array_equal(found[0], corners[kept])


@pytest.mark.parametrize(
    ("layout", "arrays", "message"),
    [
        ("yolox", [np.zeros((5, 6))], "got 5 rows for an input of 96 x 64, yolox has 126"),
        ("yolox_decoded", [np.zeros((5, 5))], r"wants \(M, 6 or more\)"),
        ("rtmdet", [np.zeros((5, 5))], "got 1 arrays, wanted 2"),
        ("rtmdet", [np.zeros((5, 5)), np.zeros(4)], "wanted one score and label per row"),
        ("torchvision", [np.zeros((5, 5)), np.zeros(5), np.zeros(5)], r"wants \(M, 4\)"),
        ("centre_map", [np.zeros((2, 4, 4)), np.zeros((4, 4, 4))], r"wanted \(1, H, W\) and \(4, H, W\)"),
    ],
)
def test_wrong_outputs_are_refused(layout: str, arrays: list[np.ndarray], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        boxes(decoder(layout), arrays, WH)


def test_boxes_are_poses() -> None:
    dets = np.array([[0, 0, 10, 20, 0.5]], np.float32)
    found = decoder("rtmdet")({"boxes": [dets, np.zeros(1, np.float32)]}, WH)
    np.testing.assert_array_equal(found.keypoints, [[[0, 0, 0.5], [10, 20, 0.5]]])
    assert found.scores.tolist() == [0.5]


# ---- boxes with keypoints ----------------------------------------------------------------------------------------


def anchors(seed: int, count: int, classes: int, joints: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.uniform(0, 1, (4 + classes + 3 * joints, count)).astype(np.float32)
    rows[:2] *= 60
    rows[2:4] = random.uniform(2, 30, (2, count))
    return rows


@pytest.mark.parametrize(("seed", "classes"), [(0, 1), (1, 1), (2, 3), (3, 3)])
def test_anchors_with_keypoints(seed: int, classes: int) -> None:
    rows = anchors(seed, 200, classes, 5)
    of_class = rows[4 : 4 + classes]
    scores = np.where(of_class.argmax(axis=0) == 0, of_class[0], 0).astype(np.float32)
    kept = definition.suppress(definition.around(rows[:4].T), scores, 0.25, 0.5, 30)
    found, got = yolo_pose(rows, layout="anchors", classes=classes, confidence=0.25, max_iou=0.5, max_people=30)
    np.testing.assert_array_equal(got, scores[kept])
    np.testing.assert_array_equal(found, rows[4 + classes :].T[kept].reshape(-1, 5, 3))


def test_end_to_end() -> None:
    rows = np.zeros((3, 6 + 6), np.float32)
    rows[:, :6] = [[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.95, 1], [20, 0, 29, 9, 0.5, 0]]
    rows[:, 6:] = np.arange(6)
    found, scores = yolo_pose(rows, layout="end_to_end", confidence=0.25, max_iou=1.0, max_people=30)
    np.testing.assert_allclose(scores, [0.9, 0.5])
    np.testing.assert_array_equal(found[0], [[0, 1, 2], [3, 4, 5]])
    none, _ = yolo_pose(rows[:0], layout="end_to_end", confidence=0.25, max_iou=1.0, max_people=30)
    assert none.shape == (0, 2, 3)


def test_invisible_keypoints_are_missing() -> None:
    of = YoloPoseDecoder(
        layout="end_to_end", classes=1, confidence=0.2, max_iou=0.7, min_score=0.5, max_people=9, grid="centre"
    )
    rows = np.array([[0, 0, 9, 9, 0.9, 0, 1, 2, 0.9, 3, 4, 0.4], [20, 0, 29, 9, 0.9, 0, 1, 2, 0.1, 3, 4, 0.4]])
    found = of({"boxes": [rows.astype(np.float32)]}, WH)
    assert found.keypoints.shape == (1, 2, 3)
    np.testing.assert_array_equal(found.keypoints[0], np.float32([[1, 2, 0.9], [np.nan, np.nan, 0]]))


@pytest.mark.parametrize("shape", [(5, 3), (6, 3), (9,)])
def test_wrong_predictions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DecodeError, match="predictions: got shape"):
        yolo_pose(np.zeros(shape), layout="anchors", confidence=0.2, max_iou=0.5, max_people=3)


# ---- classified coordinates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [1.0, 2.0, 3.0])
def test_simcc(split: float) -> None:
    random = np.random.default_rng(0)
    xs = random.normal(0, 1, (2, 5, int(WH[0] * split))).astype(np.float32)
    ys = random.normal(0, 1, (2, 5, int(WH[1] * split))).astype(np.float32)
    xs[0, 0], ys[1, 1] = -1, np.nan
    ys[0, 2, 3:5] = 9  # equal ones: the first
    found = simcc(xs, ys, split_ratio=split)
    with np.errstate(invalid="ignore"):
        score = np.minimum(xs.max(axis=2), np.nan_to_num(ys, nan=-1).max(axis=2))
    x, y = xs.argmax(axis=2) / np.float32(split), np.nan_to_num(ys, nan=-1).argmax(axis=2) / np.float32(split)
    wanted = np.stack([x, y, score], axis=2)
    wanted[~(score > 0)] = (np.nan, np.nan, 0)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert np.isnan(found[0, 0, 0])
    assert np.isnan(found[1, 1, 0])


def test_simcc_of_a_person() -> None:
    of = SimccDecoder(split_ratio=2.0, min_score=0.3, grid="centre")
    xs, ys = np.zeros((2, 192), np.float32), np.zeros((2, 128), np.float32)
    xs[0, 10], ys[0, 21], xs[1, 5], ys[1, 6] = 0.8, 0.6, 0.9, 0.2
    found = of({"simcc": [xs, ys]}, WH)
    np.testing.assert_allclose(found.keypoints[0], [[5, 10.5, 0.6], [np.nan, np.nan, 0]])
    np.testing.assert_allclose(found.scores, [0.6])
    with pytest.raises(DecodeError, match="simcc y: got shape"):
        of({"simcc": [xs, ys[:, :9]]}, WH)
    with pytest.raises(DecodeError, match="got 1 of role 'simcc'"):
        of({"simcc": [xs]}, WH)
