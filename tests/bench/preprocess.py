"""Pre-processing of full-HD frames on one core, and the decoders that came with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench.case import BenchCase
from pose_runtime.decode import offset
from pose_runtime.frame import Frame, PixelFormat
from pose_runtime.geometry import Crop, Geometry, Interpolation, Letterbox, Resize, Stretch, crop_inverse, plan
from pose_runtime.preprocess import preprocess

SOURCE_WH = (1920, 1080)
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def _frame(kind: PixelFormat) -> Frame:
    r = np.random.default_rng(0)
    width, height = SOURCE_WH
    rows = {"bgr8": [(height, 3 * width)], "nv12": [(height, width), (height // 2, width)]}.get(
        kind, [(height, 2 * width)]
    )
    planes = tuple(r.integers(0, 256, shape, np.uint8) for shape in rows)
    return Frame(planes, kind, SOURCE_WH, tuple(stride for _, stride in rows))


def _run(frame: Frame, geometry: Geometry, dtype: type = np.float32) -> Callable[[], object]:
    out = np.empty((3, *geometry.size_wh[::-1]), dtype)
    return lambda: preprocess(frame, geometry, colour="rgb", out=out, **IMAGENET)


def cases() -> Iterator[BenchCase]:
    """1080p to 512x512 in every way that matters, one crop, and G-RMI's votes at its own size."""

    def stretch(interpolation: Interpolation) -> Geometry:
        return plan(Stretch(interpolation=interpolation, round_pixels=True), SOURCE_WH, (512, 512))

    def planned(rule: Resize, size: tuple[int, int]) -> Geometry:
        return plan(rule, SOURCE_WH, size)

    bgr, nv12, yuyv = _frame("bgr8"), _frame("nv12"), _frame("yuyv")
    yield BenchCase("preprocess bgr8 bilinear 512x512", 1, _run(bgr, stretch("bilinear")), 3.0)
    yield BenchCase("preprocess bgr8 bilinear 512x512 float16", 1, _run(bgr, stretch("bilinear"), np.float16), 3.0)
    yield BenchCase("preprocess bgr8 bicubic 512x512", 1, _run(bgr, stretch("bicubic")), None)
    yield BenchCase("preprocess nv12 bilinear 512x512", 1, _run(nv12, stretch("bilinear")), None)
    yield BenchCase("preprocess nv12 bicubic 512x512", 1, _run(nv12, stretch("bicubic")), None)
    yield BenchCase("preprocess yuyv bilinear 512x512", 1, _run(yuyv, stretch("bilinear")), None)
    boxed = Letterbox(interpolation="bilinear", round_pixels=True, pad=128, anchor="centre")
    yield BenchCase("preprocess bgr8 letterbox 512x512", 1, _run(bgr, planned(boxed, (512, 512))), None)
    crop = Crop(enlarge=1.25, convention="hrnet", round_pixels=True)
    yield BenchCase("preprocess bgr8 crop 192x256", 1, _run(bgr, planned(crop, (192, 256))), None)
    turned = crop_inverse("hrnet", (900.0, 500.0), (500.0, 667.0), (192, 256), 20.0)
    geometry = Geometry(turned, (192, 256), (0, 0, 192, 256), False, "bilinear", True, 0.0, False)
    yield BenchCase("preprocess bgr8 turned crop 192x256", 1, _run(bgr, geometry), None)
    r = np.random.default_rng(1)
    heat = r.random((17, 353, 257), np.float32)
    vectors = r.normal(0, 9, (17, 2, 353, 257)).astype(np.float32)
    yield BenchCase("offset 17x353x257", 1, lambda: offset(heat, vectors, radius=25, logits=False), None)
