"""The judge on a bundled network and a few of the bundled scenes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from pose_calibration.judge import Judge, try_graph
from pose_calibration.pictures import Pictures, bundled_scenes, open_pictures
from pose_calibration.placement import fp16_graph
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import CalibrationError

STAND_IN = "AP against FP32's poses"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("lightweight-tiny")


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return open_pictures(bundled_scenes()[0], count=6)


@pytest.fixture(scope="module")
def judge(bundle: Bundle, pictures: Pictures) -> Judge:
    return Judge(bundle.manifest, bundle.graph_bytes("reference"), pictures, bundled_scenes()[0], threads=1)


def test_fp32_loses_nothing_to_itself(judge: Judge, bundle: Bundle) -> None:
    verdict = judge(bundle.graph_bytes("reference"), "reference")
    assert verdict.loss == 0
    assert verdict.likeness == 1
    assert {record.metric for record in verdict.records} == {"AP", STAND_IN}
    assert judge.noise(bundle.graph_bytes("reference"), "reference") == 0


def test_noise_grows_with_coarseness(judge: Judge, bundle: Bundle) -> None:
    model = onnx.load_model_from_string(bundle.graph_bytes("reference"))
    half = judge.noise(fp16_graph(model).SerializeToString(), "tensorrt")
    assert 0 < half < 1e-3
    assert judge.noise(bundle.graph_bytes("cpu_int8"), "cpu_int8") > 10 * half


def test_a_graph_without_finite_values(judge: Judge, bundle: Bundle) -> None:
    model = onnx.load_model_from_string(bundle.graph_bytes("reference"))
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = np.full(len(weights.raw_data) // 4, np.inf, np.float32).tobytes()
    broken = model.SerializeToString()
    assert try_graph(judge, broken, "reference") is None
    assert judge.noise(broken, "reference") == np.inf


def test_annotations_on_which_fp32_finds_nothing_do_not_decide(
    bundle: Bundle, pictures: Pictures, tmp_path: Path
) -> None:
    tree = json.loads(bundled_scenes()[0].read_text())
    for person in tree["annotations"]:  # everybody elsewhere
        person["keypoints"] = [v if i % 3 == 2 else 319 - v for i, v in enumerate(person["keypoints"])]
    moved = tmp_path / "moved.json"
    moved.write_text(json.dumps(tree))
    reference = bundle.graph_bytes("reference")
    verdict = Judge(bundle.manifest, reference, pictures, moved, threads=1)(reference, "reference")
    assert [record.metric for record in verdict.records] == [STAND_IN, "AP"]


def test_without_annotations_the_poses_of_fp32_decide(bundle: Bundle, pictures: Pictures) -> None:
    told: list[tuple[str, int, int]] = []
    reference = bundle.graph_bytes("reference")
    judge = Judge(
        bundle.manifest,
        reference,
        pictures,
        threads=1,
        progress=lambda what, done, all_: told.append((what, done, all_)),
    )
    assert [record.metric for record in judge(reference, "reference").records] == [STAND_IN]
    assert told[:6] == [("judging reference", i, 6) for i in range(1, 7)]


def test_nobody_anywhere(bundle: Bundle, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for i in range(2):
        blurred = cv2.resize(random.integers(0, 255, (3, 3, 3), dtype=np.uint8), (200, 200))
        cv2.imwrite(str(tmp_path / f"{i}.png"), blurred)
    with pytest.raises(CalibrationError, match=r"FP32 (finds nobody|is sure of nobody)"):
        Judge(bundle.manifest, bundle.graph_bytes("reference"), open_pictures(tmp_path), threads=1)


def test_pictures_in_two_parts() -> None:
    pictures = open_pictures(bundled_scenes()[0], count=30)
    one, other = pictures.split(8)
    assert (len(one), len(other)) == (8, 22)
    assert {*one.names, *other.names} == set(pictures.names)
    assert one.description == f"8 of {pictures.description}"
    a_third, rest = pictures.split(20)
    assert (len(a_third), len(rest)) == (10, 20)
    few = open_pictures(bundled_scenes()[0], count=5)
    assert few.split(4) == (few, few)
