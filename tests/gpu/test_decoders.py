"""Planned launches on emulated blocks, against the decoders and the pre-processing of the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

import emulated
from emulated import DeviceMemory
from pose_export.presets import load_preset
from pose_runtime.decode import (
    Decoded,
    Decoder,
    EmbeddingDecoder,
    Grid,
    HeatmapDecoder,
    OffsetDecoder,
    PafDecoder,
    VectorDecoder,
    WindowDecoder,
)
from pose_runtime.decode.heatmap import Refine
from pose_runtime.errors import DecodeError, EngineError
from pose_runtime.gpu.decoders import DecodePlan, DeviceMaps, plan_decoder
from scenes import Outputs, outputs_for, spoil

GRIDS: tuple[Grid, ...] = get_args(Grid)


class Device:
    """One decoder with its outputs and its arena in host memory, as a device would have them."""

    def __init__(self, decoder: Decoder, outputs: Outputs, input_wh: tuple[int, int], block: int, fill: int) -> None:
        self.decoder, self.input_wh = decoder, input_wh
        self.maps = {role: [array.copy() for array in arrays] for role, arrays in outputs.items()}
        placed = {role: [DeviceMaps(a.ctypes.data, a.shape) for a in arrays] for role, arrays in self.maps.items()}
        self.plan: DecodePlan = plan_decoder(decoder, placed, input_wh, block)
        self.arena = DeviceMemory(self.plan.arena_bytes, fill)
        for upload in self.plan.uploads:
            self.arena.bytes[upload.offset : upload.offset + len(upload.data)] = np.frombuffer(upload.data, np.uint8)
        self.launches = self.plan.launches(self.arena.address)

    def decode(self, outputs: Outputs) -> Decoded:
        for role, arrays in outputs.items():
            for to, array in zip(self.maps[role], arrays, strict=True):
                to[...] = array
        emulated.run(*self.launches)
        self.arena.check_guards()
        start, size = self.plan.result
        return self.plan.read(self.arena.bytes[start : start + size].copy())


def check(device: Device, outputs: Outputs, tolerance: float = 0) -> int:
    """Both decoders on the same outputs; returns how many people there are."""
    wanted = device.decoder(outputs, device.input_wh)
    got = device.decode(outputs)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)  # NaN equals NaN
    return len(wanted.scores)


@dataclass(frozen=True)
class Case:
    name: str
    decoder: Decoder
    map_wh: tuple[int, int]
    input_wh: tuple[int, int]
    joints: int = 17
    levels: int = 2


def preset(name: str) -> Any:
    return load_preset(name).decoder


def changed(decoder: Any, **values: Any) -> Any:
    return msgspec.structs.replace(decoder, **values)


HEATMAP = HeatmapDecoder(refine="none", kernel=11, beta=10.0, blur_sigma=0.0, min_score=0.1, grid="corner")
OFFSET = OffsetDecoder(radius=4.0, logits=False, min_score=0.05, grid="corner")
NEWELL = {"nms": 3, "ignore_too_much": True, "distance": "rms", "refined_score": "one", "at_input_size": False}
OPENPOSE = changed(preset("lightweight-tiny"), upsample=8, max_peaks=24)
FEW = {"max_peaks": 5, "max_people": 3}


def cases() -> Iterator[Case]:
    """Every preset's decoder, and what no preset has: every refinement, profile, grid and option, and odd sizes."""
    for refine, grid in zip(get_args(Refine), 3 * GRIDS, strict=False):
        decoder = changed(HEATMAP, refine=refine, grid=grid, kernel=17 if grid == "aligned" else 11)
        yield Case(f"heatmap {refine}", decoder, (24, 33), (96, 131))
    yield Case("heatmap hrnet", preset("hrnet"), (48, 64), (192, 256))
    yield Case("heatmap cpm-mobile", preset("cpm-mobile"), (31, 29), (192, 192), joints=14)
    yield Case("heatmap blurred dark", changed(HEATMAP, refine="dark", blur_sigma=1.5), (25, 18), (100, 72))
    for name in ("lightweight-openpose", "lightweight-tiny", "tf-pose", "trt-pose"):
        yield Case(f"paf {name}", preset(name), (23, 19), (184, 150))
    yield Case("paf openpose", OPENPOSE, (21, 17), (168, 136))
    yield Case("paf trt-pose centre", changed(preset("trt-pose"), grid="centre", window=4), (28, 23), (224, 184))
    few = changed(preset("lightweight-openpose"), grid="aligned", **FEW)
    yield Case("paf lightweight aligned, few", few, (24, 17), (90, 70))
    yield Case("paf trt-pose, few", changed(preset("trt-pose"), **FEW), (28, 23), (224, 184))
    for name in ("higherhrnet", "higherhrnet-tiny"):
        yield Case(f"embedding {name}", preset(name), (25, 18), (100, 72))
    embedding = preset("higherhrnet")
    yield Case("embedding one level", changed(embedding, grid="centre"), (25, 18), (90, 70), levels=1)
    yield Case("embedding as they are", changed(embedding, **NEWELL), (33, 22), (132, 88))
    order = tuple(range(6))
    yield Case("embedding few", changed(embedding, joint_order=order, max_people=3), (25, 18), (100, 72), joints=6)
    for logits, grid in zip((False, True), GRIDS, strict=False):
        yield Case(f"offset logits {logits}", changed(OFFSET, logits=logits, grid=grid), (33, 21), (132, 84))
    for origin in ("centre", "corner"):
        for grid in GRIDS:
            decoder = VectorDecoder(origin=origin, grid=grid)  # type: ignore[arg-type]
            yield Case(f"vector {origin} {grid}", decoder, (1, 1), (64, 48), joints=14)
    yield Case("window tompson", preset("tompson"), (36, 36), (256, 256), joints=14)
    yield Case("window odd", WindowDecoder(stride=0.5, min_score=0.3), (13, 7), (64, 48), joints=5)


CASES = list(cases())
ALL = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def scene(case: Case, rng: np.random.Generator, people: int) -> Outputs:
    return outputs_for(case.decoder, rng, people, case.map_wh, case.joints, case.levels)


def tolerance(decoder: Decoder) -> float:
    """logf and expf may differ in the last bits from build to build."""
    return 1e-5 if isinstance(decoder, HeatmapDecoder) and decoder.refine in ("dark", "udp", "soft_argmax") else 0


@ALL
@pytest.mark.parametrize("block", [32, 64])
def test_equals_the_cpu_on_one_arena(case: Case, block: int) -> None:
    """Scene after scene on the same memory, which is never cleared."""
    rng = np.random.default_rng(len(case.name) + block)
    scenes = [scene(case, rng, people) for people in ((5, 0, 1) if block == 64 else (1, 30, 0, 5))]
    spoilt = {role: [array.copy() for array in arrays] for role, arrays in scenes[0].items()}
    spoil(spoilt)
    device = Device(case.decoder, scenes[0], case.input_wh, block, fill=0xFF if block == 32 else 0x5A)
    found = [check(device, outputs, tolerance(case.decoder)) for outputs in (*scenes, spoilt, scenes[0])]
    many = isinstance(case.decoder, PafDecoder | EmbeddingDecoder)
    assert max(found) >= (2 if many else 1)
    assert not many or found[2 if block == 32 else 1] == 0  # nobody there


@pytest.mark.slow
@ALL
def test_equals_the_cpu_on_many_random_scenes(case: Case) -> None:
    """Over 1 000 scenes in all; every seventh is spoilt."""
    rng = np.random.default_rng(99)
    device = Device(case.decoder, scene(case, rng, 3), case.input_wh, 64, fill=0xFF)
    for number in range(1 + 1000 // len(CASES)):
        outputs = scene(case, rng, int(rng.choice([0, 1, 2, 5, 9, 30], p=[0.1, 0.3, 0.2, 0.2, 0.15, 0.05])))
        if number % 7 == 6:
            spoil(outputs, every=int(rng.integers(11, 500)))
        check(device, outputs, tolerance(case.decoder))


def embedding_outputs(**shapes: tuple[int, ...]) -> dict[str, list[DeviceMaps]]:
    good = {"heatmaps": (17, 8, 8), "tags": (17, 8, 8)} | shapes
    return {role: [DeviceMaps(4096, shape)] for role, shape in good.items()}


@pytest.mark.parametrize(
    ("decoder", "outputs", "message"),
    [
        (HEATMAP, {}, "got 0 of role 'heatmaps'"),
        (HEATMAP, {"heatmaps": [DeviceMaps(4096, (3, 8))]}, "wanted \\(C, H, W\\)"),
        (HEATMAP, {"heatmaps": [DeviceMaps(4096, (0, 8, 8))]}, "wanted \\(C, H, W\\)"),
        (HEATMAP, {"heatmaps": [DeviceMaps(0, (3, 8, 8))]}, "an address"),
        (HEATMAP, {"heatmaps": [DeviceMaps(4098, (3, 8, 8))]}, "an address"),
        (HEATMAP, {"heatmaps": [DeviceMaps(4096, (3, 1 << 16, 1 << 16))]}, "too large"),
        (OFFSET, {r: [DeviceMaps(4096, (3, 8, 8))] for r in ("heatmaps", "offsets")}, "\\(2K, H, W\\)"),
        (VectorDecoder(origin="corner", grid="corner"), {"vector": [DeviceMaps(4096, (7,))]}, "wanted \\(2K,\\)"),
        (preset("tompson"), {"fine": [DeviceMaps(4096, (3, 8, 8))]}, "got 0 of role 'windows'"),
        (
            preset("tompson"),
            {"fine": [DeviceMaps(4096, (3, 8, 8))], "windows": [DeviceMaps(4096, (5,))]},
            "wanted \\(2K,\\)",
        ),
        (OPENPOSE, {r: [DeviceMaps(4096, (17, 8, 8))] for r in ("heatmaps", "pafs")}, "wanted one for each of 18"),
        (OPENPOSE, {r: [DeviceMaps(4096, (19, 8, 8))] for r in ("heatmaps", "pafs")}, "name channel"),
        (preset("higherhrnet"), embedding_outputs(tags=(17, 8, 7)), "embedding: tags"),
        (preset("higherhrnet"), embedding_outputs(heatmaps=(65, 8, 8)), "65 joints"),
        (preset("higherhrnet"), embedding_outputs(heatmaps=(17, 99, 8), tags=(17, 99, 8)), "sizes must grow"),
        (preset("higherhrnet"), {"tags": [DeviceMaps(4096, (17, 8, 8))]}, "wanted 1 or 2"),
    ],
)
def test_refuses_outputs_that_do_not_fit(decoder: Decoder, outputs: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        plan_decoder(decoder, outputs, (64, 48))


@pytest.mark.parametrize("block", [0, 31, 48, 1024])
def test_refuses_blocks(block: int) -> None:
    with pytest.raises(DecodeError, match="32 to 512 threads"):
        plan_decoder(HEATMAP, {"heatmaps": [DeviceMaps(4096, (3, 8, 8))]}, (64, 48), block)


def test_refuses_a_bad_arena_and_bytes_that_no_run_wrote() -> None:
    plan = plan_decoder(preset("higherhrnet"), embedding_outputs(), (64, 48))
    for arena in (0, 4097, -256):
        with pytest.raises(EngineError, match="arena"):
            plan.launches(arena)
    with pytest.raises(EngineError, match="wanted"):
        plan.read(np.zeros(plan.result.bytes - 1, np.uint8))
    with pytest.raises(EngineError, match="have the kernels run"):
        plan.read(np.full(plan.result.bytes, 0xFF, np.uint8))
    assert len(plan.read(np.zeros(plan.result.bytes, np.uint8)).scores) == 0


@ALL
def test_plan_is_plain_and_fits_its_arena(case: Case) -> None:
    rng = np.random.default_rng(1)
    device = Device(case.decoder, scene(case, rng, 1), case.input_wh, 64, fill=0)
    plan = device.plan
    offset, size = plan.result
    assert offset % 256 == 0
    assert offset + size == plan.arena_bytes
    assert all(upload.offset + len(upload.data) <= offset for upload in plan.uploads)
    assert plan.launches(1 << 40) == plan.launches(1 << 40)
    assert plan.launches(1 << 40) != plan.launches(1 << 41)
    for launch in plan.launches(1 << 40):  # as they would be captured: all of it fits one launch
        assert len(launch.arguments) < 4096
        assert launch.block == (64, 1, 1)


def test_needs_no_gpu_libraries() -> None:
    modules = "pose_runtime.gpu.decoders", "pose_runtime.gpu.preprocess"
    code = f"import sys, {', '.join(modules)}; sys.exit('pycuda' in sys.modules or 'tensorrt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
