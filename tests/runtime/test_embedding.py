"""Associative embedding against its NumPy definition, the goldens, and broken input."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.embedding import scene
from definitions import embedding as definition
from families.embedding import COCO_FLIP, FAMILIES
from native_test import native_test
from pose_runtime import decode
from pose_runtime.decode.embedding import EmbeddingDecoder, Pass, aggregate, embedding, embedding_outputs, resize
from pose_runtime.errors import DecodeError
from shared import shared

PARAMETERS: dict[str, Any] = {
    "joint_order": decode.COCO_ORDER,
    "nms": 5,
    "max_people": 30,
    "threshold": 0.1,
    "tag_threshold": 1.0,
    "use_detection_val": True,
    "ignore_too_much": False,
    "distance": "l2",
    "adjust": True,
    "refine": True,
    "refined_score": "map",
    "at_input_size": True,
    "grid": "corner",
}


@pytest.fixture(params=["release", "lanes"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release build, and the build in which several threads share the work."""
    if request.param == "lanes":
        # The package holds the function of this name; the module must be asked for.
        monkeypatch.setattr(import_module("pose_runtime.decode.embedding"), "native", native_test())


def same(found: Any, wanted: Any) -> None:
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)


def random_maps(seed: int, joints: int, height: int, width: int, parts: int, shared_tags: bool) -> tuple[Any, Any]:
    """Rough maps on a coarse grid of values, so that plateaus, equal scores and equal tags are common."""
    random = np.random.default_rng(seed)
    heat = random.integers(-2, 12, (joints, height, width)).astype(np.float32) / np.float32(16)
    heat *= random.random(heat.shape) < random.random()
    tags = random.integers(0, 9, (1 if shared_tags else joints, height, width, parts)).astype(np.float32)
    tags *= np.float32(random.choice([0.25, 0.7, 1.3]))
    return heat, tags


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Any, dict[str, Any]]:
    joints = draw(st.integers(1, 5))
    heat, tags = random_maps(
        draw(st.integers(0, 2**32)), joints, draw(st.integers(1, 40)), draw(st.integers(1, 40)),
        draw(st.integers(1, 3)), draw(st.booleans()),
    )  # fmt: skip
    for array in (heat, tags):
        if draw(st.booleans()):
            random = np.random.default_rng(draw(st.integers(0, 2**32)))
            odd = random.random(array.shape) < 0.05
            array[odd] = random.choice(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32), odd.sum())
    options = {
        "joint_order": draw(st.permutations(range(joints))),
        "nms": draw(st.sampled_from([1, 3, 5, 9])),
        "max_people": draw(st.integers(1, 12)),
        "threshold": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "tag_threshold": draw(st.sampled_from([0.25, 1.0, 3.0])),
        "use_detection_val": draw(st.booleans()),
        "ignore_too_much": draw(st.booleans()),
        "distance": draw(st.sampled_from(["l2", "rms"])),
        "adjust": draw(st.booleans()),
        "refine": draw(st.booleans()),
        "refined_score": draw(st.sampled_from(["map", "one"])),
    }
    return heat, tags, options


@settings(max_examples=60, deadline=None)
@given(cases())
def test_equals_the_definition_on_any_input(case: Any) -> None:
    heat, tags, options = case
    with np.errstate(all="ignore"):
        same(embedding(heat, tags, **options), definition.embedding(heat, tags, **options))


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("seed", range(6))
def test_lanes_do_not_change_the_result(seed: int) -> None:
    heat, tags = random_maps(seed, 5, 33, 50, 1 + seed % 2, seed % 3 == 0)
    heat[0, 3:6, 4:9] = np.nan
    tags[0, 7, :9] = np.inf
    wanted = definition.embedding(heat, tags, joint_order=range(5), max_people=10)
    same(embedding(heat, tags, max_people=10), wanted)


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("people", [0, 1, 7])
def test_scene(people: int) -> None:
    heat, tags = scene(people, 96, 1.5)
    found = embedding(heat, tags[..., None])
    same(found, definition.embedding(heat, tags[..., None], joint_order=decode.COCO_ORDER))
    assert len(found.scores) == people


def test_munkres_is_the_package() -> None:
    package = pytest.importorskip("munkres")
    random = np.random.default_rng(1)
    for _ in range(60):
        n = int(random.integers(1, 12))
        cost = np.round(4 * random.random((n, n))) * 100 - random.random((n, 1))
        cost[:, int(random.integers(1, n + 1)) :] = 1e10
        assert definition.munkres(cost) == package.Munkres().compute(cost.tolist())


@pytest.mark.parametrize("nobody", [0.0, np.nan, -np.inf, np.inf, 0.09])
def test_nobody(nobody: float) -> None:
    found = embedding(np.full((17, 9, 7), nobody), np.zeros((17, 9, 7, 1)))
    assert [array.shape for array in found] == [(0, 17, 3), (0, 17, 1), (0,)]


def test_most_people() -> None:
    """Every peak of every joint has a tag of its own: each starts a person, all of them fit."""
    heat = np.zeros((4, 40, 40), np.float32)
    heat[:, ::5, ::5] = np.linspace(0.2, 0.9, 256).reshape(4, 8, 8)
    tags = np.arange(4 * 1600, dtype=np.float32).reshape(4, 40, 40, 1) * 3
    people = embedding(heat, tags, max_people=64, refine=False)
    assert people.keypoints.shape == (256, 4, 3)
    few = embedding(heat, tags, max_people=3, refine=False)
    assert few.scores.tolist() == people.scores[[0, 1, 2, 64, 65, 66, 128, 129, 130, 192, 193, 194]].tolist()


def test_missing_keypoints_are_nan_with_score_zero() -> None:
    heat = np.zeros((2, 8, 8), np.float32)
    heat[0, 3, 4] = 0.5
    people = embedding(heat, np.zeros((2, 8, 8, 1)))
    np.testing.assert_array_equal(people.keypoints, np.float32([[[4.25, 3.25, 0.5], [np.nan, np.nan, 0]]]))
    np.testing.assert_array_equal(people.scores, np.float32([0.25]))


def test_non_contiguous_and_other_types() -> None:
    heat, tags = scene(2, 64, 1.5)
    wanted = embedding(heat, tags[..., None])
    views = np.stack([heat, heat], -1)[..., 0], np.asfortranarray(tags[..., None].astype(np.float64))
    same(embedding(*views), wanted)


# ---- network outputs ---------------------------------------------------------------------------------------------


def outputs(people: int, wh: tuple[int, int], seed: int) -> tuple[Any, Any, Any]:
    coarse, tags = scene(people, 64, 2.0, seed)
    fine, _ = scene(people, 128, 2.0, seed)
    return coarse[:, : wh[1], : wh[0]], fine[:, : 2 * wh[1], : 2 * wh[0]], tags[:, : wh[1], : wh[0]]


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("people", [1, 4])
@pytest.mark.parametrize(
    ("wh", "size"), [((64, 64), (256, 256)), ((40, 52), (160, 208)), ((33, 17), (131, 71)), ((20, 31), (40, 62))]
)
def test_outputs_equal_aggregated_maps(people: int, wh: tuple[int, int], size: tuple[int, int]) -> None:
    coarse, fine, tags = outputs(people, wh, people)
    heat, both = aggregate([Pass(1, [np.concatenate([coarse, tags]), fine])], flip_pairs=COCO_FLIP, size_wh=size)
    same(embedding_outputs([coarse, fine], tags, size_wh=size), embedding(heat, both))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(0, 30), st.booleans()
)
def test_any_outputs_equal_aggregated_maps(seed: int, w: int, h: int, grow: int, more: int, broken: bool) -> None:
    random = np.random.default_rng(seed)
    coarse, tags = random.normal(0, 0.3, (2, 3, h, w)).astype(np.float32)
    fine = random.normal(0, 0.3, (3, h + grow, w + grow)).astype(np.float32)
    size = (w + grow + more, h + grow + more)
    if broken:
        for array in (coarse, tags, fine):
            array[random.random(array.shape) < 0.03] = random.choice([np.nan, np.inf, -np.inf, 1e20, -1e20])
    with np.errstate(all="ignore"):
        heat, both = aggregate([Pass(1, [np.concatenate([coarse, tags]), fine])], flip_pairs=(), size_wh=size)
        same(embedding_outputs([coarse, fine], tags, size_wh=size), embedding(heat, both))


def test_resize_equals_its_definition() -> None:
    maps = np.random.default_rng(0).random((3, 7, 5), np.float32)
    for size in ((5, 7), (10, 14), (13, 9), (3, 2), (1, 1)):
        np.testing.assert_allclose(resize(maps, size), definition.resize(maps, size), atol=1e-6)


def test_aggregate_averages_scales_and_mirrors() -> None:
    random = np.random.default_rng(0)
    coarse, fine = random.random((4, 6, 8), np.float32), random.random((2, 12, 16), np.float32)
    mirrored = [np.ascontiguousarray(array[..., ::-1]) for array in (coarse, fine)]
    plain = aggregate([Pass(1, [coarse, fine])], flip_pairs=(), size_wh=(32, 24))
    both = aggregate([Pass(1, [coarse, fine], mirrored)] * 2, flip_pairs=(), size_wh=(32, 24))
    np.testing.assert_allclose(both[0], plain[0], atol=1e-6)
    assert both[1].shape == (2, 24, 32, 4)
    with pytest.raises(DecodeError, match="without scale 1"):
        aggregate([Pass(2, [coarse]), Pass(0.5, [coarse])], flip_pairs=(), size_wh=(32, 24))
    with pytest.raises(DecodeError, match="got none"):
        aggregate([], flip_pairs=(), size_wh=None)


# ---- decoder and errors ------------------------------------------------------------------------------------------


def test_decoder() -> None:
    coarse, fine, tags = outputs(3, (64, 64), 0)
    decoder = msgspec.convert({"family": "embedding", **PARAMETERS}, decode.Decoder)
    assert isinstance(decoder, EmbeddingDecoder)
    found = decoder({"heatmaps": [coarse, fine], "tags": [tags]}, (256, 256))
    wanted = embedding_outputs([coarse, fine], tags, size_wh=(256, 256))
    same(found, (wanted.keypoints, wanted.scores))
    at_maps = EmbeddingDecoder(**{**PARAMETERS, "at_input_size": False})
    found = at_maps({"heatmaps": [coarse, fine], "tags": [tags]}, (256, 256))
    wanted = embedding_outputs([coarse, fine], tags, size_wh=(128, 128))
    np.testing.assert_array_equal(found.keypoints[..., :2], 2 * wanted.keypoints[..., :2])
    with pytest.raises(DecodeError, match="role 'heatmaps'"):
        decoder({"tags": [tags]}, (256, 256))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"family": "embedding"}, decode.Decoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nms": 4}, "nms: got 4"),
        ({"nms": 11}, "nms: got 11"),
        ({"max_people": 65}, "max_people: got 65"),
        ({"max_people": 0}, "max_people: got 0"),
        ({"threshold": -0.1}, "threshold: got -0.1"),
        ({"threshold": np.nan}, "threshold: got nan"),
        ({"tag_threshold": 0}, "tag_threshold: got 0"),
        ({"joint_order": (0, 0)}, "joint_order"),
        ({"distance": "l1"}, "distance: got 'l1'"),
        ({"refined_score": "two"}, "refined_score: got 'two'"),
    ],
)
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        embedding(np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 1)), **change)


@pytest.mark.parametrize(
    ("heat", "tags"),
    [((2, 4, 4), (2, 4, 5, 1)), ((2, 4, 4), (3, 4, 4, 1)), ((2, 4, 4), (2, 4, 4)), ((0, 4, 4), (0, 4, 4, 1)),
     ((2, 4, 4), (2, 4, 4, 17)), ((65, 2, 2), (65, 2, 2, 1)), ((2, 0, 4), (2, 0, 4, 1))],
)  # fmt: skip
def test_wrong_shapes(heat: tuple[int, ...], tags: tuple[int, ...]) -> None:
    with pytest.raises(DecodeError):
        embedding(np.zeros(heat), np.zeros(tags))


def test_wrong_outputs() -> None:
    maps = np.zeros((2, 4, 4))
    with pytest.raises(DecodeError, match="each to hold the one before"):
        embedding_outputs([maps], maps, size_wh=(3, 8))
    with pytest.raises(DecodeError, match="got 3 arrays"):
        embedding_outputs([maps] * 3, maps, size_wh=(8, 8))
    with pytest.raises(DecodeError, match="tags"):
        embedding_outputs([maps], np.zeros((2, 4, 5)), size_wh=(8, 8))


@pytest.mark.parametrize("name", FAMILIES)
def test_goldens(name: str) -> None:
    root: Path = shared("reference")
    cases = list(FAMILIES[name](root))
    assert cases
    assert [case for case in cases if not case.passed] == []
