"""Ids over time: what the tracker must do with people who cross, leave and come back, and with bad clocks."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS
from pose_runtime.tracking import Tracker, TrackOptions
from pose_runtime.tracking.tracker import MOST_TRACKS, assign

COCO = SKELETONS["coco17"]
FPS = 25
# x, y of somebody who stands, in heights
_UP = [0.07, 0.05, 0.05, 0.06, 0.06, 0.18, 0.18, 0.34, 0.34, 0.48, 0.48, 0.5, 0.5, 0.73, 0.73, 0.95, 0.95]
_SIDE = [0, 0.02, -0.02, 0.04, -0.04, 0.11, -0.11, 0.14, -0.14, 0.15, -0.15, 0.08, -0.08, 0.09, -0.09, 0.1, -0.1]
BODY = np.stack([_SIDE, _UP], axis=1)


def person(x, y=100.0, tall=200.0, score=0.9):
    return np.concatenate([BODY * tall + (x, y), np.full((17, 1), score)], axis=1).astype(np.float32)


def poses(*people):
    keypoints = np.stack(people) if people else np.zeros((0, 17, 3), np.float32)
    return Poses(keypoints, np.ones(len(people), np.float32), COCO)


def tracker(**options):
    return Tracker(COCO, TrackOptions(**{"min_hits": 1} | options))


def follow(track, frames, fps=FPS, start_s=0.0):
    """Ids of each frame, from lists of people."""
    return [track(poses(*people), start_s + i / fps).ids.tolist() for i, people in enumerate(frames)]


def test_everybody_keeps_their_id_whatever_the_order():
    rng = np.random.default_rng(0)
    track, who_had = tracker(), {}
    for i in range(100):
        order = rng.permutation(5)
        found = track(poses(*(person(100 + 150 * n + 2 * i) for n in order)), i / FPS)
        assert found.ids.dtype == np.int64
        for n, one in zip(order, found.ids, strict=True):
            assert who_had.setdefault(n, one) == one
    assert sorted(who_had.values()) == [1, 2, 3, 4, 5]


def test_two_who_cross_keep_their_ids():
    """At 8 pixels a frame they stand in the same place for a moment; where they are going tells them apart."""
    crossing = [[person(100 + 8 * i), person(500 - 8 * i, y=104)] for i in range(50)]
    assert follow(tracker(), crossing) == [[1, 2]] * 50


def test_who_is_hidden_while_crossing_is_found_again():
    frames = [[person(100 + 8 * i), person(500 - 8 * i, y=104)] for i in range(50)]
    for i in range(22, 29):
        del frames[i][1]
    ids = follow(tracker(), frames)
    assert ids[:22] == [[1, 2]] * 22
    assert ids[22:29] == [[1]] * 7
    assert ids[29:] == [[1, 2]] * 21


def test_who_comes_back_in_time_keeps_the_id_and_later_gets_a_new_one():
    for away_s, wanted in ((1.5, 1), (3.0, 2)):
        track = tracker(memory_s=2.0)
        follow(track, [[person(300)]] * 10)
        follow(track, [[]] * round(away_s * FPS - 1), start_s=10 / FPS)
        assert track(poses(person(305)), 9 / FPS + away_s).ids.tolist() == [wanted]


def test_ids_are_never_used_twice():
    track, seen = tracker(memory_s=0.1), set()
    for i in range(200):
        ids = track(poses(person(100)) if i % 10 == 0 else poses(), i / FPS).ids.tolist()
        assert not seen & set(ids)
        seen.update(ids)
    assert seen == set(range(1, 21))


def test_somebody_new_has_an_id_after_so_many_frames_and_a_ghost_none():
    track = tracker(min_hits=3)
    ids = follow(track, [[person(100)], [person(100), person(400)], [person(100)], [person(100)], [person(100)]])
    assert ids == [[], [], [1], [1], [1]]


def test_a_doubtful_person_continues_a_track_but_starts_none():
    track = tracker(clear_score=0.3)
    assert follow(track, [[person(100, score=0.2)]] * 3) == [[]] * 3
    assert follow(track, [[person(100)]], start_s=1) == [[1]]
    assert follow(track, [[person(104, score=0.2)]], start_s=1.04) == [[1]]


def test_clear_people_choose_first():
    """The doubtful one lies nearer to the track, but the clear one may be it too."""
    track = tracker(clear_score=0.3)
    follow(track, [[person(100)]] * 5)
    found = track(poses(person(100, score=0.2), person(106)), 5 / FPS)
    assert found.ids.tolist() == [1]
    assert found.keypoints[0, 0, 2] == np.float32(0.9)


def test_the_best_for_all_is_better_than_the_best_for_one():
    """The second of two takes the first one's nearest track from it only if both are then nearer together."""
    track = tracker(coast_s=0, tolerance=3)
    assert follow(track, [[person(100), person(130)]]) == [[1, 2]]
    assert track(poses(person(129), person(158)), 1 / FPS).ids.tolist() == [1, 2]


def test_nobody():
    track = tracker()
    found = track(poses(), 0.0)
    assert len(found) == 0
    assert found.ids.shape == (0,)
    assert found.ids.dtype == np.int64
    assert found.to_dict() == {"people": []}


def test_the_result_says_who_it_is():
    found = tracker()(poses(person(100)), 0.0)
    assert found.to_dict()["people"][0]["id"] == 1
    np.testing.assert_array_equal(found.keypoints, poses(person(100)).keypoints)


def test_missing_keypoints_do_not_count():
    """Hidden below the waist, then above it: what was seen before moves along and is known again."""
    whole = [person(100 + 4 * i) for i in range(60)]
    for i, one in enumerate(whole):
        if 10 <= i < 30:
            one[11:] = (np.nan, np.nan, 0)
        elif i >= 30:
            one[:11] = (np.nan, np.nan, 0)
    assert follow(tracker(), [[one] for one in whole]) == [[1]] * 60


def test_somebody_of_few_keypoints_is_followed():
    head = [person(100 + 2 * i) for i in range(20)]
    for one in head:
        one[3:] = (np.nan, np.nan, 0)
    assert follow(tracker(), [[one] for one in head]) == [[1]] * 20


def test_somebody_without_any_keypoint_is_nobody():
    none = np.full((17, 3), (np.nan, np.nan, 0), np.float32)
    assert follow(tracker(clear_score=0), [[none, person(100)]] * 3) == [[1]] * 3


def test_dropped_frames_do_not_lose_anybody():
    rng = np.random.default_rng(0)
    track, ids = tracker(), []
    for i in range(200):
        if rng.random() < 0.6:
            continue
        ids.append(track(poses(person(100 + 4 * i), person(100 + 4 * i, y=330)), i / FPS).ids.tolist())
    assert ids == [[1, 2]] * len(ids)


@pytest.mark.parametrize("jump_s", [-1e9, -5.0, 0.0, float("nan"), float("inf"), 0.5])
def test_a_clock_that_jumps_loses_nobody(jump_s):
    track = tracker()
    before = follow(track, [[person(100 + 3 * i)] for i in range(20)], start_s=1000)
    time_s = 1000 + 19 / FPS + jump_s
    after = [track(poses(person(160 + 3 * i)), time_s + i / FPS).ids.tolist() for i in range(20)]
    assert before + after == [[1]] * 40


def test_a_clock_that_stands_still_loses_nobody():
    track = tracker()
    assert [track(poses(person(100 + 3 * i)), 5.0).ids.tolist() for i in range(50)] == [[1]] * 50


def test_a_clock_set_forward_is_a_long_absence():
    track = tracker()
    follow(track, [[person(100)]] * 5)
    assert track(poses(person(100)), 1e300).ids.tolist() == [2]
    assert track(poses(person(100)), 1e300).ids.tolist() == [2]


def test_identical_poses_get_an_id_each():
    ids = follow(tracker(), [[person(100)] * 4] * 20)
    assert ids == [[1, 2, 3, 4]] * 20


def test_huge_coordinates_are_no_trouble():
    far = person(100)
    far[:, :2] *= 1e35
    infinite = person(100)
    infinite[3, 0] = np.inf
    ids = follow(tracker(), [[far, infinite, person(100)], [person(100), far, -far], [far, person(100)]] * 5)
    for frame in ids:
        assert len(set(frame)) == len(frame)


def random_people(rng, most=12):
    n = rng.integers(0, most)
    people = rng.normal(0, 40, (n, 17, 3)) + rng.uniform(0, 4000, (n, 1, 3))
    people[..., 2] = rng.uniform(0, 1, people.shape[:2])
    people[rng.random(people.shape[:2]) < 0.3] = (np.nan, np.nan, 0)
    return people.astype(np.float32)


def test_a_thousand_frames_of_anything():
    rng = np.random.default_rng(1)
    track, last = Tracker(COCO, TrackOptions(min_hits=1, memory_s=60.0, clear_score=0.0)), 0
    for i in range(1000):
        found = track(poses(*random_people(rng)), i / FPS)
        ids = found.ids.tolist()
        assert len(set(ids)) == len(ids)
        assert all(one >= 1 for one in ids)
        last = max([last, *ids])
        assert len(track) <= MOST_TRACKS
    assert last > MOST_TRACKS  # the bound was reached


def test_the_same_frames_give_the_same_ids():
    def run():
        rng, track = np.random.default_rng(2), Tracker(COCO)
        return [track(poses(*random_people(rng)), i / FPS).ids.tolist() for i in range(200)]

    assert run() == run()


def test_poses_of_another_skeleton_are_refused():
    with pytest.raises(PoseError, match="'coco17', wanted 'mpii16'"):
        Tracker(SKELETONS["mpii16"])(poses(), 0.0)


@pytest.mark.parametrize("name", sorted(SKELETONS))
def test_every_skeleton_is_followed(name):
    skeleton = SKELETONS[name]
    keypoints = np.random.default_rng(0).uniform(0, 100, (2, len(skeleton.names), 3)).astype(np.float32)
    keypoints[1] += 500
    track = Tracker(skeleton)
    for i in range(5):
        found = track(Poses(keypoints + np.float32(i), np.ones(2, np.float32), skeleton), i / FPS)
    assert found.ids.tolist() == [1, 2]


@pytest.mark.parametrize("bad", [b'{"memory_s": 0}', b'{"min_oks": 0}', b'{"min_hits": 0}', b'{"speed": 1}'])
def test_options_out_of_bounds_are_refused(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(bad, type=TrackOptions)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_assignment_is_optimal(rows, columns, seed, ties):
    values = np.random.default_rng(seed).random((rows, columns))
    if ties:
        values = np.round(values * 4) / 4
    column_of = assign(values, 0.3)
    found = np.flatnonzero(column_of >= 0)
    pairs = values[found, column_of[found]]
    assert len(set(column_of[found].tolist())) == len(found)
    assert (pairs >= 0.3).all()
    gains = np.where(values >= 0.3, values, 0)
    assert pairs.sum() == pytest.approx(gains[linear_sum_assignment(-gains)].sum())
