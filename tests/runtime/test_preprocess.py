"""Pre-processing: equal to its definition, to OpenCV, and safe on any frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pose_runtime.preprocess
from definitions import preprocess as definition
from native_test import native_test
from pose_runtime.errors import FrameError
from pose_runtime.frame import Frame
from pose_runtime.geometry import Crop, Geometry, Letterbox, ShortSide, Stretch, crop_inverse, plan
from pose_runtime.preprocess import preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
FORMATS = ("bgr8", "rgb8", "gray8", "nv12", "yuyv")


def make_frame(layout, width, height, seed=0, extra=0):
    """A random frame; rows are `extra` bytes longer than they need, the last row has no such tail."""
    r = np.random.default_rng(seed)
    rows = {"bgr8": [(height, 3 * width)], "rgb8": [(height, 3 * width)], "gray8": [(height, width)]}
    rows |= {"nv12": [(height, width), (height // 2, width)], "yuyv": [(height, 2 * width)]}
    planes = [r.integers(0, 256, (n - 1) * (size + extra) + size, np.uint8) for n, size in rows[layout]]
    return Frame(tuple(planes), layout, (width, height), tuple(size + extra for _, size in rows[layout]))


def run(frame, geometry, colour="rgb", dtype=np.float32, **normalisation):
    out = np.full((1 if colour == "gray" else 3, *geometry.size_wh[::-1]), np.nan, dtype)
    preprocess(frame, geometry, colour=colour, out=out, **(normalisation or PLAIN))
    return out


@st.composite
def cases(draw):
    layout = draw(st.sampled_from(FORMATS))
    even = 2 if layout in ("nv12", "yuyv") else 1
    width, height = (even * draw(st.integers(1, 12)) for _ in range(2))
    size = (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    interpolation = draw(st.sampled_from(("bilinear", "bicubic")))
    rounds = draw(st.booleans())
    kind = draw(st.sampled_from(("stretch", "letterbox", "crop", "turned")))
    if kind == "stretch":
        geometry = plan(Stretch(interpolation=interpolation, round_pixels=rounds), (width, height), size)
    elif kind == "letterbox":
        anchor = draw(st.sampled_from(("centre", "top_left", "origin")))
        rule = Letterbox(interpolation=interpolation, round_pixels=rounds, pad=draw(st.floats(0, 255)), anchor=anchor)
        geometry = plan(rule, (width, height), size)
    else:
        angle = draw(st.floats(-180, 180)) if kind == "turned" else 0.0
        centre = (draw(st.floats(-9, 30)), draw(st.floats(-9, 30)))
        inverse = crop_inverse("udp", centre, (draw(st.floats(2, 60)), draw(st.floats(2, 60))), size, angle)
        geometry = Geometry(inverse, size, (0, 0, *size), False, interpolation, rounds, 7.5, draw(st.booleans()))
    frame = make_frame(layout, width, height, draw(st.integers(0, 99)), draw(st.integers(0, 3)))
    return frame, geometry, draw(st.sampled_from(("rgb", "bgr", "gray"))), draw(st.sampled_from(("f4", "f2")))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_equals_definition(case):
    frame, geometry, colour, dtype = case
    got = run(frame, geometry, colour, np.dtype(dtype), **IMAGENET)
    want = definition.preprocess(frame, geometry, colour=colour, dtype=np.dtype(dtype), **IMAGENET)
    np.testing.assert_array_equal(got, want)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_lanes_do_not_matter(case):
    frame, geometry, colour, dtype = case
    want = run(frame, geometry, colour, np.dtype(dtype), **IMAGENET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pose_runtime.preprocess, "native", native_test())
        np.testing.assert_array_equal(run(frame, geometry, colour, np.dtype(dtype), **IMAGENET), want)


def smooth(width, height, seed=1):
    r = np.random.default_rng(seed)
    return cv2.GaussianBlur(r.integers(0, 256, (height, width, 3), np.uint8), (5, 5), 1.5)


@pytest.mark.parametrize("wh", [(640, 480), (101, 77), (96, 96), (33, 200)])
@pytest.mark.parametrize(("name", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
def test_stretch_is_cv2_resize(wh, name, flag):
    image = smooth(*wh)
    geometry = plan(Stretch(interpolation=name, round_pixels=True), wh, (96, 96))
    got = run(Frame.from_image(image), geometry, "bgr").transpose(1, 2, 0)
    difference = np.abs(got - cv2.resize(image, (96, 96), interpolation=flag))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.85


@pytest.mark.parametrize("wh", [(640, 480), (101, 77), (33, 200)])
def test_letterbox_is_cv2_resize_with_a_border(wh):
    image = smooth(*wh)
    rule = Letterbox(interpolation="bilinear", round_pixels=True, pad=128, anchor="centre")
    geometry = plan(rule, wh, (96, 64))
    got = run(Frame.from_image(image), geometry, "bgr").transpose(1, 2, 0)
    factor = min(96 / wh[0], 64 / wh[1])
    small = cv2.resize(image, None, fx=factor, fy=factor)
    height, width = small.shape[:2]
    top, left = (64 - height) // 2, (96 - width) // 2
    want = cv2.copyMakeBorder(
        small, top, 64 - height - top, left, 96 - width - left, cv2.BORDER_CONSTANT, value=(128, 128, 128)
    )
    difference = np.abs(got - want)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.85


@pytest.mark.parametrize("angle", [0.0, 25.0, -160.0])
def test_crop_is_cv2_warp_affine(angle):
    image = smooth(200, 150)
    inverse = crop_inverse("hrnet", (90.0, 60.0), (120.0, 160.0), (48, 64), angle)
    geometry = Geometry(inverse, (48, 64), (0, 0, 48, 64), False, "bilinear", True, 0.0, False)
    got = run(Frame.from_image(image), geometry, "bgr").transpose(1, 2, 0)
    want = cv2.warpAffine(image, inverse, (48, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    difference = np.abs(got - want)
    # before 5.0 OpenCV steps by 1/32 pixel
    assert difference.max() <= (1 if int(cv2.__version__.split(".")[0]) >= 5 else 6)


def test_origin_is_cv2_warp_affine_about_the_corner():
    image = smooth(200, 150)
    rule = Letterbox(interpolation="bilinear", round_pixels=True, pad=0, anchor="origin")
    geometry = plan(rule, (200, 150), (128, 64))
    got = run(Frame.from_image(image), geometry, "bgr").transpose(1, 2, 0)
    want = cv2.warpAffine(image, np.array([[64 / 150, 0, 0], [0, 64 / 150, 0]]), (128, 64), flags=cv2.INTER_LINEAR)
    assert np.abs(got - want).max() <= (1 if int(cv2.__version__.split(".")[0]) >= 5 else 6)


@pytest.mark.parametrize(("layout", "code"), [("nv12", cv2.COLOR_YUV2RGB_NV12), ("yuyv", cv2.COLOR_YUV2RGB_YUYV)])
def test_yuv_is_cv2_cvt_color(layout, code):
    frame = make_frame(layout, 256, 128)
    if layout == "nv12":
        array = np.concatenate([p.reshape(-1, 256) for p in frame.planes])
    else:
        array = frame.planes[0].reshape(128, 256, 2)
    geometry = plan(Stretch(interpolation="bilinear", round_pixels=True), (256, 128), (256, 128))
    np.testing.assert_array_equal(run(frame, geometry).transpose(1, 2, 0), cv2.cvtColor(array, code))


def test_gray_is_cv2_cvt_color():
    image = smooth(64, 48)
    geometry = plan(Stretch(interpolation="bilinear", round_pixels=True), (64, 48), (64, 48))
    got = run(Frame.from_image(image), geometry, "gray")
    np.testing.assert_array_equal(got[0], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def test_half_is_float32_rounded():
    image = smooth(64, 48)
    for scale in (1e-9, 1e-6, 1e-3, 1.0, 1e4):  # below, at and above what a half can hold
        geometry = plan(Stretch(interpolation="bicubic", round_pixels=False), (64, 48), (50, 31))
        norm = {"mean": (100.0,) * 3, "std": (1 / scale,) * 3}
        full, half = (run(Frame.from_image(image), geometry, "rgb", t, **norm) for t in (np.float32, np.float16))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(half, full.astype(np.float16))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (7680, 4320)])
def test_any_frame_size(width, height):
    frame = Frame((np.full(width * height * 3, 77, np.uint8),), "bgr8", (width, height), (3 * width,))
    geometry = plan(Stretch(interpolation="bicubic", round_pixels=True), (width, height), (64, 48))
    assert (run(frame, geometry) == 77).all()
    rule = Crop(enlarge=1.25, convention="hrnet", round_pixels=True)
    run(frame, plan(rule, (width, height), (48, 64), (-1e5, 2e5, 30.0, 40.0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": np.zeros((3, 8, 9), np.float32)},
        {"out": np.zeros((1, 8, 8), np.float32)},
        {"out": np.zeros((3, 8, 8))},
        {"out": np.zeros((3, 8, 16), np.float32)[..., ::2]},
        {"colour": "lab"},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (float("nan"), 0.0, 0.0)},
    ],
)
def test_refuses(wrong):
    frame = make_frame("bgr8", 5, 5)
    geometry = plan(Stretch(interpolation="bilinear", round_pixels=True), (5, 5), (8, 8))
    arguments = {"colour": "rgb", "out": np.zeros((3, 8, 8), np.float32), **PLAIN}
    preprocess(frame, geometry, **arguments)
    with pytest.raises(FrameError):
        preprocess(frame, geometry, **(arguments | wrong))


def test_short_side_shows_the_frame():
    image = smooth(100, 60)
    geometry = plan(ShortSide(base=64, round_pixels=True), (100, 60), (0, 0))
    got = run(Frame.from_image(image), geometry, "bgr").transpose(1, 2, 0)
    want = cv2.warpAffine(image, geometry.inverse, geometry.size_wh, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert np.abs(got - want).max() <= (1 if int(cv2.__version__.split(".")[0]) >= 5 else 6)
