from __future__ import annotations

import numpy as np
import pytest

from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS, convert, skeleton

# Published tables (0-based), to hold the short forms against.
FLIPS = {
    "coco17": [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
    "mpii16": [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)],
    "lsp14": [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)],
    "flic11": [(0, 3), (1, 4), (2, 5), (6, 7), (8, 9)],
    "jhmdb15": [(3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14)],
    "crowdpose14": [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)],
}
SIZES = {"coco17": 17, "openpose18": 18, "body25": 25, "trt_pose18": 18, "mpii16": 16, "lsp14": 14, "flic11": 11}
SIZES |= {"box2": 2, "flic9": 9, "jhmdb15": 15, "crowdpose14": 14, "ai_challenger14": 14, "openpose_mpi15": 15}


@pytest.mark.parametrize("name", SKELETONS)
def test_a_skeleton_is_consistent(name: str) -> None:
    s = SKELETONS[name]
    k = len(s.names)
    assert k == SIZES[name]
    assert len(set(s.names)) == k
    assert len(s.sigmas) == k
    assert all(0 < sigma < 0.2 for sigma in s.sigmas)
    assert all(0 <= a < k and 0 <= b < k and a != b for a, b in s.limbs)
    assert sorted(s.flip_index) == list(range(k))
    assert [s.flip_index[i] for i in s.flip_index] == list(range(k))
    connected = {0}
    for _ in range(k):
        connected |= {b for a, b in s.limbs if a in connected} | {a for a, b in s.limbs if b in connected}
    assert connected == set(range(k)), "a limb is missing: the figure falls apart"


@pytest.mark.parametrize("name", FLIPS)
def test_flip_pairs_are_the_published_ones(name: str) -> None:
    assert list(SKELETONS[name].flip_pairs) == FLIPS[name]


def test_coco_sigmas() -> None:
    assert SKELETONS["coco17"].sigmas == (
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
        *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    )


def points(name: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 100, (2, len(SKELETONS[name].names), 3)).astype(np.float32)


def test_openpose_to_coco_is_the_published_permutation() -> None:
    from_openpose = points("openpose18")
    got = convert(from_openpose, SKELETONS["openpose18"], SKELETONS["coco17"])
    order = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    np.testing.assert_array_equal(got, from_openpose[:, order])


def test_cpm_joints_to_lsp_is_the_published_permutation() -> None:
    from_cpm = points("ai_challenger14")
    got = convert(from_cpm, SKELETONS["ai_challenger14"], SKELETONS["lsp14"])
    expected = np.empty_like(got)
    expected[:, [13, 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5]] = from_cpm
    np.testing.assert_array_equal(got, expected)


def test_the_neck_is_the_middle_of_both_shoulders_or_missing() -> None:
    coco = points("coco17")
    coco[1, 5] = (np.nan, np.nan, 0)
    neck = convert(coco, SKELETONS["coco17"], SKELETONS["openpose18"])[:, 1]
    np.testing.assert_allclose(neck[0, :2], coco[0, 5:7, :2].mean(0))
    assert neck[0, 2] == coco[0, 5:7, 2].min()
    assert np.isnan(neck[1, :2]).all()
    assert neck[1, 2] == 0


@pytest.mark.parametrize("name", SKELETONS)
def test_conversion_to_itself_changes_nothing(name: str) -> None:
    given = points(name)
    np.testing.assert_array_equal(convert(given, SKELETONS[name], SKELETONS[name]), given)


def test_nobody_converts_to_nobody() -> None:
    empty = np.zeros((0, 17, 3), np.float32)
    assert convert(empty, SKELETONS["coco17"], SKELETONS["mpii16"]).shape == (0, 16, 3)


def test_wrong_shape_and_unknown_name_say_so() -> None:
    with pytest.raises(PoseError, match=r"wanted \(\.\.\., 17, 3\) of coco17"):
        convert(np.zeros((1, 16, 3), np.float32), SKELETONS["coco17"], SKELETONS["mpii16"])
    with pytest.raises(PoseError, match="did you mean 'coco17'"):
        skeleton("coco-17")
