"""Reading recorded motion: a small file of our own, whole and damaged."""

from dataclasses import replace

import numpy as np
import pytest

from pose_export.synthetic import motion, rotations
from pose_export.synthetic.rig import SEGMENTS
from pose_runtime.errors import ExportError

NAMES = ["cmu_salsa_01", "simple_walking_1", "authored_sit_chair"]


@pytest.fixture
def folder(tmp_path):
    """Three clips of ten poses; in the walking one a jump of 30 cm in frames 4 and 5, and a turn of 90 degrees."""
    count = 30
    identity = np.tile(np.array([32767, 0, 0, 0], np.int16), (count, len(SEGMENTS), 1))
    turn = rotations.about((0, 1, 0), np.radians(np.arange(10) * 10.0))
    identity[10:20] = np.round(turn * 32767)[:, None].astype(np.int16)
    roots = np.zeros((count, 3), np.float32)
    roots[:, 1] = 0.9
    roots[14:16, 1] = 1.2
    roots[10:20, 0] = np.arange(10) * 0.1
    roots[20:] = np.nan
    offsets = np.tile(np.array([0, -0.1, 0], np.float32), (len(SEGMENTS), 1))
    shared = {
        "quat_i16": identity,
        "root_pos_m": roots,
        "clip_names": np.array(NAMES),
        "clip_source": np.array(["A", "B", "E"]),
        "segments": np.array(SEGMENTS),
        "tpose_offset_m": offsets,
    }
    clip_id, frame = np.arange(3, dtype=np.int16).repeat(10), np.tile(np.arange(10, dtype=np.int32), 3)
    np.savez(tmp_path / "poses.npz", clip_id=clip_id, frame=frame, **shared)
    np.savez(tmp_path / "clips.npz", start=np.array([0, 10, 20, 30]), fps=np.array(30), **shared)
    return tmp_path


def test_lifts_are_found_where_the_pelvis_was_recorded(folder):
    takes = motion.open_motion(folder).poses
    assert takes.lifts[14:16] == pytest.approx(0.3, abs=1e-3)
    assert np.flatnonzero(takes.lifts).tolist() == [14, 15]


def test_families_follow_from_names(folder):
    takes = motion.open_motion(folder).poses
    found = {family for _, family in takes.by_family}
    assert found == {"dance", "walk", "sit"}
    assert motion.family_of("B", "cmu_train_jumping_jumping_1") == "sport"
    assert motion.family_of("C", "cmu_02_01") == "acrobatics"
    assert motion.family_of("D", "ual_Roll") == "everyday"
    assert motion.family_of("E", "authored_lunge") == "authored"
    assert motion.family_of("E", "authored_stand_contrapposto") == "stand"


def test_clips_interpolate_and_start_facing_forwards(folder):
    takes = motion.open_motion(folder).clips
    for seed in range(30):
        moves = motion.Motion(poses=takes, clips=takes, fps=30.0)
        split = motion.clip_split(NAMES[1])
        poses = motion.sample_clip(moves, np.random.default_rng(seed), frames=3, fps=120, split=split)
        if poses[0].family == "walk":
            turns = [motion.heading(pose.quaternions[0]) for pose in poses]
            steps = [2 * np.degrees(np.arctan2(turn[2], turn[0])) for turn in turns]
            assert abs(steps[0]) <= 10.1
            assert abs(steps[1] - steps[0]) == pytest.approx(2.5, abs=0.1)
            assert np.linalg.norm(poses[1].travel) == pytest.approx(0.025, abs=2e-3)
            return
    pytest.fail("the walking clip was never drawn")


def test_perturbed_poses_stay_near_and_hinges_only_bend():
    rng = np.random.default_rng(0)
    still = np.tile(np.array([1, 0, 0, 0], np.float32), (len(SEGMENTS), 1))
    for _ in range(50):
        changed = motion.perturbed(still, rng)
        angle = 2 * np.degrees(np.arccos(np.abs(changed[:, 0]).clip(0, 1)))
        assert angle[0] <= 3.01
        assert angle.max() < 30
        turns = rotations.to_matrices(changed)
        for thigh, shin in ((13, 14), (16, 17)):
            down = turns[thigh].T @ turns[shin] @ [0, -1, 0]
            assert down[0] == pytest.approx(0, abs=1e-3)
            assert down[2] <= 1e-6
        assert (turns[6].T @ turns[7] @ [1, 0, 0])[2] >= -1e-6
        assert (turns[10].T @ turns[11] @ [-1, 0, 0])[2] >= -1e-6


DAMAGE = [
    ("poses.npz", "quat_i16", lambda a: a // 2, "length 1"),
    ("poses.npz", "quat_i16", lambda a: a[:, :5], "fit together"),
    ("poses.npz", "quat_i16", lambda a: a.astype(np.float32), "quat_i16"),
    ("poses.npz", "clip_id", lambda a: a + 1, "fit together"),
    ("poses.npz", "clip_id", lambda a: a[1:], "fit together"),
    ("poses.npz", "segments", lambda a: a[::-1], "segments"),
    ("poses.npz", "segments", None, "segments"),
    ("poses.npz", "root_pos_m", lambda a: a[:, :2], "fit together"),
    ("clips.npz", "start", lambda a: a[::-1], "start"),
    ("clips.npz", "start", lambda a: a * 2, "start"),
    ("clips.npz", "fps", lambda a: a * 0, "fps"),
    ("clips.npz", "fps", lambda a: np.array([30, 30]), "fps"),
    ("clips.npz", "tpose_offset_m", lambda a: a[:3], "segments"),
]


@pytest.mark.parametrize(("name", "key", "change", "message"), DAMAGE)
def test_damaged_motion_is_refused(folder, name, key, change, message):
    with np.load(folder / name) as file:
        arrays = dict(file)
    if change:
        arrays[key] = change(arrays[key])
    else:
        del arrays[key]
    np.savez(folder / name, **arrays)
    with pytest.raises(ExportError, match=message) as error:
        motion.open_motion(folder)
    assert name in str(error.value)


def test_missing_motion_is_named(folder):
    (folder / "clips.npz").unlink()
    with pytest.raises(ExportError, match=r"clips\.npz"):
        motion.open_motion(folder)


def test_a_part_without_poses_is_refused(folder):
    takes = motion.open_motion(folder).poses
    clip = next(row for row, name in enumerate(NAMES[:2]) if motion.clip_split(name) == "train")
    rows = takes.clips == clip
    arrays = {name: getattr(takes, name)[rows] for name in ("quaternions", "roots", "lifts", "clips", "frames")}
    one = replace(takes, **arrays)
    moves = motion.Motion(poses=one, clips=one, fps=30.0)
    assert motion.sample_pose(moves, np.random.default_rng(0), "train").family
    with pytest.raises(ExportError, match="validation"):
        motion.sample_pose(moves, np.random.default_rng(0), "validation")
