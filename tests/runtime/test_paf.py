"""Part-affinity-field decoding against its definition, on hostile input, and for any number of lanes."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.paf import scene
from definitions import paf as definition
from families.paf import FAMILIES
from native_test import native_test
from pose_runtime.decode import (
    BODY25_LIMBS,
    COCO18_LIMBS,
    MPI15_LIMBS,
    TRT_POSE_LIMBS,
    Decoder,
    PafDecoder,
    paf,
    paf_parts,
    paf_sample,
)
from pose_runtime.errors import DecodeError
from shared import shared

PROFILES = ("openpose", "lightweight", "trt_pose", "tf_pose")
ENLARGING = ("openpose", "lightweight", "tf_pose")
MODULE = sys.modules["pose_runtime.decode.paf"]
few = settings(max_examples=15, deadline=None, derandomize=True)

TINY_LIMBS = ((0, 1, 0, 1), (1, 2, 2, 3), (2, 0, 5, 4))


def options_of(profile: str, **changes: Any) -> dict[str, Any]:
    return MODULE._PUBLISHED[profile]._asdict() | changes


def noise(seed: int, parts: int, channels: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps with several peaks per part and fields in which many pairs connect."""
    rng = np.random.default_rng(seed)
    heat = rng.uniform(-0.1, 0.6, (parts, height, width)).astype(np.float32) ** 3 * 4
    return heat, rng.normal(0.2, 0.3, (channels, height, width)).astype(np.float32)


def spoil(array: np.ndarray, seed: int) -> None:
    """Some NaN and infinities."""
    rng = np.random.default_rng(seed)
    flat = array.reshape(-1)
    at = rng.integers(0, flat.size, max(1, flat.size // 40))
    flat[at] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38], len(at))


def expected(heat: np.ndarray, fields: np.ndarray, profile: str, o: dict[str, Any]) -> tuple[Any, Any, Any]:
    """All stages of the definition on the native decoded maps: peaks, connections, people."""
    limbs, parts = o["limbs"], 1 + max(max(limb[:2]) for limb in o["limbs"])
    values = paf_sample(heat, profile=profile, upsample=o["upsample"])
    searched = paf_sample(heat, profile=profile, upsample=o["upsample"], searched=True)
    field = paf_sample(fields, profile=profile, upsample=o["upsample"])
    peaks = [definition.enlarged_peaks(searched[k], values[k], profile, o) for k in range(parts)]
    offsets = np.r_[0, np.cumsum([len(p) for p in peaks])]
    connections = [definition.greedy(peaks[a], peaks[b], field[[x, y]], profile, o) for a, b, x, y in limbs]
    links = [
        [(offsets[a] + i, offsets[b] + j, score) for i, j, score in found]
        for (a, b, _, _), found in zip(limbs, connections, strict=True)
    ]
    flat = [peak for part in peaks for peak in part]
    return peaks, connections, definition.assemble(profile, limbs, o["matching_only"], parts, links, flat, o)


def check_against_definition(heat: np.ndarray, fields: np.ndarray, profile: str, **changes: Any) -> None:
    o = options_of(profile, **changes)
    found = paf_parts(heat, fields, profile=profile, **changes)
    with np.errstate(all="ignore"):
        peaks, connections, people = expected(heat, fields, profile, o)
    np.testing.assert_array_equal(found.counts, [len(p) for p in peaks])
    np.testing.assert_array_equal(found.peaks, np.array([p for part in peaks for p in part]).reshape(-1, 3))
    for got, scores, want in zip(found.connections, found.connection_scores, connections, strict=True):
        np.testing.assert_array_equal(got, np.array([c[:2] for c in want]).reshape(-1, 2))
        np.testing.assert_array_equal(scores, np.array([c[2] for c in want]))
    np.testing.assert_array_equal(found.ids, np.array([p["ids"] for p in people]).reshape(found.ids.shape))
    np.testing.assert_array_equal(found.sizes, [p["count"] for p in people])
    np.testing.assert_allclose(found.sums, [p["sum"] for p in people], rtol=1e-12)


@pytest.mark.parametrize("profile", ENLARGING)
@pytest.mark.parametrize(
    "geometry", [{}, {"upsample": 3}, {"crop": (3, 2, 1, 5), "size_wh": (61, 47)}, {"size_wh": (9, 7)}]
)
def test_decoded_maps_are_those_of_opencv_and_scipy(profile: str, geometry: dict[str, Any]) -> None:
    maps = np.random.default_rng(1).random((3, 9, 11), np.float32)
    spoiled = maps.copy()
    spoiled[2, 4, 3:6] = (np.nan, np.inf, -np.inf)
    maps[2, 4, 3:6] = 0
    geometry = {"upsample": MODULE._PUBLISHED[profile].upsample} | geometry
    want = definition.decoded(maps, profile, **geometry)
    got = paf_sample(spoiled, profile=profile, **geometry)
    np.testing.assert_allclose(got, want, atol=2e-6)
    searched = paf_sample(spoiled, profile=profile, searched=True, **geometry)
    np.testing.assert_allclose(searched, definition.smoothed(want, profile), atol=2e-6)


@pytest.mark.parametrize("profile", ENLARGING)
@few
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_equals_definition_on_noise(profile: str, seed: int, width: int, height: int, spoiled: bool) -> None:
    heat, fields = noise(seed, 3, 6, height, width)
    if spoiled:
        spoil(heat, seed)
        spoil(fields, seed + 1)
    matching = (2,) if seed % 2 else ()
    options = {
        "limbs": TINY_LIMBS,
        "matching_only": matching,
        "upsample": 1 + seed % 4,
        "min_parts": 2,
        "min_score": 0.0,
    }
    check_against_definition(heat, fields, profile, min_hits=4, max_peaks=5 + seed % 40, **options)


@pytest.mark.parametrize("profile", ENLARGING)
def test_equals_definition_on_people(profile: str) -> None:
    heat, fields = scene(profile, 3, 30, 24)
    check_against_definition(heat, fields, profile, upsample=3)


@few
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 14), st.booleans())
def test_trt_pose_equals_definition(seed: int, width: int, height: int, spoiled: bool) -> None:
    heat, fields = noise(seed, 3, 6, height, width)
    if spoiled:
        spoil(heat, seed)
        spoil(fields, seed + 1)
    o = options_of("trt_pose", limbs=TINY_LIMBS, window=2 + seed % 5, max_peaks=3 + seed % 20, max_people=1 + seed % 30)
    found = paf_parts(
        heat, fields, profile="trt_pose", **{k: o[k] for k in ("limbs", "window", "max_peaks", "max_people")}
    )
    with np.errstate(all="ignore"):
        parts = [definition.windowed_peaks(plane, o) for plane in heat]
        np.testing.assert_array_equal(found.counts, [len(cells) for cells, _ in parts])
        cells = [c for part, _ in parts for c in part]
        np.testing.assert_array_equal(found.cells, np.array(cells).reshape(-1, 2))
        points = np.array([p for _, part in parts for p in part], np.float32).reshape(-1, 3)
        np.testing.assert_array_equal(found.peaks, points)
        connections = []
        for graph, pairs, (a, b, x, y) in zip(found.graph, found.connections, TINY_LIMBS, strict=True):
            field = fields[[x, y]]
            ends = (parts[a][1], parts[b][1])
            want = [[definition.line_mean(i, j, field, o["samples"]) for j in ends[1]] for i in ends[0]]
            np.testing.assert_array_equal(graph, np.array(want, np.float32).reshape(graph.shape))
            connections.append(
                definition.optimal(graph, o["limb_threshold"]) if np.abs(graph).max(initial=0) < 1e6 else pairs
            )
            assert [tuple(pair) for pair in pairs.tolist()] == [tuple(map(int, pair)) for pair in connections[-1]]
    offsets = np.r_[0, found.counts.cumsum()]
    objects = definition.components(found.counts, TINY_LIMBS, connections, o["max_people"])
    want_ids = [[-1 if i < 0 else offsets[k] + i for k, i in enumerate(person)] for person in objects]
    np.testing.assert_array_equal(found.ids, np.array(want_ids).reshape(found.ids.shape))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("people", [0, 1, 6])
def test_finds_everybody_on_synthetic_maps(profile: str, people: int) -> None:
    heat, fields = scene(profile, people, 60, 48)
    keypoints, scores = paf(heat, fields, profile=profile)
    assert len(keypoints) == len(scores) == people
    assert keypoints.shape == (people, 18, 3)
    assert keypoints.dtype == scores.dtype == np.float32
    missing = np.isnan(keypoints[..., 0])
    assert (keypoints[missing][:, 2] == 0).all()
    assert not missing.any() or missing.mean() < 0.2


@pytest.mark.parametrize("profile", PROFILES)
@few
@given(st.data())
def test_survives_anything(profile: str, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 1.0, 0.5, -1.0, np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40])
    fill = data.draw(values)
    heat = np.full((3, height, width), fill, np.float32)
    fields = np.full((6, height, width), data.draw(values), np.float32)
    if data.draw(st.booleans()):
        spoil(heat, 5)
        spoil(fields, 6)
    found = paf_parts(
        heat, fields, profile=profile, limbs=TINY_LIMBS, max_peaks=data.draw(st.integers(1, 20)),
        max_people=data.draw(st.integers(1, 3)), min_hits=data.draw(st.integers(0, 7)), samples=7,
    )  # fmt: skip
    assert (found.ids < len(found.peaks)).all()
    assert len(found.scores) <= 3
    assert np.isfinite(found.peaks[:, :2]).all()


@pytest.mark.parametrize("profile", ENLARGING)
def test_more_peaks_and_people_than_capacity(profile: str) -> None:
    heat, fields = scene(profile, 8, 60, 48)
    everything = paf_parts(heat, fields, profile=profile)
    few_peaks = paf_parts(heat, fields, profile=profile, max_peaks=4, min_distance=0)
    assert few_peaks.counts.max() == 4
    first = everything.counts[0]
    best = np.sort(everything.searched[:first])[::-1][:4]
    np.testing.assert_array_equal(np.sort(few_peaks.searched[:4])[::-1], best)
    two = paf(heat, fields, profile=profile, max_people=2)
    order = np.sort(np.argsort(-everything.scores, kind="stable")[:2])
    np.testing.assert_array_equal(two[0], everything.keypoints[order])
    np.testing.assert_array_equal(two[1], everything.scores[order])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 2), (20, 20)])
def test_assignment_is_optimal(size: tuple[int, int]) -> None:
    """Peaks in rows of a map; any field gives some graph, whose best sum SciPy knows."""
    rng = np.random.default_rng(size)
    heat = np.zeros((2, 64, 64), np.float32)
    for part, count in enumerate(size):
        heat[part, 3 + 3 * np.arange(count), 10 + 40 * part] = 1
    fields = rng.normal(0, 1, (2, 64, 64)).astype(np.float32)
    found = paf_parts(heat, fields, profile="trt_pose", limbs=((0, 1, 0, 1),), limb_threshold=-1e6)
    assert found.graph[0].shape == size
    pairs = [tuple(map(int, pair)) for pair in found.connections[0]]
    assert pairs == definition.optimal(found.graph[0], -1e6)


@pytest.mark.parametrize(
    ("limbs", "channels", "parts"),
    [(BODY25_LIMBS, 52, 25), (MPI15_LIMBS, 28, 15), (COCO18_LIMBS, 38, 18), (TRT_POSE_LIMBS, 42, 18)],
)
def test_topologies_name_every_channel_once(limbs: Any, channels: int, parts: int) -> None:
    assert sorted(c for limb in limbs for c in limb[2:]) == list(range(channels))
    assert {p for limb in limbs for p in limb[:2]} == set(range(parts))


def decoder(profile: str, **changes: Any) -> PafDecoder:
    return PafDecoder(**options_of(profile, grid="corner", **changes))


@pytest.mark.parametrize("profile", PROFILES)
def test_decoder_scales_to_the_input(profile: str) -> None:
    heat, fields = scene(profile, 2, 57, 40)
    decode = decoder(profile)
    assert msgspec.json.decode(msgspec.json.encode(decode), type=Decoder) == decode
    stride = 4 if profile == "trt_pose" else 8
    got = decode({"heatmaps": [heat], "pafs": [fields]}, (57 * stride, 40 * stride))
    keypoints, scores = paf(heat, fields, profile=profile)
    keypoints[..., :2] *= stride / decode.upsample
    np.testing.assert_array_equal(got.keypoints, keypoints)
    np.testing.assert_array_equal(got.scores, scores)


def test_decoder_refuses_when_it_is_made() -> None:
    with pytest.raises(DecodeError, match="two different parts below 18"):
        decoder("lightweight", limbs=((0, 18, 0, 1),))
    good = msgspec.json.encode(decoder("lightweight"))
    with pytest.raises(msgspec.ValidationError, match="min_hits: got 11"):
        msgspec.json.decode(good.replace(b'"min_hits":9', b'"min_hits":11'), type=Decoder)


def test_non_contiguous_and_other_dtypes() -> None:
    heat, fields = scene("lightweight", 2, 40, 30)
    heat, fields = heat.astype(np.float16).astype(np.float32), fields.astype(np.float16).astype(np.float32)
    want = paf(heat, fields, profile="lightweight")
    turned = np.asfortranarray(heat), fields.astype(np.float64).transpose(0, 2, 1).copy().transpose(0, 2, 1)
    got = paf(*turned, profile="lightweight")
    np.testing.assert_array_equal(got[0], want[0])


def test_large_maps_need_little_memory() -> None:
    heat, fields = np.zeros((19, 3, 1024), np.float32), np.zeros((38, 3, 1024), np.float32)
    heat[0, 1, 1000] = 1
    found = paf_parts(heat, fields, profile="openpose", size_wh=(8192, 20))
    assert found.counts[0] == 4  # the centre of cell (1000, 1) lies between four pixels
    assert found.cells.tolist() == [[8003, 9], [8004, 9], [8003, 10], [8004, 10]]


GOOD = {"profile": "lightweight"}


@pytest.mark.parametrize(
    ("heat", "fields", "options", "message"),
    [
        ((18, 4, 5), (38, 4, 4), GOOD, "pafs: got shape"),
        ((17, 4, 5), (38, 4, 5), GOOD, "wanted one for each of 18"),
        ((19, 4, 5), (37, 4, 5), GOOD, "the limbs name channel 37"),
        ((19, 0, 5), (38, 0, 5), GOOD, "heatmaps: got shape"),
        ((19, 4, 5), (38, 4, 5), {"profile": "other"}, "profile: got 'other'"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"max_peaks": 0}, "max_peaks: got 0"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"limbs": ((0, 0, 0, 1),)}, "limb"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"limbs": ()}, "limbs: got 0"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"upsample": 0}, "upsample: got 0"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"crop": (0, 10, 0, 10)}, "crop: got"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"samples": 1}, "samples: got 1"),
        ((18, 4, 5), (42, 4, 5), {"profile": "trt_pose", "upsample": 2}, "trt_pose"),
        ((18, 4, 5), (42, 4, 5), {"profile": "trt_pose", "window": 66}, "window: got 66"),
        ((19, 4, 5), (38, 4, 5), GOOD | {"peak_threshold": float("nan")}, "peak_threshold: got nan"),
    ],
)
def test_refuses(heat: Any, fields: Any, options: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message.replace("(", r"\(")):
        paf(np.zeros(heat, np.float32), np.zeros(fields, np.float32), **options)


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Switches the decoder to the build that runs every algorithm on several threads."""
    module = native_test()

    def switch() -> None:
        for name in ("pose_runtime.decode.paf", "pose_runtime.decode._paf_tables"):
            monkeypatch.setattr(sys.modules[name], "native", module)
        forget()

    def forget() -> None:
        MODULE._sampling.cache_clear()
        MODULE._prepared.cache_clear()

    yield switch
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("profile", PROFILES)
def test_lanes_do_not_matter(profile: str, lanes: Any) -> None:
    inputs = [scene(profile, 4, 40, 30), noise(3, 19, 42, 12, 17), noise(4, 19, 42, 1, 1)]
    options = {"max_peaks": 12, "max_people": 3}
    want = [paf_parts(*maps, profile=profile, **options) for maps in inputs]
    lanes()
    for maps, expect in zip(inputs, want, strict=True):
        got = paf_parts(*maps, profile=profile, **options)
        for mine, theirs in zip(got, expect, strict=True):
            pairs = zip(mine, theirs, strict=True) if isinstance(mine, list) else [(mine, theirs)]
            for a, b in pairs:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_goldens(name: str) -> None:
    cases = list(FAMILIES[name](shared("reference")))
    assert cases
    assert [case for case in cases if not case.passed] == []


def test_min_parts_beyond_int32() -> None:
    with pytest.raises(DecodeError, match="min_parts: got 2147483648"):
        paf(np.zeros((19, 4, 4)), np.zeros((38, 4, 4)), profile="openpose", min_parts=1 << 31)
