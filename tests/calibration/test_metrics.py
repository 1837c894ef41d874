"""PCK, PCKh, PDJ, PCP and COCO's figures: goldens, and values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

import goldens
from pose_calibration import keypoint_metrics as metrics
from pose_calibration.accuracy import coco_evaluation
from pose_runtime.errors import PoseError
from pose_runtime.skeletons import SKELETONS
from shared import shared

pytest.importorskip("pycocotools")

NAN = np.nan


@pytest.mark.parametrize("name", ["losses/lsp", "losses/mpii", "losses/jhmdb", "losses/flic", "losses/coco"])
def test_goldens(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="goldens of networks, which are listed too, need torch")
    root = shared("reference", "losses").parent
    passed, total = goldens.run(root, name)
    assert total >= 3
    assert passed == total, capsys.readouterr().out


def points(*xy: tuple[float, float]) -> np.ndarray:
    return np.array([xy], np.float64)


def test_pck_by_hand() -> None:
    errors = np.array([[0.0, 10.0, 11.0], [20.0, np.inf, 5.0]])
    relative = metrics.normalised(errors, [50, 100])  # 0, .2, .22 / .2, inf, .05
    counted = np.array([[1, 1, 1], [1, 1, 0]], bool)
    at = metrics.pck(relative, counted, threshold=0.2, within="<=")
    assert at.per_joint.tolist() == [100, 50, 0]
    assert at.mean == 50
    assert at.pooled == 60
    below = metrics.pck(relative, counted, threshold=0.2, within="<")
    assert below.per_joint.tolist() == [50, 0, 0]
    assert below.pooled == 20


def test_a_joint_that_nobody_annotated_is_no_zero() -> None:
    got = metrics.pck(np.zeros((2, 2)), np.array([[1, 0], [1, 0]]), threshold=0.2, within="<=")
    assert got.per_joint[0] == got.mean == got.pooled == 100
    assert np.isnan(got.per_joint[1])
    nobody = metrics.pck(np.zeros((0, 2)), np.zeros((0, 2)), threshold=0.2, within="<=")
    assert np.isnan([*nobody.per_joint, nobody.mean, nobody.pooled]).all()


@pytest.mark.parametrize("length", [0.0, -1.0, NAN, np.inf])
def test_a_length_that_is_none_makes_nothing_right(length: float) -> None:
    assert np.isinf(metrics.normalised([[0.0]], [length])).all()


def test_missing_keypoints_are_infinitely_far() -> None:
    assert metrics.distances(points((0, 0), (1, 1)), points((3, 4), (NAN, NAN))).tolist() == [[5, np.inf]]
    with pytest.raises(PoseError, match=r"wanted twice \(N, K, 2\)"):
        metrics.distances(np.zeros((1, 2, 2)), np.zeros((1, 3, 2)))


def test_pcp_by_hand() -> None:
    """A limb of 10 pixels: one end off by 4, the other by 6: right in the mean of both, wrong strictly."""
    truth, found = points((0, 0), (10, 0)), points((0, 4), (10, 6))
    everything, limb = np.ones((1, 2), bool), [([0], [1])]
    assert metrics.pcp(truth, found, everything, limb, rule="mean").tolist() == [100]
    assert metrics.pcp(truth, found, everything, limb, rule="both").tolist() == [0]
    at = points((0, 5), (10, 5))
    assert metrics.pcp(truth, at, everything, limb, within="<=").tolist() == [100]
    assert metrics.pcp(truth, at, everything, limb, within="<").tolist() == [0]
    assert np.isnan(metrics.pcp(truth, at, [[True, False]], limb)).all()
    assert metrics.pcp(truth, points((0, 0), (NAN, NAN)), everything, limb, rule="mean").tolist() == [0]


def test_pcp_of_the_torso_is_between_middles() -> None:
    names = SKELETONS["lsp14"].names
    ends = metrics.limb_ends(names)
    assert len(ends) == 10
    truth = np.zeros((1, 14, 2))
    for name, xy in {"left_hip": (10, 40), "right_hip": (-10, 40), "left_shoulder": (12, 0)}.items():
        truth[0, names.index(name)] = xy
    truth[0, names.index("right_shoulder")] = (-12, 0)
    found = truth.copy()
    found[0, names.index("left_hip")] += (39, 0)  # the middle moves by 19.5 of 40 pixels
    got = metrics.pcp(truth, found, np.ones((1, 14), bool), [ends["torso"]])
    assert got.tolist() == [100]
    found[0, names.index("left_hip")] += (2, 0)
    assert metrics.pcp(truth, found, np.ones((1, 14), bool), [ends["torso"]]).tolist() == [0]


def test_limbs_of_other_sets() -> None:
    assert "head" not in metrics.limb_ends(SKELETONS["coco17"].names)
    assert len(metrics.limb_ends(SKELETONS["coco17"].names)) == 9
    assert metrics.limb_ends(SKELETONS["mpii16"].names)["head"] == ([8], [9])


def test_lengths() -> None:
    assert metrics.head_sizes([[0, 0, 30, 40]]).tolist() == [30]
    torso = np.zeros((1, 17, 2))
    torso[0, 5], torso[0, 12] = (3, 0), (0, 4)
    assert metrics.torso_sizes(torso, SKELETONS["coco17"].names).tolist() == [5]
    assert np.isnan(metrics.torso_sizes(np.zeros((1, 1, 2)), ["nose"])).all()


def test_pdj_rises_and_starts_at_the_exact_hits() -> None:
    curve = metrics.pdj([[0.0, 0.3]], [[True, True]], within="<=")
    assert curve.shape == (11, 2)
    assert curve[:, 0].tolist() == [100] * 11
    assert curve[:, 1].tolist() == [0] * 6 + [100] * 5


# ---- COCO's figures of resampled pictures -----------------------------------------------------------------------


def coco_set(seed: int, pictures: int = 12) -> tuple[dict, list[dict]]:
    """Random people, and results that are near some of them; medium and large ones, crowds, nobody."""
    generator = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(pictures):
        for _ in range(generator.integers(0, 4)):
            size = generator.uniform(20, 200)
            xy = generator.uniform(0, 400, 2) + generator.uniform(0, size, (17, 2))
            flat = np.column_stack([xy, np.full(17, 2)]).reshape(-1).tolist()
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": 1,
                "iscrowd": int(generator.random() < 0.1),
                "area": float(size**2), "bbox": [*xy.min(axis=0).tolist(), float(size), float(size)],
                "keypoints": flat, "num_keypoints": 17,
            })  # fmt: skip
            near = xy + generator.normal(0, size * 0.05 * generator.random(), xy.shape)
            if generator.random() < 0.8:
                results.append({
                    "image_id": image, "category_id": 1, "score": float(generator.random()),
                    "keypoints": np.column_stack([near, np.ones(17)]).reshape(-1).tolist(),
                })  # fmt: skip
        if generator.random() < 0.3:
            results.append({
                "image_id": image, "category_id": 1, "score": float(generator.random()),
                "keypoints": np.column_stack([generator.uniform(0, 400, (17, 2)), np.ones(17)]).reshape(-1).tolist(),
            })  # fmt: skip
    images = [{"id": i} for i in range(pictures)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}, results


def repeated(tree: dict, results: list[dict], times: list[int]) -> tuple[dict, list[dict]]:
    """The same set with picture i written down times[i] times over."""
    images, annotations, more = [], [], []
    for image, count in enumerate(times):
        for _ in range(count):
            own = len(images)
            images.append({"id": own})
            annotations += [a | {"image_id": own} for a in tree["annotations"] if a["image_id"] == image]
            more += [r | {"image_id": own} for r in results if r["image_id"] == image]
    annotations = [a | {"id": i} for i, a in enumerate(annotations, 1)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}, more


@pytest.mark.parametrize("seed", range(5))
def test_resampled_figures_are_pycocotools_own(seed: int) -> None:
    tree, results = coco_set(seed)
    evaluation = coco_evaluation(tree, results)
    times = np.random.default_rng(seed).multinomial(12, [1 / 12] * 12)
    for weights in (np.ones(12, int), times):
        got = evaluation.resampled(weights.astype(np.float64))
        wanted = coco_evaluation(*repeated(tree, results, weights.tolist())).figures
        for name in wanted.__slots__:
            value = getattr(got, name)
            assert getattr(wanted, name) == pytest.approx(0 if np.isnan(value) else value, abs=1e-9), name
    assert evaluation.figures.ap > 0


def test_nobody_annotated_has_no_figures_and_nobody_found_has_zero() -> None:
    tree, results = coco_set(0)
    nobody = coco_evaluation(tree | {"annotations": []}, results)
    assert np.isnan(nobody.resampled(np.ones(12)).ap)
    assert nobody.figures.ap == 0
    assert coco_evaluation(tree, []).resampled(np.ones(12)).ap == 0
