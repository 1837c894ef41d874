"""What one graph makes of another's people: hand-made frames."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pose_calibration.accuracy import coco_ap, coco_results
from pose_calibration.agreement import compare, tally
from pose_calibration.drop_score import DropScore, drop_score
from pose_calibration.stand_in import stand_in_results, stand_in_truth
from pose_runtime.bundle import load_bundle
from pose_runtime.decode import COCO_ORDER, EmbeddingDecoder, HeatmapDecoder, OffsetDecoder, VectorDecoder
from pose_runtime.errors import PoseError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS

COCO = SKELETONS["coco17"]


def person(x: float = 0.0, y: float = 0.0, size: float = 100.0) -> np.ndarray:
    """Seventeen keypoints in a box of size x size whose corner is (x, y)."""
    steps = np.linspace(0, size, 17)
    points = np.ones((17, 3), np.float32)
    points[:, 0], points[:, 1] = x + steps, y + steps[::-1]
    return points


def poses(*people: np.ndarray, scores: tuple[float, ...] | None = None) -> Poses:
    keypoints = np.array(people, np.float32).reshape(-1, 17, 3)
    return Poses(keypoints, np.array(scores or [1.0] * len(people), np.float32), COCO)


def missing(points: np.ndarray, *joints: int) -> np.ndarray:
    points = points.copy()
    points[list(joints)] = np.nan, np.nan, 0
    return points


def test_the_same_people_agree_wholly_whatever_their_order() -> None:
    one, two = person(), person(300)
    got = compare(poses(one, two), poses(two, one), drop_score=None)
    assert sorted(got.pairs) == [(0, 1), (1, 0)]
    assert got.oks.tolist() == [1, 1]
    assert got.shift.tolist() == [0, 0]
    assert (got.lost, got.invented, got.grouping_errors) == ((), (), 0)


def test_a_shift_is_measured_in_pixels_and_in_sizes() -> None:
    moved = person()
    moved[:, :2] += (3, 4)
    got = compare(poses(person()), poses(moved), drop_score=None)
    assert got.shift[0] == pytest.approx(5)
    assert got.relative_shift[0] == pytest.approx(0.05)
    k2 = (2 * np.array(COCO.sigmas)) ** 2
    assert got.oks[0] == pytest.approx(np.exp(-25 / (2 * 100**2 * k2)).mean())


def test_only_keypoints_that_both_have_can_shift() -> None:
    moved = person()
    moved[:, 0] += 2
    got = compare(poses(missing(person(), 0, 1)), poses(missing(moved, 16)), drop_score=None)
    assert got.shift[0] == pytest.approx(2)


def test_lost_and_invented() -> None:
    got = compare(poses(person(), person(300)), poses(person(900), person()), drop_score=None)
    assert got.pairs == ((0, 1),)
    assert (got.lost, got.invented) == ((1,), (0,))


def test_somebody_too_far_off_is_lost_and_invented() -> None:
    moved = person()
    moved[:, 0] += 40
    got = compare(poses(person()), poses(moved), drop_score=None)
    assert (got.pairs, got.lost, got.invented) == ((), (0,), (0,))
    assert len(got.oks) == len(got.shift) == 0
    assert compare(poses(person()), poses(moved), drop_score=None, min_oks=0).pairs == ((0, 0),)


@pytest.mark.parametrize(
    ("truth", "found", "lost", "invented"),
    [(1.1, 1.1, 0, 0), (1.3, 1.1, 1, 0), (1.1, 1.3, 0, 1), (1.3, 1.3, 1, 1)],
)
def test_people_near_the_drop_score_are_neither_lost_nor_invented(truth, found, lost, invented) -> None:
    got = compare(
        poses(person(), scores=(0.5 * truth,)), poses(person(500), scores=(0.5 * found,)), drop_score=DropScore(0.5)
    )
    assert (len(got.lost), len(got.invented)) == (lost, invented)


def test_the_partner_of_somebody_near_the_drop_score_is_not_invented() -> None:
    got = compare(poses(person(), scores=(0.55,)), poses(person(), scores=(0.9,)), drop_score=DropScore(0.5))
    assert got.invented == ()
    assert got.sure.tolist() == [False]
    assert tally([got]).people == 0


def test_keypoints_on_somebody_else_are_grouping_errors() -> None:
    one, two = person(), person(300)
    mixed = one.copy()
    mixed[9] = two[9]  # the other's wrist
    mixed[10] = 150, 800, 1  # on nobody
    got = compare(poses(one, two), poses(mixed, two), drop_score=None)
    assert sorted(got.pairs) == [(0, 0), (1, 1)]
    assert got.grouping_errors == 1


def test_a_wrist_taken_by_somebody_who_has_none_is_a_grouping_error() -> None:
    one, two = missing(person(), 9), person(300)
    mixed = one.copy()
    mixed[9] = two[9]
    assert compare(poses(one, two), poses(mixed, two), drop_score=None).grouping_errors == 1


def test_people_side_by_side_who_keep_their_own_are_no_grouping_errors() -> None:
    one, two = person(), person(4)
    assert compare(poses(one, two), poses(one, two), drop_score=None).grouping_errors == 0


@pytest.mark.parametrize(("truth", "found"), [(0, 0), (0, 2), (2, 0)])
def test_nobody(truth: int, found: int) -> None:
    people = [person(), person(300)]
    got = compare(poses(*people[:truth]), poses(*people[:found]), drop_score=DropScore(0.1))
    assert (len(got.lost), len(got.invented)) == (truth, found)
    total = tally([got])
    assert (total.people, total.mean_oks, total.shift) == (truth, 1.0, 0.0)
    assert tally([]).people == 0


def test_a_person_without_keypoints_matches_nobody() -> None:
    got = compare(poses(missing(person(), *range(17))), poses(person()), drop_score=None)
    assert (got.lost, got.invented) == ((0,), (0,))


def test_other_skeletons_are_refused() -> None:
    with pytest.raises(PoseError, match="wanted the same one"):
        compare(poses(person()), Poses.empty(SKELETONS["mpii16"]), drop_score=None)


def test_frames_add_up() -> None:
    moved = person()
    moved[:, 0] += 3
    frames = [
        compare(poses(person(), person(300)), poses(moved), drop_score=None),
        compare(poses(person()), poses(person(), person(300)), drop_score=None),
    ]
    total = tally(frames)
    assert (total.people, total.lost, total.invented) == (3, 1, 1)
    assert total.shift == pytest.approx(1.5)
    assert total.worst_oks < total.mean_oks < 1


# ---- the drop score ---------------------------------------------------------------------------------------------


def decoder(**changes):
    return msgspec.structs.replace(load_bundle("lightweight-tiny").manifest.decoder, **changes)


HEATMAP = HeatmapDecoder(refine="none", kernel=11, beta=1, blur_sigma=0, min_score=0.3, grid="corner")
EMBEDDING = EmbeddingDecoder(
    joint_order=COCO_ORDER, nms=5, max_people=30, threshold=0.25, tag_threshold=1.0, use_detection_val=True,
    ignore_too_much=False, distance="l2", adjust=True, refine=True, refined_score="map", at_input_size=True,
    grid="corner",
)  # fmt: skip


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        (decoder(profile="openpose", min_score=0.4), DropScore(0.4)),
        (decoder(profile="tf_pose", min_score=-1.0), DropScore(0.0)),
        (decoder(profile="trt_pose", min_score=0.4), DropScore(0.0)),
        (decoder(profile="lightweight", min_score=0.2), DropScore(0.2, by_parts=True)),
        (EMBEDDING, DropScore(0.25)),
        (HEATMAP, DropScore(0.3)),
        (OffsetDecoder(radius=3, logits=True, min_score=0.2, grid="corner"), DropScore(0.2)),
        (VectorDecoder(origin="centre", grid="corner"), DropScore(0.0)),
    ],
)
def test_drop_score_of_a_decoder(of, wanted) -> None:
    manifest = load_bundle("lightweight-tiny").manifest
    assert drop_score(msgspec.structs.replace(manifest, decoder=of)) == wanted


def test_lightweight_scores_grow_with_the_parts() -> None:
    """A person of 10 parts with a mean of 0.3 has the score 0.3 * 10 * 9."""
    ten = missing(person(), *range(10, 17))
    drop = DropScore(0.2, by_parts=True)
    assert drop.sure(poses(ten, ten, scores=(0.3 * 90, 0.23 * 90))).tolist() == [True, False]
    assert drop.sure(poses(missing(person(), *range(1, 17)), scores=(0.0,))).tolist() == [False]


# ---- annotations made of poses ----------------------------------------------------------------------------------


def crowd_of(n: int) -> Poses:
    people = [person(300 * (i % 10), 300 * (i // 10)) for i in range(n)]
    return poses(*people, scores=tuple(np.linspace(0.9, 0.6, n)))


def test_fp32_has_the_error_that_was_asked_for() -> None:
    """OKS of the FP32 poses to the stand-ins is 1 / (1 + spread²) in the mean."""
    frames = [crowd_of(60), crowd_of(60)]
    for spread, wanted in ((0.5, 0.8), (1.0, 0.5)):
        tree = stand_in_truth(frames, [(3000, 3000)] * 2, seed=3, spread=spread)
        oks = []
        for note, points in zip(tree["annotations"], np.concatenate([f.keypoints for f in frames]), strict=True):
            xy = np.reshape(note["keypoints"], (17, 3))[:, :2]
            distance2 = np.square(xy - points[:, :2]).sum(axis=1)
            oks.append(np.exp(-distance2 / (2 * note["area"] * (2 * np.array(COCO.sigmas)) ** 2)).mean())
        assert np.mean(oks) == pytest.approx(wanted, abs=0.02)


def test_the_same_seed_gives_the_same_and_an_image_keeps_its_own() -> None:
    sizes = [(3000, 3000)] * 2
    both = stand_in_truth([crowd_of(3), crowd_of(2)], sizes, seed=5)
    assert both == stand_in_truth([crowd_of(3), crowd_of(2)], sizes, seed=5)
    assert both != stand_in_truth([crowd_of(3), crowd_of(2)], sizes, seed=6)
    other_first = stand_in_truth([crowd_of(1), crowd_of(2)], sizes, seed=5)
    assert [note["keypoints"] for note in both["annotations"][3:]] == [
        note["keypoints"] for note in other_first["annotations"][1:]
    ]


def test_repeats_make_the_loss_surer() -> None:
    """The AP that a shift costs differs less from seed to seed where every image is there nine times."""
    pytest.importorskip("pycocotools")
    frames = [crowd_of(6), crowd_of(5)]
    moved = [Poses(f.keypoints + np.array([2, 0, 0], np.float32), f.scores, COCO) for f in frames]

    def loss(seed: int, repeats: int) -> float:
        tree = stand_in_truth(frames, [(3000, 3000)] * 2, seed=seed, repeats=repeats)
        assert len(tree["images"]) == 2 * repeats
        assert len(tree["annotations"]) == 11 * repeats
        before, after = (coco_ap(tree, stand_in_results(f, repeats)).ap for f in (frames, moved))
        return before - after

    once, often = ([loss(seed, repeats) for seed in range(6)] for repeats in (1, 9))
    assert np.std(often) < 0.6 * np.std(once)
    assert 0 < np.mean(often) < 20


def test_without_spread_fp32_is_perfect_and_losing_somebody_costs() -> None:
    pytest.importorskip("pycocotools")
    tree = stand_in_truth([crowd_of(4)], [(3000, 3000)], seed=0, spread=0)
    assert coco_ap(tree, coco_results(0, crowd_of(4))).ap == pytest.approx(100)
    three = Poses(crowd_of(4).keypoints[:3], crowd_of(4).scores[:3], COCO)
    assert coco_ap(tree, coco_results(0, three)).ap == pytest.approx(100 * 76 / 101)  # recall 0.75: points 0 to 75


def test_people_near_the_drop_score_neither_help_nor_hurt() -> None:
    pytest.importorskip("pycocotools")
    people = crowd_of(3)
    drop = DropScore(0.6)  # the third, at 0.6, is below 0.72; so are those between
    tree = stand_in_truth([people], [(3000, 3000)], seed=0, drop_score=drop)
    assert [note["iscrowd"] for note in tree["annotations"]] == [0, 0, 1]
    first_two = Poses(people.keypoints[:2], people.scores[:2], COCO)
    assert coco_ap(tree, coco_results(0, people)) == coco_ap(tree, coco_results(0, first_two))


def test_other_skeletons_and_missing_joints() -> None:
    keypoints = np.full((1, 18, 3), (np.nan, np.nan, 0), np.float32)
    keypoints[0, 2:5] = [[10, 10, 1], [20, 40, 1], [30, 60, 1]]  # right arm
    openpose = Poses(keypoints, np.ones(1, np.float32), SKELETONS["openpose18"])
    tree = stand_in_truth([openpose, Poses.empty(SKELETONS["openpose18"])], [(99, 99), (50, 50)], seed=0)
    (note,) = tree["annotations"]
    assert note["num_keypoints"] == 3
    assert [i for i in range(17) if note["keypoints"][3 * i + 2]] == [6, 8, 10]
    assert note["area"] == 1000
    assert len(tree["images"]) == 2
