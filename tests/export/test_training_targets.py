"""Targets: the goldens, values computed by hand, and odd input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from families.training import FAMILIES
from pose_export.training.targets.centre import centre_map, pooled_centre_map
from pose_export.training.targets.embedding import tag_places
from pose_export.training.targets.heatmap import (
    Peak,
    background,
    heatmaps,
    hourglass_peak,
    msra_peak,
    openpose_peak,
    pytorch_pose_peak,
    unbiased_peak,
    usual_sigma,
)
from pose_export.training.targets.offset import disks_and_offsets
from pose_export.training.targets.paf import line_integral, part_affinity_fields
from pose_export.training.targets.places import learnt, map_size, to_map
from pose_export.training.targets.vector import normalise, simulated_estimates, stage_targets
from pose_runtime.decode import vector
from pose_runtime.errors import ExportError
from shared import shared


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_goldens(name: str) -> None:
    cases = list(FAMILIES[name](shared("reference")))
    assert cases
    assert [case for case in cases if not case.passed] == []


def one(xy: Any, peak: Peak, map_wh: tuple[int, int] = (12, 10)) -> Any:
    """The map of a single keypoint."""
    return heatmaps(np.reshape(xy, (1, 1, 2)), np.ones((1, 1)), map_wh, peak)[0][0]


def highest(drawn: Any) -> tuple[int, int]:
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    return int(x), int(y)


# ---- heatmaps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peak", "at", "half_width"),
    [
        (hourglass_peak(1), (5, 4), 4),
        (msra_peak(1), (6, 5), 3),
        (pytorch_pose_peak(1), (5, 4), 3),
    ],
)
def test_where_patches_lie(peak: Peak, at: tuple[int, int], half_width: int) -> None:
    drawn = one((5.7, 4.6), peak)
    assert highest(drawn) == at
    assert drawn.max() == 1
    rows, columns = np.nonzero(drawn)
    assert (columns.min(), columns.max()) == (at[0] - half_width, min(at[0] + half_width, 11))
    assert (rows.min(), rows.max()) == (at[1] - half_width, min(at[1] + half_width, 9))
    assert drawn[at[1], at[0] + 2] == pytest.approx(math.exp(-2))


def test_exact_centre_over_the_whole_map() -> None:
    drawn = one((5.7, 4.6), unbiased_peak(2))
    assert drawn[0, 0] == pytest.approx(math.exp(-(5.7**2 + 4.6**2) / 8), rel=1e-5)
    assert (drawn > 0).all()


def test_corner_truncated_is_off_within_a_radius_of_the_border() -> None:
    assert highest(one((1.2, 5), pytorch_pose_peak(1))) == (2, 5)


def test_openpose_cut() -> None:
    """At sigma 1 a distance of 3 has the exponent 4.5 and stays; 3.1 has 4.8 and goes."""
    drawn = one((5, 4), openpose_peak(1, "max"))
    assert drawn[4, 8] == pytest.approx(math.exp(-4.5))
    assert drawn[7, 6] == 0  # 3² + 1²
    drawn = one((4.9, 4), openpose_peak(1, "max"))
    assert drawn[4, 8] == 0
    assert drawn[4, 2] > 0


def test_seed_sigma() -> None:
    assert one((5, 4), unbiased_peak(usual_sigma(3)))[4, 7] == pytest.approx(math.exp(-4 / 9))


@pytest.mark.parametrize(("combine", "wanted"), [("max", 1.0), ("sum", 1.0), ("last", math.exp(-2))])
def test_where_people_meet(combine: Any, wanted: float) -> None:
    peak = Peak(sigma=1, centre="exact", radius=3, combine=combine, keep="all")
    maps, drawn = heatmaps([[[4, 4]], [[6, 4]]], np.ones((2, 1)), (12, 10), peak)
    assert drawn.all()
    assert maps[0, 4, 4] == pytest.approx(wanted)
    middle = {"max": math.exp(-0.5), "sum": min(2 * math.exp(-0.5), 1), "last": math.exp(-0.5)}
    assert maps[0, 4, 5] == pytest.approx(middle[combine])


@pytest.mark.parametrize(
    ("peak", "xy", "kept"),
    [
        (hourglass_peak(1), (-0.5, 0), True),  # truncated to 0
        (hourglass_peak(1), (-1, 0), False),
        (hourglass_peak(1), (12, 0), False),
        (hourglass_peak(1), (11.99, 9.99), True),
        (msra_peak(1), (14.4, 4), True),  # its patch begins in the last column
        (msra_peak(1), (14.6, 4), False),
        (msra_peak(1), (-4, 4), True),  # one column off, as the authors have it
        (msra_peak(1), (-6, 4), False),
        (unbiased_peak(1), (1e9, -1e9), True),
    ],
)
def test_who_is_drawn(peak: Peak, xy: tuple[float, float], kept: bool) -> None:
    maps, drawn = heatmaps([[xy]], [[1]], (12, 10), peak)
    assert drawn[0, 0] == kept
    assert np.isfinite(maps).all()
    if not kept:
        assert not maps.any()


def test_not_labelled_or_not_finite_is_not_drawn() -> None:
    maps, drawn = heatmaps([[[3, 3], [np.nan, 3], [np.inf, 3]]], [[0, 1, 1]], (12, 10), unbiased_peak(1))
    assert not drawn.any()
    assert not maps.any()


@pytest.mark.parametrize("peak", [hourglass_peak(2), unbiased_peak(2), openpose_peak(0.875, "sum")])
def test_nobody(peak: Peak) -> None:
    maps, drawn = heatmaps(np.zeros((0, 4, 2)), np.zeros((0, 4)), (5, 3), peak)
    assert maps.shape == (4, 3, 5)
    assert not maps.any()
    assert drawn.shape == (0, 4)
    assert (background(maps) == 1).all()


def test_half_precision_is_the_same_map() -> None:
    random = np.random.default_rng(1)
    arguments = random.uniform(-5, 40, (6, 17, 2)), random.random((6, 17)) < 0.8, (33, 29), hourglass_peak(2)
    full, _ = heatmaps(*arguments)
    half, _ = heatmaps(*arguments, dtype=np.float16)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, atol=5e-4)


def test_patches_equal_the_definition() -> None:
    random = np.random.default_rng(2)
    xy, labelled = random.uniform(-9, 45, (5, 3, 2)), random.random((5, 3)) < 0.7
    found, _ = heatmaps(xy, labelled, (37, 31), openpose_peak(1.3, "sum"))
    y, x = np.mgrid[:31, :37]
    for joint in range(3):
        wanted = np.zeros((31, 37))
        for person in np.nonzero(labelled[:, joint])[0]:
            px, py = xy[person, joint]
            exponent = ((x - px) ** 2 + (y - py) ** 2) / (2 * 1.3**2)
            wanted += np.where(exponent <= 4.6052, np.exp(-exponent), 0)
        np.testing.assert_allclose(found[joint], np.minimum(wanted, 1), atol=1e-6)


# ---- part affinity fields --------------------------------------------------------------------------------------


def slow_fields(
    xy: Any, labelled: Any, pairs: Any, map_wh: Any, half_width: float, overhang: float, divisor: str
) -> Any:
    """The definition, pixel by pixel."""
    fields = np.zeros((2 * len(pairs), map_wh[1], map_wh[0]))
    for limb, (a, b) in enumerate(pairs):
        for y in range(map_wh[1]):
            for x in range(map_wh[0]):
                vectors = []
                for person, known in zip(xy, labelled, strict=True):
                    length = np.linalg.norm(person[b] - person[a])
                    if not (known[a] and known[b] and length > 0):
                        continue
                    v = (person[b] - person[a]) / length
                    d = (x, y) - person[a]
                    if -overhang <= v @ d <= length + overhang and abs(v[0] * d[1] - v[1] * d[0]) <= half_width:
                        vectors.append(v)
                if vectors:
                    count = len(vectors) if divisor == "present" else len(xy)
                    fields[2 * limb : 2 * limb + 2, y, x] = np.sum(vectors, axis=0) / count
    return fields


@pytest.mark.parametrize("divisor", ["present", "people"])
@pytest.mark.parametrize("seed", range(6))
def test_fields_equal_the_definition(seed: int, divisor: Any) -> None:
    random = np.random.default_rng(seed)
    xy, labelled = random.uniform(-6, 26, (4, 4, 2)), random.random((4, 4)) < 0.9
    pairs, half_width = [(0, 1), (1, 2), (3, 1)], float(random.uniform(0.3, 4))
    options = {
        "half_width": half_width,
        "overhang": float(random.choice([0, random.uniform(0, 3)])),
        "divisor": divisor,
    }
    found = part_affinity_fields(xy, labelled, pairs, (19, 15), **options)
    np.testing.assert_allclose(found, slow_fields(xy, labelled, pairs, (19, 15), **options), atol=1e-6)


def test_pixels_on_the_edge_belong_to_the_limb() -> None:
    field = part_affinity_fields([[[2, 3], [6, 3]]], [[1, 1]], [(0, 1)], (9, 7), half_width=1)
    rows, columns = np.nonzero(field[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 4, 2, 6)
    assert (field[0][2:5, 2:7] == 1).all()
    assert not field[1].any()
    field = part_affinity_fields([[[2, 6], [2, 1]]], [[1, 1]], [(0, 1)], (9, 7), half_width=1)
    assert (field[1][1:7, 1:4] == -1).all()
    assert np.count_nonzero(field) == 18


def test_overhang_gives_short_limbs_a_field() -> None:
    ends = [[[3.2, 3.2], [3.7, 3.2]]]
    assert not part_affinity_fields(ends, [[1, 1]], [(0, 1)], (9, 7), half_width=1).any()
    field = part_affinity_fields(ends, [[1, 1]], [(0, 1)], (9, 7), half_width=1, overhang=1)
    assert np.argwhere(field[0]).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]


def test_fields_of_people_who_cross() -> None:
    """A horizontal and a vertical limb meet in one pixel."""
    people = np.array([[[0, 4], [8, 4]], [[4, 0], [4, 8]]], float)
    present = part_affinity_fields(people, np.ones((2, 2)), [(0, 1)], (9, 9), half_width=0.5)
    assert present[:, 4, 4].tolist() == [0.5, 0.5]
    assert present[:, 4, 0].tolist() == [1, 0]
    shared_out = part_affinity_fields(people, np.ones((2, 2)), [(0, 1)], (9, 9), half_width=0.5, divisor="people")
    assert shared_out[:, 4, 4].tolist() == [0.5, 0.5]
    assert shared_out[:, 4, 0].tolist() == [0.5, 0]


@pytest.mark.parametrize(
    ("people", "labelled"),
    [
        (np.zeros((0, 2, 2)), np.zeros((0, 2))),
        ([[[3, 3], [3, 3]]], [[1, 1]]),  # no length
        ([[[3, 3], [5, 5]]], [[1, 0]]),
        ([[[np.nan, 3], [5, 5]]], [[1, 1]]),
        ([[[300, 300], [500, 500]]], [[1, 1]]),
    ],
)
def test_no_limb_no_field(people: Any, labelled: Any) -> None:
    assert not part_affinity_fields(people, labelled, [(0, 1)], (9, 7), half_width=2).any()


def test_line_integral() -> None:
    field = part_affinity_fields([[[2, 3], [6, 3]]], [[1, 1]], [(0, 1)], (9, 7), half_width=1)
    starts, ends = [[2, 3], [6, 3], [2, 3], [2, 3]], [[6, 3], [2, 3], [2, 3], [20, 3]]
    assert line_integral(field, starts, ends, samples=10).tolist() == pytest.approx([1, -1, 0, 0.3])


# ---- others ----------------------------------------------------------------------------------------------------


def test_centre_map() -> None:
    drawn = centre_map((368, 368))
    assert highest(drawn) == (183, 183)
    assert drawn[183, 204] == pytest.approx(math.exp(-0.5))
    placed = centre_map((20, 10), centre=(3, 4), sigma=2)
    assert placed.shape == (10, 20)
    assert highest(placed) == (3, 4)


def test_pooled_centre_map_is_a_mean() -> None:
    whole = centre_map((30, 21), centre=(11, 9), sigma=5).astype(float)
    pooled = pooled_centre_map((30, 21), centre=(11, 9), sigma=5)
    assert pooled.shape == (3, 4)
    assert pooled[1, 2] == pytest.approx(whole[8:17, 16:25].mean())
    assert pooled[2, 3] == pytest.approx(whole[16:, 24:].mean())  # cut at the border


def test_disks_and_offsets() -> None:
    disks, offsets = disks_and_offsets([[5, 4], [1, 1]], [1, 0], (11, 9), radius=3)
    assert disks[0].sum() == 29  # pixels within 3 of a pixel
    assert disks[0, 4, 8]
    assert not disks[0, 4, 9]
    assert offsets[0, :, 3, 7].tolist() == [-2, 1]
    assert not offsets[0, :, 4, 9].any()
    assert not disks[1].any()
    assert not offsets[1].any()


@pytest.mark.parametrize("radius", [0.4, 1.0, 2.5, 6.0, 40.0])
def test_disks_equal_the_definition(radius: float) -> None:
    random = np.random.default_rng(5)
    xy = random.uniform(-9, 30, (6, 2))
    xy[3:5] = np.round(xy[3:5])
    xy[5] = np.inf
    disks, offsets = disks_and_offsets(xy, np.ones(6), (23, 17), radius=radius)
    y, x = np.mgrid[:17, :23]
    for k in range(5):
        away = xy[k, :, None, None] - np.stack([x, y])
        wanted = np.hypot(*away) <= radius
        np.testing.assert_array_equal(disks[k], wanted)
        np.testing.assert_allclose(offsets[k], np.where(wanted, away, 0), atol=1e-5)
    assert not disks[5].any()


@pytest.mark.parametrize("origin", ["centre", "corner"])
def test_normalised_points_find_back(origin: Any) -> None:
    random = np.random.default_rng(3)
    xy, boxes = random.uniform(0, 300, (4, 5, 2)), random.uniform(50, 200, (4, 4))
    found = vector(normalise(xy, boxes, origin=origin), boxes, origin=origin)
    np.testing.assert_allclose(found[..., :2], xy, atol=1e-3)


def test_stage_targets_are_displacements() -> None:
    """Torso 3-4-5 times 10, sigma 2: boxes 100 wide around the estimates."""
    before = np.array([[[10, 20], [40, 60], [0, 0], [5, 5]]], float)
    xy = before + np.array([30, -50])
    values, boxes = stage_targets(xy, [[1, 1, 0, 1]], before, torso=(0, 1), sigma=2)
    assert boxes[0, 1].tolist() == [40, 60, 100, 100]
    np.testing.assert_allclose(values[0, [0, 1, 3]], np.tile([0.3, -0.5], (3, 1)))
    assert np.isnan(values[0, 2]).all()
    before[0, 0] = np.nan  # no torso, no boxes
    assert np.isnan(stage_targets(xy, np.ones((1, 4)), before, torso=(0, 1), sigma=2)[0]).all()


def test_simulated_estimates_err_as_told() -> None:
    xy = np.full((4000, 2, 2), 100.0)
    mean, std = [[1, -2], [0, 5]], [[3, 0], [1, 2]]
    found = simulated_estimates(xy, mean, std, np.random.default_rng(4)) - xy
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.2)
    np.testing.assert_allclose(found.std(axis=0), std, atol=0.2)
    again = simulated_estimates(xy, mean, std, np.random.default_rng(4)) - xy
    np.testing.assert_array_equal(found, again)


def test_tag_places() -> None:
    xy = [[[1.9, 0.2], [-0.5, 2.99], [4, 0]], [[0, 0], [3, 2], [np.nan, 1]]]
    places = tag_places(xy, [[1, 1, 1], [0, 1, 1]], (4, 3), max_people=3)
    assert places.shape == (3, 3, 2)
    assert places.dtype == np.int32
    assert places[0].tolist() == [[1, 1], [12 + 8, 1], [0, 0]]  # 4 is off the map
    assert places[1].tolist() == [[0, 0], [12 + 11, 1], [0, 0]]
    assert not places[2].any()
    assert tag_places(xy, np.ones((2, 3)), (4, 3), max_people=1).shape == (1, 3, 2)
    assert not tag_places(np.zeros((0, 3, 2)), np.zeros((0, 3)), (4, 3), max_people=2).any()


@pytest.mark.parametrize(
    ("grid", "wanted"), [("corner", (4, 2)), ("centre", (3.625, 1.625)), ("aligned", (16 * 15 / 63, 8 * 7 / 31))]
)
def test_to_map(grid: Any, wanted: tuple[float, float]) -> None:
    np.testing.assert_allclose(to_map(np.array([16, 8]), (64, 32), (16, 8), grid), wanted)


def test_map_size_of_a_whole_number_of_cells() -> None:
    assert map_size((64, 32), 8) == (8, 4)
    for size in ((60, 32), (64, 30), (0, 32)):
        with pytest.raises(ExportError, match="multiples of the map's stride 8"):
            map_size(size, 8)


def test_learnt_where_less_than_half_is_ignored() -> None:
    ignored = np.zeros((8, 12), np.bool_)
    ignored[:4, :6] = True  # one cell and half of the next
    ignored[4:, 8:9] = True  # a quarter
    assert learnt(ignored, (3, 2)).tolist() == [[False, False, True], [True, True, True]]
    assert learnt(None, (3, 2)).all()
