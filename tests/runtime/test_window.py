"""Fine maps in windows around coarse peaks."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions import window as definition
from native_test import native_test
from pose_runtime.decode import WindowDecoder, window
from pose_runtime.errors import DecodeError

MODULE = importlib.import_module("pose_runtime.decode.window")
NAN = np.nan


@st.composite
def cases(draw):
    n, k = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    h, w = draw(st.sampled_from([(36, 36), (1, 1), (5, 9), (17, 3)]))
    r = np.random.default_rng(draw(st.integers(0, 999)))
    fine = r.normal(0, 1, (n, k, h, w)).round(1).astype(np.float32)  # equal peaks are common
    windows = r.integers(-16, 300, (n, k, 2)).astype(np.float32)
    for array in (fine, windows):
        if draw(st.booleans()):
            array.flat[r.integers(array.size, size=3)] = (NAN, np.inf, -np.inf)
    if draw(st.booleans()):
        fine[0, 0] = -1
    return fine, windows, draw(st.sampled_from((1.0, 0.5, 4.0)))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_equals_definition(case):
    fine, windows, stride = case
    np.testing.assert_array_equal(window(fine, windows, stride=stride), definition.window(fine, windows, stride))


@settings(max_examples=30, deadline=None)
@given(cases())
def test_lanes_do_not_matter(case):
    fine, windows, stride = case
    results = []
    for native in (MODULE.native, native_test()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODULE, "native", native)
            results.append(window(fine, windows, stride=stride))
    np.testing.assert_array_equal(*results)


def test_coarse_place_plus_offset_from_the_windows_middle():
    """In the paper's words; coarse pixel (20, 9) has its middle at input pixel (81.5, 37.5), and so has its window."""
    fine = np.zeros((1, 1, 36, 36), np.float32)
    fine[0, 0, 30, 5] = 0.8
    got = window(fine, [[(4 * 20 - 16, 4 * 9 - 16)]])
    offset = np.array((5, 30)) - 17.5
    np.testing.assert_array_equal(got[0, 0], [*(np.array((81.5, 37.5)) + offset), np.float32(0.8)])


def test_decoder():
    fine = np.zeros((3, 4, 4), np.float32)
    fine[0, 1, 2], fine[2, 3, 0] = 0.9, 0.1
    outputs = {"fine": [fine], "windows": [np.array([10, 20, 30, 40, -8, 60], np.float32)]}
    keypoints, scores = WindowDecoder(stride=1.0, min_score=0.05)(outputs, (64, 64))
    np.testing.assert_array_equal(keypoints[0], np.array([(12, 21, 0.9), (NAN, NAN, 0), (-8, 63, 0.1)], np.float32))
    np.testing.assert_allclose(scores, [0.5])
    keypoints, scores = WindowDecoder(stride=2.0, min_score=0.2)(outputs, (64, 64))
    np.testing.assert_array_equal(keypoints[0, :, 2], np.array([0.9, 0, 0], np.float32))
    np.testing.assert_array_equal(keypoints[0, 0, :2], (14, 22))
    keypoints, scores = WindowDecoder(stride=1.0, min_score=0.9)(outputs, (64, 64))
    assert (keypoints.shape, scores.shape) == ((0, 3, 3), (0,))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"fine": [np.zeros((2, 3, 3), np.float32)]}, "got 0 of role 'windows'"),
        ({"fine": [np.zeros((2, 3, 3), np.float32)], "windows": [np.zeros(3, np.float32)]}, r"wanted \(2K,\)"),
        ({"fine": [np.zeros((2, 3), np.float32)], "windows": [np.zeros(4, np.float32)]}, r"\(K, h, w\)"),
    ],
)
def test_refuses_outputs(outputs, message):
    with pytest.raises(DecodeError, match=message):
        WindowDecoder(stride=1.0, min_score=0.0)(outputs, (8, 8))


@pytest.mark.parametrize("stride", [0, -1, NAN, np.inf])
def test_refuses_strides(stride):
    with pytest.raises(DecodeError, match="stride"):
        window(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2)), stride=stride)
