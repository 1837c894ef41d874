"""Hough voting: equal to its definition, the same on any number of lanes, safe on any input."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions import offset as definition
from native_test import native_test
from pose_runtime.decode import OffsetDecoder, offset
from pose_runtime.errors import DecodeError

MODULE = importlib.import_module("pose_runtime.decode.offset")
NAN, INF = np.nan, np.inf


@st.composite
def cases(draw):
    k, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    r = np.random.default_rng(draw(st.integers(0, 999)))
    heat = r.random((k, height, width), np.float32) * draw(st.sampled_from((0.0, 1e-12, 1.0, 1.5)))
    vectors = r.normal(0, draw(st.sampled_from((0.0, 0.4, 3.0, 1e9))), (k, 2, height, width)).astype(np.float32)
    if draw(st.booleans()):
        vectors = np.round(vectors)
    for array in (heat, vectors):
        if draw(st.booleans()):
            array.flat[r.integers(array.size, size=3)] = (NAN, INF, -INF)
    return heat, vectors, draw(st.floats(0.5, 30))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_equals_definition(case):
    heat, vectors, radius = case
    fused = np.empty(heat.shape, np.float32)
    keypoints, scores = offset(heat, vectors, radius=radius, logits=False, fused=fused)
    want = definition.offset(heat, vectors, radius)
    np.testing.assert_array_equal(fused, want)
    flat = want.reshape(len(want), -1)
    for (x, y, score), votes in zip(keypoints[0], flat, strict=True):
        assert score == votes.max()
        if score > 0:
            assert y * heat.shape[2] + x == votes.argmax()
        else:
            assert np.isnan([x, y]).all()
    np.testing.assert_allclose(scores, flat.max(axis=1).mean(), rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_lanes_do_not_matter(case):
    heat, vectors, radius = case
    results = []
    for native in (MODULE.native, native_test()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODULE, "native", native)
            fused = np.empty(heat.shape, np.float32)
            results.append((*offset(heat, vectors, radius=radius, logits=True, fused=fused), fused))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_perfect_maps_vote_for_the_joint():
    y, x = np.mgrid[:41, :33]
    joint = (12.0, 20.0)
    heat = (np.hypot(x - joint[0], y - joint[1]) <= 6).astype(np.float32)
    keypoints, scores = offset(heat[None], np.stack([joint[0] - x, joint[1] - y])[None], radius=6, logits=False)
    np.testing.assert_array_equal(keypoints[0, 0, :2], joint)
    np.testing.assert_allclose(scores[0], heat.sum() / (np.pi * 36), rtol=1e-6)


def test_logits_are_probabilities():
    r = np.random.default_rng(3)
    logits, vectors = r.normal(0, 3, (2, 9, 7)), r.normal(0, 2, (2, 2, 9, 7))
    one = offset(logits, vectors, radius=3, logits=True)
    other = offset(1 / (1 + np.exp(-logits)), vectors, radius=3, logits=False)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-5)


def test_votes_off_the_map_are_dropped():
    keypoints, scores = offset(np.ones((1, 4, 4)), np.full((1, 2, 4, 4), -9.0), radius=2, logits=False)
    assert np.isnan(keypoints[0, 0, :2]).all()
    assert scores[0] == 0


@pytest.mark.parametrize(
    ("heat", "vectors", "more"),
    [
        (np.ones((4, 4)), np.ones((1, 2, 4, 4)), {}),
        (np.ones((1, 4, 4)), np.ones((2, 4, 4)), {}),
        (np.ones((1, 4, 4)), np.ones((1, 2, 4, 5)), {}),
        (np.ones((1, 0, 4)), np.ones((1, 2, 0, 4)), {}),
        (np.ones((1, 4, 4)), np.ones((1, 2, 4, 4)), {"radius": 0}),
        (np.ones((1, 4, 4)), np.ones((1, 2, 4, 4)), {"radius": NAN}),
        (np.ones((1, 4, 4)), np.ones((1, 2, 4, 4)), {"fused": np.ones((1, 4, 4))}),
        (np.broadcast_to(np.float32(0), (1, 2049, 2048)), np.ones((1, 2, 1, 1)), {}),
    ],
)
def test_refuses(heat, vectors, more):
    with pytest.raises(DecodeError):
        offset(heat, vectors, logits=False, **({"radius": 2.0} | more))


def test_decoder():
    decoder = OffsetDecoder(radius=1.0, logits=False, min_score=0.1, grid="corner")
    heat, vectors = np.zeros((2, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32)
    heat[0, 1, 2] = 1
    keypoints, scores = decoder({"heatmaps": [heat], "offsets": [vectors]}, (32, 16))
    np.testing.assert_allclose(keypoints, [[(16, 4, 1 / np.pi), (NAN, NAN, 0)]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.5 / np.pi], rtol=1e-6)
    nobody = decoder({"heatmaps": [0 * heat], "offsets": [vectors]}, (32, 16))
    assert nobody.keypoints.shape == (0, 2, 3)
    assert nobody.scores.shape == (0,)
    with pytest.raises(DecodeError, match="offsets"):
        decoder({"heatmaps": [heat], "offsets": [vectors[:2]]}, (32, 16))
