"""The builds for two instruction sets give the same bits; decoders run in several threads and on read-only arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from bench.embedding import scene as embedding_scene
from bench.paf import scene as paf_scene
from pose_runtime.decode import cascade_boxes, embedding, embedding_outputs, heatmap, offset, paf_parts, vector
from pose_runtime.decode.embedding import resize
from pose_runtime.decode.heatmap import Refine
from pose_runtime.frame import Frame
from pose_runtime.geometry import Geometry, Stretch, crop_inverse, plan
from pose_runtime.preprocess import preprocess

USERS = ("decode.embedding", "decode.heatmap", "decode.offset", "decode._paf_tables", "decode.paf", "decode.vector")
MODULES = [import_module(f"pose_runtime.{user}") for user in (*USERS, "preprocess")]
PAF = sys.modules["pose_runtime.decode.paf"]


def forget_tables() -> None:
    """A module takes its own tables only."""
    PAF._sampling.cache_clear()
    PAF._prepared.cache_clear()


def noisy(seed: int, *shape: int) -> Any:
    """Smooth float32 values with some NaN, infinities, denormal and huge numbers among them."""
    random = np.random.default_rng(seed)
    values = random.normal(0.2, 0.4, shape).astype(np.float32)
    at = random.random(shape)
    special = random.choice(np.array([np.nan, np.inf, -np.inf, 1e-41, 3e38, 0.0, -0.0], np.float32), shape)
    return np.where(at < 0.02, special, values)


def run_heatmaps() -> list[Any]:
    maps = [noisy(1, 2, 5, 33, 41), np.random.default_rng(2).random((1, 4, 24, 30), np.float32) - np.float32(0.9)]
    return [
        heatmap(one, refine=refine, blur_sigma=sigma)
        for one, refine, sigma in product(maps, get_args(Refine), (0.0, 1.3))
    ]


def run_embedding() -> list[Any]:
    found: list[Any] = []
    for people in (1, 12):
        coarse, tags = embedding_scene(people, 40, 1.0)
        fine, _ = embedding_scene(people, 80, 1.0)
        tags[3, 5:9, 7] = np.nan
        fine[2, 11] = np.inf
        found += embedding(fine, resize(tags, (80, 80))[..., None])
        found += embedding_outputs((coarse, fine), tags, size_wh=(161, 127), distance="rms", use_detection_val=False)
    return found


def run_paf() -> list[Any]:
    found: list[Any] = []
    for profile in ("openpose", "lightweight", "trt_pose", "tf_pose"):
        for heat, fields in (paf_scene(profile, 6, 40, 30), (noisy(4, 19, 12, 17), noisy(5, 42, 12, 17))):
            for part in paf_parts(heat, fields, profile=profile):
                found += part if isinstance(part, list) else [part]
    return found


def run_offset() -> list[Any]:
    return [*offset(noisy(6, 3, 21, 30), noisy(7, 3, 2, 21, 30), radius=4.5, logits=True)]


def run_vector() -> list[Any]:
    points = vector(noisy(8, 3, 14, 2), noisy(9, 3, 4), origin="corner")
    return [points, cascade_boxes(points, torso=(9, 2), sigma=1.5)]


def run_preprocess() -> list[Any]:
    found = []
    random = np.random.default_rng(10)
    for layout, strides, planes in (
        ("bgr8", (153,), (153 * 38,)),
        ("gray8", (50,), (50 * 38,)),
        ("nv12", (50, 52), (50 * 38, 52 * 19)),
        ("yuyv", (101,), (101 * 38,)),
    ):
        frame = Frame(tuple(random.integers(0, 256, n, np.uint8) for n in planes), layout, (50, 38), strides)  # type: ignore[arg-type]
        inverse = crop_inverse("hrnet", (25.0, 20.0), (40.0, 30.0), (33, 29), 20.0)
        for way in ("bilinear", "bicubic"):
            straight = plan(Stretch(interpolation=way, round_pixels=way == "bicubic"), (50, 38), (33, 29))  # type: ignore[arg-type]
            turned = Geometry(inverse, (33, 29), (0, 0, 33, 29), False, way, False, 7.5, False)  # type: ignore[arg-type]
            for geometry, dtype in product((straight, turned), (np.float32, np.float16)):
                out = np.empty((3, 29, 33), dtype)
                preprocess(frame, geometry, colour="rgb", mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), out=out)
                found.append(out)
    return found


OPERATIONS = (run_heatmaps, run_embedding, run_paf, run_offset, run_vector, run_preprocess)


def assert_same_bits(got: list[Any], want: list[Any]) -> None:
    for mine, theirs in zip(got, want, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))  # a NaN's own bits say nothing
        assert same.all()
        assert (np.signbit(mine) == np.signbit(theirs))[~np.isnan(mine)].all()


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the build that all operations use."""

    def use(name: str) -> None:
        native = pytest.importorskip(f"pose_runtime.{name}")
        if name == "_native_v3" and not native.supports_v3():
            pytest.skip("this processor has no AVX2")
        for module in MODULES:
            monkeypatch.setattr(module, "native", native)
        forget_tables()

    yield use
    monkeypatch.undo()
    forget_tables()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_builds_give_the_same_bits(operation: Callable[[], list[Any]], switch: Callable[[str], None]) -> None:
    switch("_native_base")
    want = operation()
    switch("_native_v3")
    assert_same_bits(operation(), want)


def test_decoders_run_in_threads() -> None:
    """Scratch memory belongs to a thread, and cached tables are only read."""
    want = [operation() for operation in OPERATIONS]
    forget_tables()  # several threads make them at once
    order = [(at, operation) for _ in range(3) for at, operation in enumerate(OPERATIONS)]
    with ThreadPoolExecutor(6) as pool:
        for at, got in zip((at for at, _ in order), pool.map(lambda job: job[1](), order), strict=True):
            assert_same_bits(got, want[at])


def test_read_only_arrays_are_decoded() -> None:
    heat, tags = embedding_scene(2, 40, 1.0)
    maps, fields = paf_scene("trt_pose", 2, 20, 16)
    want = [*embedding(heat, tags[..., None]), *paf_parts(maps, fields, profile="trt_pose")[:4], heatmap(heat[None])]
    for array in (heat, tags, maps, fields):
        array.flags.writeable = False
    got = [*embedding(heat, tags[..., None]), *paf_parts(maps, fields, profile="trt_pose")[:4], heatmap(heat[None])]
    assert_same_bits(got, want)
