"""The One-Euro filter: what it takes away, what it leaves, and whom it remembers."""

import msgspec
import numpy as np
import pytest

from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from pose_runtime.tracking import Smoother, SmoothOptions
from pose_runtime.tracking.smoother import MEMORY_S

COCO = SKELETONS["coco17"]
FPS = 25
SHAPE = np.random.default_rng(5).uniform(0, 1, (17, 2)) * (80, 200)


def poses(*people, ids=None):
    """People of (17, 2) x, y and score 1, or of (17, 3)."""
    keypoints = np.zeros((len(people), 17, 3), np.float32)
    keypoints[..., 2] = 1
    for one, given in zip(keypoints, people, strict=True):
        one[:, : given.shape[1]] = given
    chosen = np.arange(1, len(people) + 1) if ids is None else np.array(ids, np.int64)
    return Poses(keypoints, np.ones(len(people), np.float32), COCO, chosen)


def run(smoother, tracks, fps=FPS):
    """Smoothed x, y (frames, 17, 2) of one person's positions in each frame."""
    return np.stack([smoother(poses(xy), i / fps).keypoints[0, :, :2] for i, xy in enumerate(tracks)])


def one_euro(x, step_s, size, options):
    """The filter of one coordinate written out as in the paper."""

    def alpha(cutoff):
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / step_s)

    filtered, speed, out = x[0], 0.0, [x[0]]
    for value in x[1:]:
        a = alpha(options.speed_cutoff_hz)
        speed = a * (value - filtered) / step_s + (1 - a) * speed
        a = alpha(options.min_cutoff_hz + options.beta * abs(speed) / size)
        filtered = a * value + (1 - a) * filtered
        out.append(filtered)
    return np.array(out)


def test_it_is_the_filter_of_the_paper():
    rng, options = np.random.default_rng(0), SmoothOptions()
    moves = SHAPE + rng.normal(0, 3, (100, 1, 2)).cumsum(axis=0)  # all keypoints alike, so that the size stays
    size = np.sqrt(np.ptp(SHAPE, axis=0).prod())
    found = run(Smoother(COCO, options), moves)
    for k in range(17):
        for c in range(2):
            np.testing.assert_allclose(found[:, k, c], one_euro(moves[:, k, c], 1 / FPS, size, options), rtol=1e-4)


def test_who_stands_trembles_less():
    noisy = SHAPE + np.random.default_rng(0).normal(0, 2, (200, 17, 2))
    smooth = run(Smoother(COCO), noisy)
    assert smooth[50:].std(axis=0).mean() < 0.5 * noisy[50:].std(axis=0).mean()
    assert np.abs(smooth[50:].mean(axis=0) - SHAPE).max() < 1


def test_who_moves_fast_lags_little():
    steps = np.arange(60)[:, None, None] * np.array([20.0, 0])  # 500 pixels a second, 4 body sizes
    smooth = run(Smoother(COCO), SHAPE + steps)
    lag_ms = (SHAPE + steps - smooth)[40:, :, 0].mean() / 500 * 1e3
    assert 0 < lag_ms < 40


def test_near_and_far_people_are_treated_alike():
    moves = SHAPE + np.random.default_rng(0).normal(0, 3, (100, 17, 2))
    near, far = run(Smoother(COCO), moves * 4), run(Smoother(COCO), moves)
    np.testing.assert_allclose(near, 4 * far, rtol=1e-4)


def test_the_step_is_the_real_one():
    """Every second frame dropped: who stands is where the frames that came say, at the same cut-off."""
    smoother, line = Smoother(COCO, SmoothOptions(beta=0)), SHAPE + np.zeros((1, 1, 2))
    slow = Smoother(COCO, SmoothOptions(beta=0))
    for s, fps in ((smoother, 50), (slow, 25)):
        s(poses(line[0]), 0.0)
        for i in range(1, fps // 5 + 1):  # a jump of 10 pixels, then 0.2 s
            moved = s(poses(line[0] + 10), i / fps)
        s.reached = float((moved.keypoints[0, :, :2] - line[0]).mean())
    assert smoother.reached == pytest.approx(slow.reached, rel=0.06)


def test_weak_keypoints_are_smoothed_more():
    noisy = np.concatenate([SHAPE + np.random.default_rng(0).normal(0, 2, (200, 17, 2)), np.ones((200, 17, 1))], -1)
    noisy[:, 3:9, 2] = 0.1
    smoother = Smoother(COCO)
    smooth = np.stack([smoother(poses(frame), i / FPS).keypoints[0] for i, frame in enumerate(noisy)])
    spread = smooth[100:, :, :2].std(axis=0).mean(axis=-1)
    assert spread[3:9].max() < 0.5 * spread[9:].min()
    np.testing.assert_array_equal(smooth[..., 2], noisy[..., 2].astype(np.float32))


def test_missing_keypoints_stay_missing_and_start_afresh_after_a_gap():
    smoother, gap_s = Smoother(COCO, SmoothOptions(gap_s=0.3)), 0.3
    gone = np.concatenate([SHAPE, np.ones((17, 1))], axis=1)
    gone[4] = (np.nan, np.nan, 0)
    smoother(poses(SHAPE), 0.0)
    for i in range(1, 5):
        found = smoother(poses(gone), i / FPS)
        assert np.isnan(found.keypoints[0, 4, :2]).all()
        assert found.keypoints[0, 4, 2] == 0
    short = smoother(poses(SHAPE + 50), 0.2).keypoints[0, 4, :2]
    assert (np.abs(short - SHAPE[4] - 50) > 1).all()
    for i in range(10):
        smoother(poses(gone), 0.24 + i / FPS)
    long = smoother(poses(SHAPE - 50), 0.24 + 10 / FPS).keypoints[0, 4, :2]
    assert gap_s < 10 / FPS
    np.testing.assert_allclose(long, SHAPE[4] - 50, rtol=1e-6)


def test_it_follows_ids_not_places():
    smoother, mixed = Smoother(COCO), Smoother(COCO)
    rng = np.random.default_rng(0)
    for i in range(50):
        people = [SHAPE + 300 * n + rng.normal(0, 2, (17, 2)) for n in range(3)]
        order = rng.permutation(3)
        straight = smoother(poses(*people, ids=[7, 8, 9]), i / FPS)
        turned = mixed(poses(*(people[n] for n in order), ids=order + 7), i / FPS)
        assert turned.ids.tolist() == (order + 7).tolist()
        np.testing.assert_array_equal(turned.keypoints, straight.keypoints[order])


def test_lost_people_are_forgotten():
    smoother = Smoother(COCO)
    for i in range(2000):
        smoother(poses(SHAPE, SHAPE + 300, ids=[i, i + 100_000]), i / FPS)
    assert len(smoother) <= 2 * (MEMORY_S * FPS + 1)
    assert len(smoother._memory) <= 512
    smoother(poses(), 1e6)
    assert len(smoother) == 0
    fresh = smoother(poses(SHAPE + 77, ids=[1]), 1e6 + 0.04)
    np.testing.assert_allclose(fresh.keypoints[0, :, :2], SHAPE + 77, rtol=1e-6)


@pytest.mark.parametrize("times", [[5.0] * 100, [100 - i / FPS for i in range(100)], [float("nan")] * 100])
def test_a_bad_clock_does_not_freeze_anybody(times):
    smoother = Smoother(COCO)
    for i, time_s in enumerate(times):
        found = smoother(poses(SHAPE + 2 * i), time_s)
    assert np.abs(found.keypoints[0, :, :2] - SHAPE - 2 * 99).max() < 20


def test_huge_coordinates_stay_finite_or_missing():
    smoother = Smoother(COCO)
    for i, scale in enumerate([1, 1e36, -1e36, 1, 0]):
        found = smoother(poses(SHAPE * scale), i / FPS)
        assert np.isfinite(found.keypoints).all()
    infinite = np.concatenate([SHAPE, np.ones((17, 1))], axis=1)
    infinite[0, 0] = np.inf
    assert np.isnan(smoother(poses(infinite), 1.0).keypoints[0, 0, :2]).all()


def test_nobody():
    found = Smoother(COCO)(poses(), 0.0)
    assert len(found) == 0
    assert found.ids.shape == (0,)


def test_poses_that_do_not_fit_are_refused():
    with pytest.raises(PoseError, match="wanted 'mpii16'"):
        Smoother(SKELETONS["mpii16"])(poses(), 0.0)
    with pytest.raises(PoseError, match="without ids"):
        Smoother(COCO)(Poses.empty(COCO), 0.0)


@pytest.mark.parametrize("bad", [b'{"min_cutoff_hz": 0}', b'{"beta": -1}', b'{"gap_s": 100}', b'{"cutoff": 1}'])
def test_options_out_of_bounds_are_refused(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(bad, type=SmoothOptions)
