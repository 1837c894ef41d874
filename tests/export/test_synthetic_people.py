"""People from the real assets, and simple people from none: what must hold for both."""

import time
from dataclasses import replace

import numpy as np
import pytest

from pose_export.synthetic import body, dress, makehuman, motion, rig, rotations, split
from pose_export.synthetic.simple_body import simple_character
from pose_export.synthetic.simple_motion import posed, simple_motion
from shared import shared

T_POSE = np.tile(np.array([1, 0, 0, 0], np.float32), (19, 1))
EYES, WRISTS, HIPS, KNEES, ANKLES = (1, 2), (9, 10), (11, 12), (13, 14), (15, 16)


@pytest.fixture(scope="module")
def assets():
    return makehuman.open_assets(shared("assets", "makehuman"))


@pytest.fixture(scope="module")
def recorded():
    return motion.open_motion(shared("assets", "motion"))


@pytest.fixture(scope="module")
def simple():
    return simple_motion()


def people(request, kind):
    """A few characters and the motion that goes with them."""
    if kind == "simple":
        return [simple_character(np.random.default_rng(i)) for i in range(4)], request.getfixturevalue("simple")
    assets, recorded = request.getfixturevalue("assets"), request.getfixturevalue("recorded")
    return [body.make_character(assets, np.random.default_rng(i)) for i in range(6)], recorded


KINDS = pytest.mark.parametrize("kind", ["simple", "assets"])


def moved(surface, transforms):
    points = rig.Points(positions=surface.positions, bones=surface.bones, weights=surface.weights)
    return rig.skin(points, transforms)


@KINDS
def test_surfaces_are_sound(request, kind):
    for character in people(request, kind)[0]:
        assert character.surfaces[0].kind == "skin"
        for surface in character.surfaces:
            n = len(surface.positions)
            assert surface.positions.dtype == surface.normals.dtype == surface.uv.dtype == np.float32
            assert surface.triangles.dtype == np.uint32
            assert surface.triangles.max() < n
            assert len(surface.normals) == len(surface.uv) == len(surface.bones) == len(surface.region) == n
            assert surface.bones.max() < len(character.parents)
            np.testing.assert_allclose(surface.weights.sum(axis=1), 1, rtol=1e-4)
            np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, rtol=1e-3)
            assert np.isfinite(surface.positions).all()
        assert 0.8 < character.traits.height < 2.4
        assert (character.parents < np.arange(len(character.parents))).all()


@KINDS
def test_normals_point_outwards(request, kind):
    """The volume of the skin is positive: its triangles run counter-clockwise seen from outside."""
    for character in people(request, kind)[0]:
        skin = character.surfaces[0]
        a, b, c = (skin.positions[skin.triangles[:, i]] for i in range(3))
        faces = np.cross(b - a, c - a)
        agree = (faces * skin.normals[skin.triangles[:, 0]]).sum(axis=1) > 0
        assert agree.mean() > 0.97
        if kind == "simple":
            assert (a * faces).sum() / 6 > 0.01


@KINDS
def test_left_is_positive_x_and_the_face_looks_along_z(request, kind):
    for character in people(request, kind)[0]:
        transforms = rig.bone_transforms(character, T_POSE)
        points = rig.posed_keypoints(character, transforms)
        assert (points[1::2, 0] > 0).all()
        assert (points[2::2, 0] < 0).all()
        assert points[0, 2] > points[list(EYES), 2].max() > points[[3, 4], 2].max()
        np.testing.assert_allclose(points[[5, 7, 9], 1], points[5, 1], atol=0.01)
        assert character.hands[0, 0] > 0 > character.hands[1, 0]


def inside(point, triangles):
    """Whether triangles (t, 3, 3) of a closed surface go around a point: their solid angles add up to a sphere."""
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    top = (a * np.cross(b, c)).sum(axis=1)
    low = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return abs(np.arctan2(top, low).sum() * 2) > 2 * np.pi


@KINDS
def test_keypoints_are_in_the_flesh(request, kind):
    characters, moves = people(request, kind)
    if kind == "assets":
        assets = request.getfixturevalue("assets")
        bare = dress.Outfit(garments=())
        shapes = [body.sample_shape(assets, np.random.default_rng(i)) for i in range(3)]
        characters = [body.build(assets, shape, bare) for shape in shapes]
    for seed, character in enumerate(characters[:3]):
        pose = motion.sample_pose(moves, np.random.default_rng(seed))
        skin = character.surfaces[0]
        for quaternions in (T_POSE, pose.quaternions):
            transforms = rig.bone_transforms(character, quaternions)
            positions = moved(skin, transforms)
            triangles = positions[skin.triangles].astype(np.float64)
            points = rig.posed_keypoints(character, transforms)
            nearest = [np.linalg.norm(positions - point, axis=1).min() for point in points]
            assert max(nearest[:5]) < 0.025  # the face's keypoints lie on the skin
            for k in range(5, 17):
                assert inside(points[k], triangles) or nearest[k] < 0.03, k
                assert nearest[k] < 1.6 * character.radii[k] + 0.02


@KINDS
def test_feet_stand_on_the_floor(request, kind):
    characters, moves = people(request, kind)
    for seed, character in enumerate(characters):
        pose = motion.sample_pose(moves, np.random.default_rng(seed))
        for lift in (0.0, 0.3):
            transforms = rig.bone_transforms(character, pose.quaternions, lift)
            solid = [s for s in character.surfaces if s.kind in ("skin", "cloth", "shoe")]
            lowest = min(moved(surface, transforms)[:, 1].min() for surface in solid)
            assert lift - 0.02 < lowest < lift + 0.001
        assert abs(transforms[0, 0, 3] + transforms[0, 0, :3] @ character.heads[0]) < 1e-4


@KINDS
def test_transforms_are_rigid(request, kind):
    characters, moves = people(request, kind)
    pose = motion.sample_pose(moves, np.random.default_rng(5))
    turns = rig.bone_transforms(characters[0], pose.quaternions)[:, :, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (len(turns), 1, 1)), atol=1e-4)
    assert (np.linalg.det(turns) > 0.99).all()


@KINDS
def test_a_mirrored_pose_mirrors_the_keypoints(request, kind):
    characters, moves = people(request, kind)
    pose = motion.sample_pose(moves, np.random.default_rng(3))
    other = [0, *(k + 1 if k % 2 else k - 1 for k in range(1, 17))]
    for character in characters[:3]:
        plain = rig.posed_keypoints(character, rig.bone_transforms(character, pose.quaternions))
        mirror = rig.posed_keypoints(character, rig.bone_transforms(character, pose.mirrored().quaternions))
        np.testing.assert_allclose(mirror[other] * [-1, 1, 1], plain, atol=0.012)
    again = pose.mirrored().mirrored()
    np.testing.assert_array_equal(again.quaternions, pose.quaternions)


@KINDS
def test_knees_bend_backwards_and_elbows_forwards(request, kind):
    """Seen from the thigh the ankle is behind the line from hip to knee; from the upper arm the wrist is before it."""
    _, moves = people(request, kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        turns = rotations.to_matrices(motion.sample_pose(moves, rng).quaternions)
        for thigh, shin in ((13, 14), (16, 17)):
            assert (turns[thigh].T @ turns[shin] @ [0, -1, 0])[2] < 0.35
        for arm, forearm, out in ((6, 7, 1), (10, 11, -1)):
            assert (turns[arm].T @ turns[forearm] @ [out, 0, 0])[2] > -0.35


@KINDS
def test_the_same_seed_gives_the_same_person(request, kind):
    first, moves = people(request, kind)
    second, _ = people(request, kind)
    for a, b in zip(first, second, strict=True):
        assert [s.name for s in a.surfaces] == [s.name for s in b.surfaces]
        for one, two in zip(a.surfaces, b.surfaces, strict=True):
            np.testing.assert_array_equal(one.positions, two.positions)
    poses = [motion.sample_pose(moves, np.random.default_rng(7)).quaternions for _ in range(2)]
    np.testing.assert_array_equal(*poses)
    assert not np.array_equal(poses[0], motion.sample_pose(moves, np.random.default_rng(8)).quaternions)


@KINDS
def test_motion_parts_share_nothing(request, kind):
    moves = request.getfixturevalue("simple" if kind == "simple" else "recorded")
    for takes in (moves.poses, moves.clips):
        rows = {part: set() for part in ("train", "validation")}
        for (part, _), clips in takes.by_family.items():
            rows[part].update(int(row) for clip in clips for row in clip)
        assert not rows["train"] & rows["validation"]
        assert len(rows["train"]) + len(rows["validation"]) == len(takes.quaternions)
        assert 0.05 < len(rows["validation"]) / len(takes.quaternions) < 0.35
    families = {family for part, family in moves.poses.by_family if part == "validation"}
    assert len(families) >= (3 if kind == "simple" else 7)


@KINDS
def test_clips_are_smooth_and_go_on_past_their_end(request, kind):
    _, moves = people(request, kind)
    for seed in range(4):
        poses = motion.sample_clip(moves, np.random.default_rng(seed), frames=120, fps=60)
        turns = np.stack([pose.quaternions for pose in poses])
        np.testing.assert_allclose(np.linalg.norm(turns, axis=2), 1, rtol=1e-4)
        steps = 2 * np.arccos(np.abs((turns[1:] * turns[:-1]).sum(axis=2)).clip(0, 1))
        assert np.degrees(np.median(steps)) < 4
        assert np.degrees(np.quantile(steps, 0.99)) < 25
        assert np.abs(np.diff([pose.travel for pose in poses], axis=0)).max() < 0.3
        assert poses[0].travel.tolist() == [0, 0]


@KINDS
def test_a_seat_is_below_the_hips_of_who_sits(request, kind):
    characters, moves = people(request, kind)
    rng = np.random.default_rng(0)
    poses = (motion.sample_pose(moves, rng) for _ in range(60))
    for pose in [pose for pose in poses if pose.family == "sit"][:5]:
        transforms = rig.bone_transforms(characters[0], pose.quaternions)
        hips = rig.posed_keypoints(characters[0], transforms)[list(HIPS)].mean(axis=0)
        below = hips - rig.seat(characters[0], transforms)
        assert 0.02 < below[1] < 0.25
        assert np.hypot(below[0], below[2]) < 0.3


def test_characters_are_made_faster_than_assets_are_read(assets):
    start = time.process_time()
    makehuman.open_assets(shared("assets", "makehuman"))
    opened = time.process_time()
    for seed in range(3):
        body.make_character(assets, np.random.default_rng(seed))
    assert time.process_time() - opened < 0.5 * (opened - start)


def test_partners_of_a_dance_stay_together():
    assert all(
        motion.clip_split(f"cmu_salsa_{i:02}") == motion.clip_split(f"cmu_salsa_{i + 15:02}") for i in range(1, 16)
    )


def test_poses_face_forwards(recorded):
    for seed in range(20):
        pose = motion.sample_pose(recorded, np.random.default_rng(seed))
        front = rotations.to_matrices(pose.quaternions[0])[:, 2]
        if np.hypot(front[0], front[2]) > 0.6:
            assert front[2] > 0.55


def test_families_come_in_their_shares(recorded):
    rng = np.random.default_rng(0)
    drawn = [motion.sample_pose(recorded, rng).family for _ in range(600)]
    for family, _, share in motion.FAMILIES:
        assert drawn.count(family) / 6 == pytest.approx(share, abs=6)


def test_validation_people_wear_what_training_people_do_not(assets):
    worn = {}
    for part in ("train", "validation"):
        worn[part] = set()
        for seed in range(25):
            rng = np.random.default_rng(seed)
            outfit = dress.sample_outfit(assets, rng, male=seed % 2, years=30, split=part)
            kinds = ("cloth", "shoe", "hair", "hat")
            worn[part] |= {g.suit for g in outfit.garments if g.kind in kinds and g.suit in known_suits(assets)}
    assert not worn["train"] & worn["validation"]
    assert worn["validation"] <= split.HELD_OUT_GARMENTS
    assert len(worn["validation"]) >= 4
    assert known_suits(assets) >= split.HELD_OUT_GARMENTS


def known_suits(assets):
    return {garment.suit for garment in assets.garments.values()}


def test_skin_under_clothes_is_left_out(assets):
    """Between ankles and hips a suit leaves hardly any skin to come through."""
    shape = replace(body.sample_shape(assets, np.random.default_rng(1)), male=1.0, age=0.6)
    suit = [garment for garment in assets.of_kind("cloth") if garment.suit == "male_casualsuit04"]
    left = []
    for outfit in (tuple(suit), ()):
        character = body.build(assets, shape, dress.Outfit(garments=outfit))
        low, high = (character.keypoints[list(pair), 1].mean() for pair in (ANKLES, HIPS))
        heights = character.surfaces[0].positions[:, 1]
        left.append(((heights > low + 0.15) & (heights < high) & on_legs(character)).sum())
    assert left[0] < 0.05 * left[1]


def on_legs(character):
    skin = character.surfaces[0]
    legs = [row for row, name in enumerate(rig.BONE_NAMES) if "leg" in name]
    return np.isin(skin.bones[:, 0], legs)


def test_bodies_differ_as_people_do(assets):
    characters = [body.build(assets, body.sample_shape(assets, np.random.default_rng(i)), dress.Outfit(garments=()))
                  for i in range(40)]  # fmt: skip
    adults = [c.traits for c in characters if c.traits.age >= 18]
    men = [t.height for t in adults if t.male > 0.5]
    women = [t.height for t in adults if t.male < 0.5]
    assert 1.6 < np.mean(men) < 1.95
    assert 1.5 < np.mean(women) < np.mean(men)
    assert min(c.traits.age for c in characters) >= 10
    assert any(c.traits.age < 18 for c in characters)


def test_angles_name_what_they_bend():
    def end(angles, chain, bone):
        turns = rotations.to_matrices(posed(angles))
        return turns[rig.SEGMENTS.index(chain)] @ bone

    np.testing.assert_allclose(end({}, "l_upperarm", [1, 0, 0]), [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(end({"l_raise": 90.0}, "l_upperarm", [1, 0, 0]), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(end({"r_swing": 90.0}, "r_upperarm", [-1, 0, 0]), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(end({"l_elbow": 90.0}, "l_forearm", [1, 0, 0]), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(end({"r_elbow": 90.0}, "r_forearm", [-1, 0, 0]), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(end({"l_hip": 90.0}, "l_thigh", [0, -1, 0]), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(end({"l_knee": 90.0}, "l_shin", [0, -1, 0]), [0, 0, -1], atol=1e-6)
    assert end({"l_spread": 30.0}, "l_thigh", [0, -1, 0])[0] > 0.4
    assert end({"r_spread": 30.0}, "r_thigh", [0, -1, 0])[0] < -0.4
    assert end({"bow": 30.0}, "chest", [0, 1, 0])[2] > 0.4


def test_slerp_goes_the_short_way_at_constant_speed():
    rng = np.random.default_rng(0)
    a, b = rotations.normalised(rng.normal(size=(2, 5, 4)))
    for t in (0.0, 0.25, 1.0):
        middle = rotations.slerp(a, -b, t)
        whole = 2 * np.arccos(np.abs((a * b).sum(axis=1)))
        part = 2 * np.arccos(np.abs((a * middle).sum(axis=1)).clip(0, 1))
        np.testing.assert_allclose(part, whole * t, atol=2e-3)
