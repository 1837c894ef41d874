"""OKS between detections and between pose sets."""

from __future__ import annotations

import numpy as np
import pytest

from pose_runtime.errors import PoseError
from pose_runtime.oks import detection_oks, oks_nms, pose_oks, soft_oks_nms
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton

NAN = np.nan


def skeleton(k=4, sigmas=None):
    names = tuple(f"k{i}" for i in range(k))
    return Skeleton(name="test", names=names, limbs=(), flip_pairs=(), sigmas=(0.1,) * k if sigmas is None else sigmas)


def poses(*people, of=None):
    """Each person: K points (x, y), or None for a missing one."""
    of = of or skeleton()
    keypoints = [[(NAN, NAN, 0) if p is None else (*p, 0.9) for p in person] for person in people]
    shape = (len(people), len(of.names), 3)
    return Poses(np.array(keypoints, np.float32).reshape(shape), np.ones(len(people), np.float32), of)


ONE = ((0, 0), (10, 0), (0, 20), (10, 20))
TWO = ((100, 0), (110, 0), (100, 20), (110, 20))


def shifted(person, dx):
    return tuple(None if p is None else (p[0] + dx, p[1]) for p in person)


@pytest.mark.parametrize(
    ("truth", "found", "want"),
    [
        ([], [], 1.0),
        ([ONE], [], 0.0),
        ([], [ONE], 0.0),
        ([ONE], [ONE], 1.0),
        ([ONE, TWO], [TWO, ONE], 1.0),
        ([ONE, TWO], [ONE], 0.5),
        ([ONE], [ONE, TWO], 0.5),
        ([ONE], [(*ONE[:3], None)], 0.75),
        ([(*ONE[:3], None)], [ONE], 0.75),
        ([(*ONE[:3], None)], [(*ONE[:3], None)], 1.0),
        ([ONE], [shifted(ONE, 2)], np.exp(-4 / (2 * 200 * 0.04))),  # s² = 10 · 20, k = 0.2
        ([ONE, TWO], [shifted(ONE, 1), TWO], (1 + np.exp(-1 / (2 * 200 * 0.04))) / 2),
        ([ONE, ONE], [ONE, ONE], 1.0),
        ([(None,) * 4], [ONE], 0.0),
        ([((5, 5), None, None, None)], [((5, 5), None, None, None)], 1.0),  # no extent: one pixel
    ],
)
def test_pose_oks(truth, found, want):
    np.testing.assert_allclose(pose_oks(poses(*truth), poses(*found)), want, atol=1e-9)


def test_the_scale_is_the_truths():
    big = tuple((4 * x, 4 * y) for x, y in ONE)
    assert pose_oks(poses(big), poses(ONE)) > pose_oks(poses(ONE), poses(big))


def test_infinite_coordinates_are_missing():
    found = poses(ONE)
    found.keypoints[0, 0, 0] = np.inf
    np.testing.assert_allclose(pose_oks(poses(ONE), found), 0.75)


@pytest.mark.parametrize("sigmas", [(), (0.1, 0.1, 0.1, 0.0), (0.1, 0.1, 0.1, NAN), (0.1,) * 5])
def test_skeletons_without_sigmas_are_refused(sigmas):
    one = poses(ONE, of=skeleton(sigmas=sigmas))
    with pytest.raises(PoseError, match="sigmas"):
        pose_oks(one, one)


def test_other_skeletons_are_refused():
    with pytest.raises(PoseError, match="skeletons"):
        pose_oks(poses(ONE), poses((*ONE, (0, 0)), of=skeleton(5)))


def naive_oks(one, other, area, sigmas):
    """As the formula stands."""
    d2 = ((one[:, :2] - other[:, :2]) ** 2).sum(axis=1)
    return np.exp(-d2 / (2 * area * (2 * np.array(sigmas)) ** 2)).mean()


def test_detection_oks_is_the_formula():
    r = np.random.default_rng(0)
    keypoints, areas, sigmas = r.random((5, 4, 3)) * (50, 50, 1), r.random(5) * 900 + 100, (0.05, 0.1, 0.08, 0.02)
    got = detection_oks(keypoints, areas, sigmas)
    for i in range(5):
        for j in range(5):
            want = naive_oks(keypoints[i], keypoints[j], (areas[i] + areas[j]) / 2, sigmas)
            np.testing.assert_allclose(got[i, j], want, rtol=1e-9)
    assert (detection_oks(keypoints, areas, sigmas, min_score=2.0) == 0).all()  # no keypoint counts


def test_nms():
    oks = np.array([[1, 0.5, 0.9], [0.5, 1, 0.1], [0.9, 0.1, 1]])
    assert oks_nms(oks, [0.9, 0.8, 0.7], 0.5).tolist() == [0, 1]  # 0.5 is not above 0.5
    assert oks_nms(oks, [0.9, 0.8, 0.7], 0.49).tolist() == [0]
    assert oks_nms(oks, [0.7, 0.7, 0.7], 1.0).tolist() == [0, 1, 2]  # equal scores in order
    assert soft_oks_nms(oks, [0.9, 0.8, 0.79], 0.5).tolist() == [0, 1, 2]
    assert soft_oks_nms(oks, [0.9, 0.8, 0.79], 0.5, most=2).tolist() == [0, 1]


def test_nobody():
    oks = detection_oks(np.zeros((0, 4, 3)), np.zeros(0), (0.1,) * 4)
    assert oks.shape == (0, 0)
    assert oks_nms(oks, [], 0.5).shape == soft_oks_nms(oks, [], 0.5).shape == (0,)


def test_refuses():
    with pytest.raises(PoseError):
        detection_oks(np.zeros((2, 4)), np.zeros(2), (0.1,) * 4)
    with pytest.raises(PoseError):
        detection_oks(np.zeros((2, 4, 3)), np.zeros(3), (0.1,) * 4)
