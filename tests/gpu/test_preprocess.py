"""Planned pre-processing launches on emulated blocks, against the CPU: every format with a pitch, and crops."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

import emulated
from emulated import DeviceMemory
from pose_runtime.errors import FrameError
from pose_runtime.frame import Frame, PixelFormat
from pose_runtime.geometry import Crop, Geometry, Letterbox, Stretch, plan
from pose_runtime.gpu.preprocess import crops_bytes, plan_crops, plan_preprocess
from pose_runtime.preprocess import Colour, preprocess

IMAGENET: dict[str, Any] = {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}
RULES = {
    "stretch": Stretch(interpolation="bilinear", round_pixels=True),
    "letterbox": Letterbox(interpolation="bicubic", round_pixels=False, pad=114, anchor="centre"),
    "crop": Crop(enlarge=1.25, convention="hrnet", round_pixels=False),
}
BYTES = {"bgr8": 3, "rgb8": 3, "gray8": 1, "nv12": 1, "yuyv": 2}
INPUT_WH = (37, 29)


class PitchedFrame:
    """A frame of random bytes whose rows lie further apart than they are long, in device memory."""

    def __init__(self, pixels: PixelFormat, wh: tuple[int, int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        row = wh[0] * BYTES[pixels]
        rows, self.strides = [(wh[1], row)], [row + 13]
        if pixels == "nv12":
            rows.append((wh[1] // 2, wh[0]))
            self.strides.append(wh[0] + 6)
        sizes = [(n - 1) * stride + length for (n, length), stride in zip(rows, self.strides, strict=True)]
        self.memory = [DeviceMemory(size) for size in sizes]
        for memory in self.memory:
            memory.bytes[:] = rng.integers(0, 256, memory.bytes.size)
        self.pixels, self.wh = pixels, wh
        self.planes = [memory.address for memory in self.memory]
        self.frame = Frame(tuple(memory.bytes for memory in self.memory), pixels, wh, tuple(self.strides))

    def cpu(self, geometry: Geometry, colour: Colour, dtype: Any) -> np.ndarray:
        width, height = geometry.size_wh
        out = np.empty((1 if colour == "gray" else 3, height, width), dtype)
        preprocess(self.frame, geometry, colour=colour, out=out, **IMAGENET)
        return out


def out_memory(shape: tuple[int, ...], dtype: Any) -> tuple[DeviceMemory, np.ndarray]:
    memory = DeviceMemory(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return memory, memory.bytes.view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("colour", get_args(Colour))
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pixels", get_args(PixelFormat))
def test_equals_the_cpu(pixels: PixelFormat, rule: str, colour: Colour, dtype: Any) -> None:
    for wh in ((46, 30), (64, 90), (2, 2)):
        frame = PitchedFrame(pixels, wh, seed=wh[0])
        geometry = plan(RULES[rule], wh, INPUT_WH)
        wanted = frame.cpu(geometry, colour, dtype)
        memory, out = out_memory(wanted.shape, dtype)
        launch = plan_preprocess(
            pixels, wh, frame.strides, frame.planes, geometry, colour=colour, out=memory.address,
            half=dtype == np.float16, **IMAGENET,
        )  # fmt: skip
        emulated.run(launch)
        memory.check_guards()
        np.testing.assert_array_equal(out, wanted)
        assert np.ptp(wanted.astype(float)) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("pixels", "colour"), [("nv12", "rgb"), ("yuyv", "bgr"), ("bgr8", "gray")])
def test_crops_equal_the_cpu_one_by_one(pixels: PixelFormat, colour: Colour, dtype: Any) -> None:
    frame = PitchedFrame(pixels, (64, 50), seed=3)
    rng = np.random.default_rng(4)
    room, channels = 5, 1 if colour == "gray" else 3
    memory, out = out_memory((room, channels, INPUT_WH[1], INPUT_WH[0]), dtype)
    boxes = [tuple(rng.uniform((-5, -5, 4, 4), (50, 40, 40, 40))) for _ in range(4)]
    geometries = [plan(RULES["crop"], frame.wh, INPUT_WH, box) for box in boxes]
    place = DeviceMemory(len(crops_bytes([], room, colour=colour, **IMAGENET)))
    launch = plan_crops(
        pixels, frame.wh, frame.strides, frame.planes, input_wh=INPUT_WH, room=room, crops=place.address,
        out=memory.address, half=dtype == np.float16,
    )  # fmt: skip
    for chosen in (geometries, geometries[2:], []):  # one launch for any number of crops
        memory.bytes[:] = 0xFF
        place.bytes[:] = np.frombuffer(crops_bytes(chosen, room, colour=colour, **IMAGENET), np.uint8)
        emulated.run(launch)
        memory.check_guards()
        for one, geometry in zip(out, chosen, strict=False):
            np.testing.assert_array_equal(one, frame.cpu(geometry, colour, dtype))
        assert (out[len(chosen) :].view(np.uint8) == 0xFF).all()


def test_crops_that_do_not_fit() -> None:
    one, other = (plan(RULES["crop"], (64, 48), wh) for wh in ((24, 32), (32, 24)))
    for crops, message in (([one, one, one], "more crops"), ([one, other], "one size")):
        with pytest.raises(FrameError, match=message):
            crops_bytes(crops, 2, colour="rgb", **IMAGENET)
    with pytest.raises(FrameError, match="address of the crops"):
        plan_crops("gray8", (8, 8), [8], [256], input_wh=(4, 4), room=1, crops=0, out=256, half=False)
    with pytest.raises(FrameError, match="1 to 65535 crops"):
        plan_crops("gray8", (8, 8), [8], [256], input_wh=(4, 4), room=0, crops=256, out=256, half=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "i420"}, "'i420' with 1 planes"),
        ({"format": "nv12"}, "nv12 with 2"),
        ({"format": "nv12", "planes": (256, 0), "strides": (64, 64)}, "address of a plane"),
        ({"format": "nv12", "planes": (256, 512), "strides": (64, 63)}, "chroma plane"),
        ({"strides": (63,)}, "stride"),
        ({"planes": (0,)}, "address of a plane"),
        ({"out": 0}, "address of out"),
        ({"out": 258}, "address of out"),
        ({"format": "yuyv", "size_wh": (63, 48), "strides": (200,)}, "odd width"),
        ({"colour": "hsv"}, "colour"),
        ({"std": (1, 0, 1)}, "no std of 0"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "format": "gray8", "size_wh": (64, 48), "strides": (64,), "planes": (256,), "colour": "rgb", "out": 256,
        "half": False, "geometry": plan(RULES["stretch"], (64, 48), INPUT_WH), **IMAGENET,
    }  # fmt: skip
    assert plan_preprocess(**good).grid == (2, 4, 1)
    with pytest.raises(FrameError, match=message):
        plan_preprocess(**good | changes)
