"""Regressed coordinates, single and cascaded."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions import vector as definition
from native_test import native_test
from pose_runtime.decode import VectorDecoder, cascade_boxes, vector
from pose_runtime.errors import DecodeError

MODULE = importlib.import_module("pose_runtime.decode.vector")
NAN = np.nan


@st.composite
def cases(draw):
    n, k = draw(st.integers(1, 4)), draw(st.integers(1, 20))
    r = np.random.default_rng(draw(st.integers(0, 999)))
    values = r.normal(0, 1, (n, k, 2)).astype(np.float32)
    boxes = r.uniform(1, 500, (n, k, 4)).astype(np.float32)
    for array in (values, boxes):
        if draw(st.booleans()):
            array.flat[r.integers(array.size, size=3)] = (NAN, np.inf, -np.inf)
    return values, boxes, draw(st.sampled_from(("centre", "corner")))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_equals_definition(case):
    values, boxes, origin = case
    with np.errstate(invalid="ignore"):
        want = definition.vector(values, boxes, origin)
    got = vector(values, boxes, origin=origin)
    np.testing.assert_array_equal(got, want)
    torso = (0, values.shape[1] - 1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            cascade_boxes(want, torso=torso, sigma=1.7), definition.cascade_boxes(want, torso, 1.7)
        )


@settings(max_examples=30, deadline=None)
@given(cases())
def test_lanes_do_not_matter(case):
    values, boxes, origin = case
    results = []
    for native in (MODULE.native, native_test()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODULE, "native", native)
            keypoints = vector(values, boxes, origin=origin)
            results.append((keypoints, cascade_boxes(keypoints, torso=(0, 0), sigma=2.0)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_origins():
    box = [[110.0, 70.0, 20.0, 40.0]]
    np.testing.assert_array_equal(vector([[(0, 0), (0.5, -0.5)]], box, origin="centre"), [[(110, 70, 1), (120, 50, 1)]])
    np.testing.assert_array_equal(vector([[(0, 0), (1, 0.5)]], box, origin="corner"), [[(100, 50, 1), (120, 70, 1)]])


def test_a_cascade_keeps_missing_joints_missing():
    pose = np.array([[(10, 10, 1), (NAN, NAN, 0), (13, 14, 1)]], np.float32)
    boxes = cascade_boxes(pose, torso=(0, 2), sigma=2.0)
    np.testing.assert_array_equal(boxes[0, 0], (10, 10, 10, 10))
    np.testing.assert_array_equal(
        vector(np.full((1, 3, 2), 0.1), boxes, origin="centre"), [[(11, 11, 1), (NAN, NAN, 0), (14, 15, 1)]]
    )
    assert np.isnan(cascade_boxes(pose, torso=(0, 1), sigma=2.0)[..., 2:]).all()


@pytest.mark.parametrize(
    ("grid", "first", "last"),
    [("corner", (0, 0), (64, 48)), ("centre", (-0.5, -0.5), (63.5, 47.5)), ("aligned", (0, 0), (63, 47))],
)
@pytest.mark.parametrize(("origin", "low"), [("corner", 0.0), ("centre", -0.5)])
def test_decoder(grid, first, last, origin, low):
    decoder = VectorDecoder(origin=origin, grid=grid)
    values = np.array([low, low, low + 1, low + 1, NAN, 0], np.float32)
    keypoints, scores = decoder({"vector": [values]}, (64, 48))
    np.testing.assert_array_equal(keypoints, [[(*first, 1), (*last, 1), (NAN, NAN, 0)]])
    np.testing.assert_array_equal(scores, [1])
    nobody = decoder({"vector": [values * NAN]}, (64, 48))
    assert nobody.keypoints.shape == (0, 3, 3)
    assert nobody.scores.shape == (0,)


def test_refuses():
    decoder = VectorDecoder(origin="centre", grid="corner")
    for values in (np.zeros(0, np.float32), np.zeros(3, np.float32)):
        with pytest.raises(DecodeError):
            decoder({"vector": [values]}, (64, 48))
    with pytest.raises(DecodeError):
        vector(np.zeros((1, 2, 2)), np.zeros((2, 4)), origin="centre")
    with pytest.raises(DecodeError):
        vector(np.zeros((1, 2, 2)), np.zeros((1, 4)), origin="middle")
    for torso, sigma in (((0, 2), 1.0), ((-1, 0), 1.0), ((0, 1), 0.0), ((0, 1), NAN)):
        with pytest.raises(DecodeError):
            cascade_boxes(np.zeros((1, 2, 3)), torso=torso, sigma=sigma)


def test_decoder_takes_a_row_of_values_only() -> None:
    decoder = VectorDecoder(origin="corner", grid="corner")
    with pytest.raises(DecodeError, match=r"got shape \(2, 3\), wanted \(2K,\)"):
        decoder({"vector": [np.zeros((2, 3), np.float32)]}, (8, 8))
