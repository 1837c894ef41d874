"""Followers and smoothers on crowds with known identities: what each part must gain; bench.following has the tables."""

from functools import cache

import pytest

pytest.importorskip("trackeval")

from crowd import Crowd
from followed import COCO, GreedyBoxes, Seen, detect, judge, mean, steadiness
from pose_runtime.tracking import Smoother, Tracker, TrackOptions


@cache
def truths(seed):
    return tuple(Crowd(seed, 8, 8.0))


@cache
def clips(every, drops=0.05):
    return tuple(detect(truths(seed), seed, every=every, drops=drops) for seed in (50, 51))


@cache
def verdict(every, how):
    make = {
        "boxes": GreedyBoxes,
        "still": lambda: Tracker(COCO, TrackOptions(coast_s=0)),
        "tracker": lambda: Tracker(COCO),
    }[how]
    return mean([judge(clip, make()) for clip in clips(every)])


@pytest.mark.parametrize("every", [1, 3])
def test_the_tracker_beats_boxes(every):
    ours, boxes = verdict(every, "tracker"), verdict(every, "boxes")
    assert ours.hota > boxes.hota + 0.1
    assert ours.idf1 > boxes.idf1 + 0.2
    assert ours.switches < boxes.switches / 4


def test_motion_pays():
    assert verdict(1, "tracker").hota > verdict(1, "still").hota - 0.01  # every frame: nobody gets far in between
    ours, still = verdict(3, "tracker"), verdict(3, "still")
    assert ours.hota > still.hota + 0.03
    assert ours.switches < still.switches / 1.5


def test_perfect_detections_are_followed_perfectly():
    """Everybody is found exactly, hidden or not: only who leaves the picture for long may get a second id."""
    frames = []
    for seen in clips(1, 0.0)[0]:
        truth = seen.truth
        keypoints = truth.keypoints[truth.told].copy()
        keypoints[..., 2] = 1
        poses = type(seen.poses)(keypoints, keypoints[:, 0, 2], COCO)
        frames.append(Seen(seen.time_s, truth, poses, seen.rows))
    found = judge(frames, Tracker(COCO))
    assert found.hota > 0.9
    assert found.switches <= 2


@pytest.mark.parametrize(("every", "calmer", "lag_ms"), [(1, 0.45, 30), (3, 0.65, 40)])
def test_smoothing_takes_the_tremble_and_little_time(every, calmer, lag_ms):
    for clip in clips(every, 0.0):
        raw, smooth = steadiness(clip, lambda poses, _: poses), steadiness(clip, Smoother(COCO))
        assert smooth.still_px < calmer * raw.still_px
        assert smooth.moving_px < (calmer + 0.1) * raw.moving_px
        assert smooth.error_px < 0.95 * raw.error_px
        assert raw.lag_ms < 10
        assert smooth.lag_ms < lag_ms
