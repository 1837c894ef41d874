"""People by a detector, their poses in crops: which boxes are looked into, what comes out, and how it is scored."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tiny
import toy
from pose_runtime.base_pipeline import BasePipeline, Timings
from pose_runtime.bundle import as_part, load_bundle, write_bundle
from pose_runtime.check import check_bundle
from pose_runtime.cli import check as check_cli
from pose_runtime.cli import info
from pose_runtime.errors import FrameError
from pose_runtime.manifest import Detector, Manifest
from pose_runtime.pipeline import Pipeline, open_pipeline
from pose_runtime.poses import Poses
from pose_runtime.skeletons import BOX2
from pose_runtime.top_down import TopDownPipeline, around, rescored

HOW = msgspec.convert(toy.DETECTOR, Detector)
FRAME = np.zeros((96, 128, 3), np.uint8)
CROPS = tiny.make_manifest(tiny.CROP, (24, 32), 0)


def how(**fields: Any) -> Detector:
    return msgspec.structs.replace(HOW, **fields)


def boxes(*xywh_score: tuple[float, float, float, float, float]) -> Poses:
    """What a detector gives."""
    array = np.array(xywh_score, np.float32).reshape(-1, 5)
    ones = np.ones((len(array), 1), np.float32)
    low, high = array[:, :2], array[:, :2] + array[:, 2:4]
    corners = np.stack([np.concatenate([low, ones], 1), np.concatenate([high, ones], 1)], 1)
    return Poses(corners, array[:, 4].copy(), BOX2)


class Fake(BasePipeline):
    """Gives what a function says of (number of the frame, boxes), and remembers what it was asked."""

    def __init__(self, manifest: Manifest, give: Any) -> None:
        super().__init__(manifest, None, 8)
        self.give, self.asked, self.closed = give, [], False

    def close(self) -> None:
        self.closed = True

    def _all(self, frames: Sequence[Any], boxes: Sequence[Any]) -> list[Poses]:
        self.timings = Timings(0.25, 0.5, 1.0)
        self.asked.append([None if box is None else np.asarray(box).tolist() for box in boxes])
        return [self.give(frame, box) for frame, box in zip(frames, boxes, strict=True)]


def three_points(frame: Any, box: Any) -> Poses:
    """A person whose keypoints are two corners and the middle of the box; nobody in boxes at x >= 1000."""
    x, y, w, h = np.asarray(box, np.float32)[0]
    if x >= 1000:
        return Poses.empty(tiny.SKELETON)
    points = np.array([[[x, y, 0.9], [x + w, y + h, 0.5], [x + w / 2, y + h / 2, 0.1]]], np.float32)
    return Poses(points, np.array([0.5], np.float32), tiny.SKELETON)


def top_down(of: Detector, *found: Poses) -> tuple[TopDownPipeline, Fake, Fake]:
    """One whose detector gives these in turn, the last one for ever."""
    left = list(found)
    detector = Fake(CROPS, lambda *_: left.pop(0) if len(left) > 1 else left[0])
    crops = Fake(CROPS, three_points)
    return TopDownPipeline(of, detector, crops), detector, crops


A, B = (10, 10, 20, 40, 0.5), (70, 30, 30, 50, 0.9)


def test_all_people_of_all_frames_go_through_at_once() -> None:
    pipeline, detector, crops = top_down(how(), boxes(A, B), boxes(), boxes(A))
    one, none, other = pipeline([FRAME, FRAME, FRAME])
    assert detector.asked == [[None, None, None]]
    assert crops.asked == [[[list(B[:4])], [list(A[:4])], [list(A[:4])]]]
    assert (len(one), len(none), len(other)) == (2, 0, 1)
    np.testing.assert_allclose(one.scores, [0.9 * 0.7, 0.5 * 0.7])  # the middle's 0.1 is not above 0.2
    np.testing.assert_array_equal(one.keypoints[0, 0], np.float32([70, 30, 0.9]))
    assert pipeline.timings == Timings(0.5, 1.0, 2.0)
    assert pipeline.choice is None
    with pipeline:
        pass
    assert detector.closed
    assert crops.closed


def test_nobody_costs_no_crops() -> None:
    pipeline, _, crops = top_down(how(), boxes())
    assert len(pipeline(FRAME)) == 0
    assert crops.asked == []
    assert pipeline.timings == Timings(0.25, 0.5, 1.0)


def test_which_boxes_are_taken() -> None:
    """The best ones, by score and then by place; none that is weak, thin, far away or no number."""
    weak, thin, inside_out = (0, 0, 9, 9, 0.1), (0, 0, 1, 50, 0.8), (50, 50, -9, 9, 0.8)
    far, no_number = (0, 0, 9e9, 9, 0.8), (0, np.nan, 9, 9, 0.8)
    same = (40, 40, 20, 20, 0.5)
    pipeline, _, crops = top_down(how(max_people=2), boxes(weak, A, thin, same, inside_out, far, no_number, B))
    pipeline(FRAME)
    assert crops.asked == [[[list(B[:4])], [list(A[:4])]]]


def test_a_box_without_a_person_and_doubles() -> None:
    double = (11, 10, 20, 40, 0.4)
    pipeline, _, _ = top_down(how(nms_oks=0.9), boxes(double, (1000, 0, 9, 9, 1.0), A))
    np.testing.assert_allclose(pipeline(FRAME).scores, [0.35])
    pipeline, _, _ = top_down(how(nms_oks=1.0), boxes(double, A))
    np.testing.assert_allclose(pipeline(FRAME).scores, [0.35, 0.28])


@pytest.mark.parametrize(("rule", "wanted"), [("keypoints", 0.5), ("box", 0.8 * 0.7), ("mean", 0.5)])
def test_scores(rule: Any, wanted: float) -> None:
    points = np.array([[[1, 1, 0.9], [2, 2, 0.5], [3, 3, 0.1]]], np.float32)
    scores = rescored(how(rescore=rule), points, np.float32([0.5]), np.array([0.8]))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [wanted])
    points[..., 2] = 0.1
    assert rescored(how(rescore="box"), points, np.float32([0.5]), np.array([0.8])).tolist() == [0]


def test_a_callers_boxes_are_taken_as_they_are() -> None:
    pipeline, detector, crops = top_down(how(), boxes(A))
    found = pipeline([FRAME], boxes=[np.array([A[:4]])])
    assert detector.asked == []
    assert crops.asked == [[[list(A[:4])]]]
    assert found[0].scores.tolist() == [0.5]
    with pytest.raises(FrameError, match="some frames with and some without"):
        pipeline([FRAME, FRAME], boxes=[None, [A[:4]]])
    with pytest.raises(FrameError, match="got 1 sets for 2 frames"):
        pipeline([FRAME, FRAME], boxes=[[A[:4]]])


# ---- streams -----------------------------------------------------------------------------------------------------


def look(pipeline: BasePipeline, *streams: Any) -> list[Poses]:
    pipeline.submit_all([FRAME] * len(streams), streams)
    return pipeline.result_all()


def test_the_detector_rests_between_frames_of_a_stream() -> None:
    pipeline, detector, crops = top_down(how(every=3), boxes(A))
    for _ in range(7):
        assert len(look(pipeline, "door")[0]) == 1
    assert len(detector.asked) == 3  # frames 0, 3 and 6
    last = crops.asked[0][0][0]
    grown = np.array([last[0] - last[2] / 8, last[1] - last[3] / 8, last[2] * 1.25, last[3] * 1.25])
    np.testing.assert_allclose(crops.asked[1][0][0], grown)
    np.testing.assert_allclose(look(pipeline, "door")[0].scores, [0.35])  # the box's score stays with its person


def test_every_stream_has_its_own_people() -> None:
    pipeline, detector, crops = top_down(how(every=100), boxes(A), boxes(B))
    look(pipeline, 0, 1)
    assert [len(asked) for asked in detector.asked] == [2]
    one, other = look(pipeline, 1, 0)
    assert len(detector.asked) == 1
    assert (one.keypoints[0, 0, 0] > 50, other.keypoints[0, 0, 0] > 50) == (True, False)
    look(pipeline, 2, 0)  # a new one among known ones
    assert [len(asked) for asked in detector.asked] == [2, 1]
    assert len(crops.asked[-1]) == 2


def test_when_nobody_is_left_the_detector_looks_at_once() -> None:
    pipeline, detector, _ = top_down(how(every=100), boxes(A), boxes(), boxes(B))
    crops = pipeline.crops
    assert isinstance(crops, Fake)
    look(pipeline, 0)
    crops.give = lambda *_: Poses.empty(tiny.SKELETON)
    assert len(look(pipeline, 0)[0]) == 0
    crops.give = three_points
    assert len(look(pipeline, 0)[0]) == 0
    assert len(look(pipeline, 0)[0]) == 1
    assert len(detector.asked) == 3


def test_frames_that_follow_no_other_are_always_searched() -> None:
    pipeline, detector, _ = top_down(how(every=100), boxes(A))
    for _ in range(3):
        look(pipeline, None)
        pipeline(FRAME)
    assert len(detector.asked) == 6


def test_streams_are_forgotten() -> None:
    pipeline, detector, _ = top_down(how(every=100), boxes(A))
    for stream in range(65):
        look(pipeline, stream)
    look(pipeline, 64)
    assert len(detector.asked) == 65
    look(pipeline, 0)
    assert len(detector.asked) == 66


def test_a_box_around_a_person() -> None:
    points = np.array(
        [[[10, 20, 1], [30, 60, 0.5], [np.nan, np.nan, 0]], [[5, 5, 1], [9, 9, 0], [9, 9, 0]]], np.float32
    )
    np.testing.assert_allclose(around(points), [[7.5, 15, 25, 50], [4.375, 4.375, 1.25, 1.25]])
    assert around(points[:0]).shape == (0, 4)


# ---- whole bundles -----------------------------------------------------------------------------------------------


def write(folder: Path, **fields: Any) -> None:
    """The tiny network twice: its blue and green dots are a box's corners, and in the crop they are keypoints."""
    part = tiny.write_detector(folder / "detector.pose")
    whole = tiny.replaced(CROPS, detector=how(**fields))
    picture = toy.FILES["check/0.png"]
    files = {"reference.onnx": tiny.make_graph(whole), "check/0.png": picture, **as_part(part, "detector")}
    write_bundle(folder / "two.pose", whole, files)


def test_a_bundle_with_a_detector(tmp_path: Path) -> None:
    """Equal to its parts one after the other."""
    write(tmp_path, rescore="keypoints")
    picture = tiny.frame((40, 20), (80, 70), (60, 50))
    with open_pipeline(tmp_path / "two.pose", device="cpu") as pipeline:
        assert isinstance(pipeline, TopDownPipeline)
        assert isinstance(pipeline.crops, Pipeline)
        assert pipeline.crops.max_batch == HOW.max_people
        found = pipeline(picture)
        corners = pipeline.detector(picture).keypoints[0, :, :2]
        alone = pipeline.crops(picture, boxes=[[*corners[0], *(corners[1] - corners[0])]])
        assert pipeline.timings.network_s > 0
    assert found.skeleton.names == tiny.SKELETON.names
    np.testing.assert_array_equal(found.keypoints, alone.keypoints)
    np.testing.assert_array_equal(found.scores, alone.scores)
    assert found.keypoints[0, 2, :2] == pytest.approx([60, 50], abs=6)


def test_its_parts_are_checked_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    part = load_bundle(tmp_path / "two.pose").part("detector")
    (check,) = check_bundle(part)
    assert check.passed
    shown = dict(info.rows(load_bundle(tmp_path / "two.pose")))
    assert shown["people by"].startswith("every=1 min_score=0.2 max_people=20 rescore=box")
    assert shown["detector"].startswith("tiny: 0.000 G multiply-accumulates, graphs reference; more by pose-info ")
    monkeypatch.setattr(sys, "argv", ["pose-check", str(tmp_path / "two.pose")])
    with pytest.raises(SystemExit):
        check_cli.main()
    out = capsys.readouterr().out
    assert out.count("reference on onnxruntime: ") == 2
    assert "\ndetector: tiny\n" in out
