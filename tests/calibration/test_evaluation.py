"""Evaluation with networks that see coloured squares: nose red, left shoulder blue, right hip green."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from onnx import TensorProto

import tiny
import toy
from annotated import NAMES, PEOPLE, SIZE, bundle, data_set
from pose_calibration.annotations import Annotations, People, read_annotations
from pose_calibration.annotations._model import make_people
from pose_calibration.evaluation import Evaluation, Subject, evaluate, open_graph, run
from pose_calibration.evaluation.matching import annotation_oks, match
from pose_calibration.evaluation.resampling import interval, resamples
from pose_calibration.evaluation.run import sample
from pose_calibration.evaluation.scores import Ratio, score
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.errors import BundleError, PoseError, SourceError
from pose_runtime.manifest import Detector
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from pose_runtime.top_down import TopDownPipeline
from shared import shared

pytest.importorskip("pycocotools")
pytest.importorskip("onnxruntime")

COCO = SKELETONS["coco17"]


def subject(of: Bundle, annotations: Annotations, images: Path, **options: Any) -> Subject:
    with open_graph(of, None) as pipeline:
        return Subject(of, "default", run(pipeline, annotations.pictures, images, **options))


def figures(evaluation: Evaluation) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in evaluation.figures}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that sees whole pictures, one that sees boxes, and four pictures."""
    folder = tmp_path_factory.mktemp("work")
    bundle(folder / "whole.pose")
    bundle(folder / "box.pose", resize=tiny.CROP)
    data_set(folder / "images")
    return folder


def load(path: Path) -> Bundle:
    from pose_runtime.bundle import load_bundle

    return load_bundle(path)


# ---- whole evaluations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whole", "box"])
def test_a_network_that_finds_everything(work: Path, name: str) -> None:
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    got = evaluate(annotations, subject(load(work / f"{name}.pose"), annotations, work / "images"), count=50)
    values = figures(got)
    for figure in ("PCK@0.2 box", "PCK@0.2 torso", "people found", "AP50", "AR50"):
        assert values[figure] == pytest.approx(100), figure
    assert (got.bundle.missed, got.bundle.invented, got.bundle.found) == (0, 0, 4)
    assert got.boxes == (name == "box")
    assert got.joints_left_out == tuple(n for n in COCO.names if n not in NAMES)
    rows = {row.name: row for row in got.keypoints}
    assert rows["nose"].annotated == 4
    assert rows["left_shoulder"].right == 100
    assert rows["nose"].median_px is not None
    assert 2 < rows["nose"].median_px < 4  # the map's pixels are 8 of the picture's
    assert rows["left_eye"].annotated == 0
    assert rows["left_eye"].right is None
    assert all(limb.strict is None for limb in got.limbs)  # no limb has both its ends
    assert values["AP medium"] is not None
    assert values["AP large"] is None
    assert got.bundle.stages.pictures == 4


def test_annotations_elsewhere_are_missed_and_what_is_found_is_invented(work: Path, tmp_path: Path) -> None:
    path = data_set(tmp_path, shift=60)
    annotations = read_annotations("coco", path)
    got = evaluate(annotations, subject(load(work / "whole.pose"), annotations, tmp_path), count=20)
    assert (got.bundle.missed, got.bundle.invented) == (4, 4)
    values = figures(got)
    assert values["AP"] == values["people found"] == 0
    assert values["PCK@0.2 torso"] == 0
    assert got.keypoints[0].missed == 100
    assert got.keypoints[0].mean_px is None
    assert [changed.bundle.oks for changed in got.changed] == [0] * 4


def test_a_crowd_and_an_empty_picture(work: Path, tmp_path: Path) -> None:
    """Whoever is found in a crowd is not invented, and a picture of nobody counts for nothing."""
    path = data_set(tmp_path, (PEOPLE[0], (None, None, None), PEOPLE[1]))
    tree = json.loads(path.read_text())
    tree["annotations"][0] |= {"iscrowd": 1, "num_keypoints": 0, "keypoints": [0.0] * 51}
    del tree["annotations"][1]
    path.write_text(json.dumps(tree))
    annotations = read_annotations("coco", path)
    got = evaluate(annotations, subject(load(work / "whole.pose"), annotations, tmp_path), count=20)
    assert (got.people, got.bundle.missed, got.bundle.invented, got.bundle.found) == (1, 0, 0, 2)


def test_nobody_at_all(work: Path, tmp_path: Path) -> None:
    path = data_set(tmp_path, ((None, None, None),) * 2)
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(tree | {"annotations": []}))
    annotations = read_annotations("coco", path)
    for name in ("whole", "box"):
        found = subject(load(work / f"{name}.pose"), annotations, tmp_path)
        got = evaluate(annotations, found, found, count=20)
        assert got.people == got.bundle.found == 0
        assert figures(got)["AP"] is None
        assert figures(got)["people found"] is None
        assert got.changed == ()


def test_a_baseline(work: Path, tmp_path: Path) -> None:
    """One that takes the hip for the nose, and so on: worse, and by an interval that says so."""
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    wrong = bundle(tmp_path / "wrong.pose", (NAMES[2], NAMES[0], NAMES[1]))
    own = subject(wrong, annotations, work / "images")
    base = subject(load(work / "whole.pose"), annotations, work / "images")
    got = evaluate(annotations, own, base, count=200)
    by_name = {figure.name: figure for figure in got.figures}
    torso = by_name["PCK@0.2 torso"]
    assert torso.baseline == 100
    assert torso.value == 0
    assert (torso.change, torso.change_low, torso.change_high) == (-100, -100, -100)
    assert len(got.changed) == 4
    assert got.baseline is not None
    assert got.baseline.missed == 0
    assert got.bundle.missed == 4
    assert {line.dashed for line in got.curves[0].lines} == {False, True}
    same = evaluate(annotations, base, base, count=200)
    assert all(figure.change in (0, None) for figure in same.figures)
    assert all(figure.change_low in (0, None) and figure.change_high in (0, None) for figure in same.figures)
    assert same.changed == ()


def test_joints_that_only_one_of_two_networks_has_are_left_out(work: Path, tmp_path: Path) -> None:
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    other = bundle(tmp_path / "other.pose", ("left_shoulder", "right_hip", "left_eye"))
    base = subject(load(work / "whole.pose"), annotations, work / "images")
    got = evaluate(annotations, subject(other, annotations, work / "images"), base, count=10)
    assert "nose" in got.joints_left_out
    assert "left_eye" in got.joints_left_out
    assert "left_shoulder" not in got.joints_left_out


def test_only_joints_that_the_network_has_decide_who_was_found(tmp_path: Path) -> None:
    """Seventeen annotated joints, of which a network without legs, hips and face finds all that it has."""
    keypoints = np.ones((2, 17, 3))
    keypoints[:, :, :2] = np.linspace(0, 100, 34).reshape(17, 2)
    keypoints[1, :, 0] += 300
    keypoints[1, 5:11] = 0  # of whom only joints are annotated that it does not have
    annotations = hand_made(make_people(tmp_path, keypoints, COCO))
    armed = np.full((1, 17, 3), (np.nan, np.nan, 0), np.float32)
    armed[0, 5:11] = keypoints[0, 5:11]
    compared = np.zeros(17, bool)
    compared[5:11] = True
    poses = [Poses(armed, np.ones(1, np.float32), COCO)]
    got = score(annotations, annotations.pictures, poses, compared=compared, within="<=")
    assert (got.people.tolist(), got.missed.tolist(), got.invented.tolist()) == ([1], [0], [0])
    assert got.oks[0] == pytest.approx(1)
    everything = score(annotations, annotations.pictures, poses, compared=np.ones(17, bool), within="<=")
    assert (everything.people.tolist(), everything.missed.tolist()) == ([2], [2])


def test_the_same_seed_gives_the_same_intervals(work: Path) -> None:
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    found = subject(load(work / "whole.pose"), annotations, work / "images")
    first, second = (evaluate(annotations, found, count=100, seed=4).figures for _ in range(2))
    assert first == second
    none = evaluate(annotations, found, count=0).figures
    assert all(figure.low is None for figure in none)


def test_annotations_that_share_no_joint_are_refused(work: Path, tmp_path: Path) -> None:
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    alien = bundle(tmp_path / "alien.pose", ("trunk", "tail", "wing"))
    with pytest.raises(PoseError, match="share no joint"):
        evaluate(annotations, subject(alien, annotations, work / "images"), count=0)


def test_the_threshold_itself(tmp_path: Path) -> None:
    """An error of exactly 0.2 torsos counts or not as asked."""
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 5], keypoints[0, 12], keypoints[0, 0] = (0, 0, 1), (0, 50, 1), (30, 0, 1)
    people = make_people(tmp_path, keypoints, COCO)
    annotations = hand_made(people)
    points = keypoints.astype(np.float32)
    points[0, 0, 0] += 10
    points[points[..., 2] == 0] = np.nan, np.nan, 0
    found = by_hand(points)
    for within, wanted in (("<=", 100), ("<", 200 / 3)):
        got = evaluate(annotations, found, within=within, count=0)  # type: ignore[arg-type]
        assert figures(got)["PCK@0.2 torso"] == pytest.approx(wanted)
        assert got.within == within


# ---- other data sets --------------------------------------------------------------------------------------------


def drawn_jpegs(folder: Path, pattern: str) -> list[np.ndarray]:
    """The people as JPEGs, and where their left shoulder and right hip are, counted from 1 as MATLAB does."""
    for i, dots in enumerate(PEOPLE, 1):
        cv2.imwrite(str(folder / pattern.format(i)), tiny.frame(*dots, size_wh=SIZE))
    return [np.array([dots[0], dots[1]]) + 0.5 for dots in PEOPLE]


@pytest.mark.parametrize("name", ["whole", "box"])
def test_lsp(work: Path, tmp_path: Path, name: str) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    table = np.full((14, 3, 4), 1.0)
    table[:, 2] = 0
    for i, places in enumerate(drawn_jpegs(tmp_path, "im{:05d}.jpg")):
        table[[9, 2], :2, i], table[[9, 2], 2, i] = places, 1
    table[13, :, 0] = 5, 5, 1  # a head top, which the network does not have
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": table})
    annotations = read_annotations("lsp", tmp_path / "joints.mat")
    got = evaluate(annotations, subject(load(work / f"{name}.pose"), annotations, tmp_path), count=20)
    values = figures(got)
    assert next(iter(values)) == "PCK@0.2 torso"
    assert values["PCK@0.2 torso"] == 100
    assert "AP" not in values
    assert got.bundle.invented is None
    assert "head_top" in got.joints_left_out
    assert [curve.name for curve in got.curves] == ["PDJ"]


def test_mpii(work: Path, tmp_path: Path) -> None:
    """Two people in one picture, of which the network finds one; the heads are 20 pixels long."""
    scipy_io = pytest.importorskip("scipy.io")
    people = []
    for i, places in enumerate(drawn_jpegs(tmp_path, "{}.jpg"), 1):
        joints, visible = np.ones((16, 2)), np.zeros(16)
        joints[[13, 2]], visible[[13, 2]] = places, 1
        entry = {"image": f"{i}.jpg", "center": [64.0, 48.0], "scale": 0.6}
        people.append(entry | {"joints": joints.tolist(), "joints_vis": visible.tolist()})
    stranger = people[0] | {"joints": (np.array(people[0]["joints"]) + 500).tolist()}
    (tmp_path / "valid.json").write_text(json.dumps([*people, stranger]))
    boxes = np.zeros((2, 2, 5))
    boxes[1] = np.array([[20 / 0.6 * 0.6], [20 / 0.6 * 0.8]])
    scipy_io.savemat(tmp_path / "gt_valid.mat", {"headboxes_src": boxes})
    annotations = read_annotations("mpii", tmp_path / "valid.json", head_boxes=tmp_path / "gt_valid.mat")
    got = evaluate(annotations, subject(load(work / "whole.pose"), annotations, tmp_path), count=20)
    values = figures(got)
    assert next(iter(values)) == "PCKh@0.5"
    assert values["PCKh@0.5"] == pytest.approx(80)
    assert got.pck == "PCKh@0.5"
    assert {g.name: g.pck for g in got.groups if g.pck is not None} == {"hip": 80, "shoulder": 80}
    assert values["people found"] == pytest.approx(80)
    assert (got.people, got.bundle.missed, got.bundle.invented) == (5, 1, None)
    assert [curve.name for curve in got.curves] == ["PCKh", "PDJ"]


def hand_made(people: People, **protocol: Any) -> Annotations:
    from msgspec.structs import replace

    from pose_calibration.annotations import Picture, coco

    of = replace(coco.PROTOCOL, **protocol)
    return Annotations(Path("hand.json"), of, COCO, (Picture(1, "1.png", None, people),))


def by_hand(keypoints: np.ndarray) -> Subject:
    from pose_calibration.evaluation import Run
    from pose_runtime.bundle import load_bundle
    from pose_runtime.pipeline import Timings

    poses = Poses(keypoints, np.ones(len(keypoints), np.float32), COCO)
    return Subject(load_bundle("higherhrnet-tiny"), "default", Run({1: poses}, (Timings(),), False))


def test_where_not_everybody_is_annotated_nobody_is_invented(tmp_path: Path) -> None:
    keypoints = np.ones((1, 17, 3))
    keypoints[0, :, :2] = np.arange(34).reshape(17, 2)
    people = make_people(tmp_path, keypoints, COCO)
    strangers = np.concatenate([keypoints, keypoints + np.array([500, 500, 0])]).astype(np.float32)
    got = evaluate(hand_made(people, everybody=False), by_hand(strangers), count=0)
    assert got.bundle.invented is None
    assert got.changed[0].bundle.oks == 1
    assert evaluate(hand_made(people), by_hand(strangers), count=0).bundle.invented == 1


# ---- pictures ---------------------------------------------------------------------------------------------------


def test_unreadable_pictures_are_named_and_left_out(work: Path, tmp_path: Path) -> None:
    path = data_set(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "3.png"), tiny.frame(*PEOPLE[2], size_wh=(64, 48)))
    annotations = read_annotations("coco", path)
    bad: list[str] = []
    found = subject(load(work / "whole.pose"), annotations, tmp_path, on_bad=lambda e: bad.append(str(e)))
    assert list(found.run.poses) == [4]
    assert [text.split(": ")[0][-5:] for text in bad] == ["1.png", "2.png", "3.png"]
    assert "got 64 x 48 pixels, the annotations say 128 x 96" in bad[2]
    got = evaluate(annotations, found, count=10, skipped=bad)
    assert (got.pictures, got.people, len(got.skipped)) == (1, 1, 3)
    with pytest.raises(SourceError, match=r"1\.png: no such file"):
        subject(load(work / "whole.pose"), annotations, tmp_path)
    with pytest.raises(PoseError, match="none of the 4 annotated pictures could be read"):
        subject(load(work / "whole.pose"), annotations, tmp_path / "elsewhere", on_bad=lambda _: None)


def test_people_below_the_least_score_are_left_out(work: Path) -> None:
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    found = subject(load(work / "whole.pose"), annotations, work / "images", min_score=2.0)
    assert all(len(poses) == 0 for poses in found.run.poses.values())


def test_a_graph_that_the_bundle_lacks(work: Path) -> None:
    with pytest.raises(BundleError, match="has no graph tensorrt, only reference"):
        open_graph(load(work / "whole.pose"), "tensorrt")
    with open_graph(load(work / "whole.pose"), "reference") as pipeline:
        assert len(pipeline(tiny.frame(*PEOPLE[0]))) == 1


def test_a_detector_finds_the_people_whatever_the_graph(work: Path, tmp_path: Path) -> None:
    how = msgspec.convert(toy.DETECTOR, Detector)
    both = tiny.write_top_down(tmp_path / "two.pose", how)
    pictures = read_annotations("coco", work / "images" / "annotations.json").pictures
    runs = []
    for role in (None, "reference"):
        with open_graph(both, role) as pipeline:  # type: ignore[arg-type]
            assert isinstance(pipeline, TopDownPipeline)
            runs.append(run(pipeline, pictures, work / "images"))
    assert not runs[0].boxes
    assert any(len(poses) for poses in runs[0].poses.values())
    for one, other in zip(runs[0].poses.values(), runs[1].poses.values(), strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


def test_the_half_precision_graph_is_run_too(work: Path, tmp_path: Path) -> None:
    """TensorRT's graph, typed FP16, by ONNX Runtime, beside the reference."""
    of = load(work / "whole.pose").manifest
    graph = of.graphs["reference"]
    half = type(graph)(
        file="tensorrt.onnx", precision="fp16", int8_mac_share=0.0, calibration=None, accuracy=()
    )  # fmt: skip
    of = tiny.replaced(of, graphs={"reference": graph, "tensorrt": half}, files={})
    files = {"reference.onnx": tiny.make_graph(of), "tensorrt.onnx": tiny.make_graph(of, TensorProto.FLOAT16)}
    files["check/0.png"] = cv2.imencode(".png", tiny.frame((20, 20), None, None))[1].tobytes()
    both = write_bundle(tmp_path / "both.pose", of, files)
    annotations = read_annotations("coco", work / "images" / "annotations.json")
    sides = []
    for role in ("tensorrt", "reference"):
        with open_graph(both, role) as pipeline:  # type: ignore[arg-type]
            sides.append(Subject(both, role, run(pipeline, annotations.pictures, work / "images")))
    got = evaluate(annotations, *sides, count=20)
    assert got.baseline is not None
    assert (got.bundle.graph, got.baseline.graph) == ("tensorrt", "reference")
    assert figures(got)["PCK@0.2 torso"] == 100


def test_a_sample_is_the_seeds(work: Path) -> None:
    pictures = read_annotations("coco", work / "images" / "annotations.json").pictures
    assert sample(pictures, None, 0) == sample(pictures, 99, 0) == pictures
    drawn = {tuple(one.id for one in sample(pictures, 2, seed)) for seed in range(20)}
    assert len(drawn) > 1
    assert all(a < b for a, b in drawn)
    assert sample(pictures, 2, 7) == sample(pictures, 2, 7)


# ---- matching ---------------------------------------------------------------------------------------------------


def test_oks_is_that_of_the_reference(tmp_path: Path) -> None:
    folder = shared("reference", "losses")
    tree = json.loads((folder / "coco_gt.json").read_text())
    tree["images"] = [image | {"file_name": "none.jpg"} for image in tree["images"]]
    (tmp_path / "a.json").write_text(json.dumps(tree))
    annotations = read_annotations("coco", tmp_path / "a.json")
    expected = json.loads((folder / "coco_expected.json").read_text())["oks_per_image"]
    detections = json.loads((folder / "coco_dt.json").read_text())
    compared = 0
    for picture in annotations.pictures:
        of_image = sorted((d for d in detections if d["image_id"] == picture.id), key=lambda d: -d["score"])[:20]
        if of_image and len(picture.people):
            points = np.array([d["keypoints"] for d in of_image]).reshape(-1, 17, 3)
            got = annotation_oks(picture.people, points, COCO.sigmas).T
            np.testing.assert_allclose(got, expected[str(picture.id)], atol=1e-9)
            compared += got.size
    assert compared > 300


def test_greedy_matching_takes_the_nearest_first(tmp_path: Path) -> None:
    keypoints = np.ones((2, 17, 3))
    keypoints[0, :, :2] = np.linspace(0, 100, 34).reshape(17, 2)
    keypoints[1] = keypoints[0] + (20, 0, 0)
    people = make_people(tmp_path, keypoints, COCO)
    found = np.stack([keypoints[0] + (16, 0, 0), keypoints[0] + (300, 0, 0)])
    got = match(people, found, COCO.sigmas)
    assert got.pairs[0] == (1, 0)
    assert got.invented == (1,)


# ---- resampling -------------------------------------------------------------------------------------------------


def test_resamples_draw_as_many_as_there_are() -> None:
    weights = resamples(7, 100, seed=1)
    assert weights.shape == (100, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == resamples(7, 100, seed=1)).all()
    assert (weights != resamples(7, 100, seed=2)).any()
    assert resamples(0, 5, seed=0).shape == (5, 0)


def test_the_interval_of_a_share_is_the_binomials() -> None:
    """50 of 100 pictures right: the interval is about 40 to 60 points."""
    right = np.repeat([1.0, 0.0], 50)[:, None]
    ratio = Ratio(right, np.ones((100, 1)))
    low, high = interval(ratio.values(resamples(100, 4000, seed=0))) or (0, 0)
    assert low == pytest.approx(40, abs=1.1)
    assert high == pytest.approx(60, abs=1.1)


def test_a_ratio_is_the_mean_of_its_columns_and_passes_over_empty_ones() -> None:
    ratio = Ratio(np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([[1.0, 1, 0], [1, 2, 0]]))
    assert ratio.values(np.ones((1, 2)))[0] == pytest.approx((100 + 100 / 3) / 2)
    assert ratio.values(np.array([[1.0, 0.0]]))[0] == 50
    assert np.isnan(ratio.values(np.zeros((1, 2)))[0])
    assert interval(np.array([np.nan])) is None
