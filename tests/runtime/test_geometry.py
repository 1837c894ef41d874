"""Where pixels of the input lie in the frame, and back."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pose_runtime.errors import FrameError
from pose_runtime.geometry import Crop, Letterbox, Resize, ShortSide, Stretch, crop_inverse, plan, short_side_size

STRETCH = Stretch(interpolation="bilinear", round_pixels=True)


def letterbox(anchor, pad=128.0):
    return Letterbox(interpolation="bilinear", round_pixels=True, pad=pad, anchor=anchor)


def crop(convention):
    return Crop(enlarge=1.25, convention=convention, round_pixels=True)


def back(geometry, grid, *points):
    keypoints = np.array([(*p, 1) for p in points], np.float32)
    geometry.to_source(keypoints, grid)
    return keypoints[:, :2]


def test_stretch_meets_at_the_corners():
    geometry = plan(STRETCH, (200, 100), (50, 50))
    np.testing.assert_allclose(back(geometry, "centre", (-0.5, -0.5), (49.5, 49.5)), [(-0.5, -0.5), (199.5, 99.5)])
    np.testing.assert_allclose(back(geometry, "corner", (0, 0), (50, 50)), [(0, 0), (200, 100)])


@pytest.mark.parametrize(
    ("anchor", "inner"), [("centre", (0, 3, 50, 46)), ("top_left", (0, 0, 50, 43)), ("origin", (0, 0, 50, 50))]
)
def test_letterbox_shows_the_frame_in(anchor, inner):
    assert plan(letterbox(anchor), (70, 60), (50, 50)).inner == inner


def test_letterbox_centre_puts_the_odd_pixel_below():
    geometry = plan(letterbox("centre"), (100, 45), (50, 25))
    assert geometry.inner == (0, 1, 50, 23)  # 22.5 rounds to 22: one row above, two below
    np.testing.assert_allclose(back(geometry, "corner", (0, 1), (50, 23.5)), [(0, 0), (100, 45)])


def test_letterbox_keeps_at_least_one_pixel():
    geometry = plan(letterbox("centre"), (16384, 1), (64, 64))
    assert geometry.inner == (0, 31, 64, 32)


def test_origin_only_scales():
    geometry = plan(letterbox("origin", 0), (1280, 720), (656, 368))
    np.testing.assert_allclose(back(geometry, "corner", (0, 0), (656, 368)), [(0, 0), (656 * 720 / 368, 720)], 1e-6)


@pytest.mark.parametrize(
    ("source", "size"),
    [((640, 480), (704, 512)), ((480, 640), (512, 704)), ((1920, 1080), (960, 512)), ((512, 512), (512, 512))],
)
def test_short_side(source, size):
    rule = ShortSide(base=512, round_pixels=True)
    assert plan(rule, source, (0, 0)).size_wh == size
    assert plan(rule, source, size).size_wh == size
    with pytest.raises(FrameError, match="any size"):
        plan(rule, source, (64, 64))


def test_short_side_cuts_fractions():
    assert short_side_size((640, 480), 1025, 1.0, 0.5).size_wh[1] == 1024  # 512.5 gives 512, not 576


@pytest.mark.parametrize("convention", ["hrnet", "dark", "udp"])
@pytest.mark.parametrize("rotation", [0.0, 30.0])
def test_crop_middle_is_the_centre(convention, rotation):
    matrix = crop_inverse(convention, (70.0, 40.0), (30.0, 40.0), (48, 64), rotation)
    middle = (24, 32) if convention == "hrnet" else (23.5, 31.5)
    np.testing.assert_allclose(matrix @ [*middle, 1], (70, 40))


def test_crop_conventions_of_one_box():
    box = (10.0, 20.0, 30.0, 40.0)  # already of the input's aspect
    hrnet, dark, udp = (plan(crop(c), (100, 100), (48, 64), box) for c in ("hrnet", "dark", "udp"))
    # size onto size, first pixel minus one onto last, size onto size minus one
    np.testing.assert_allclose(back(hrnet, "corner", (0, 0), (48, 64)), [(6.25, 15), (43.75, 65)], rtol=1e-6)
    np.testing.assert_allclose(back(dark, "aligned", (23.5, 31.5)), [(24.5, 39.5)])
    np.testing.assert_allclose(dark.inverse[0, 0], 36.5 / 47)
    np.testing.assert_allclose(back(udp, "aligned", (0, 0), (47, 63)), [(6.25, 15), (43.75, 65)], rtol=1e-6)


def test_crop_without_a_box_is_the_whole_frame():
    one, other = plan(crop("hrnet"), (90, 120), (48, 64)), plan(crop("hrnet"), (90, 120), (48, 64), (0, 0, 90, 120))
    np.testing.assert_array_equal(one.inverse, other.inverse)


def test_missing_keypoints_stay_missing():
    geometry = plan(STRETCH, (200, 100), (50, 50))
    assert np.isnan(back(geometry, "corner", (np.nan, np.nan))).all()


@pytest.mark.parametrize(
    ("rule", "source", "size", "box"),
    [
        (STRETCH, (0, 5), (8, 8), None),
        (STRETCH, (5, 5), (8, 0), None),
        (STRETCH, (5, 5), (8, -8), None),
        (STRETCH, (5, 5), (8, 8), (0.0, 0.0, 2.0, 2.0)),
        (ShortSide(base=512, round_pixels=True), (16384, 2), (0, 0), None),  # would want four million columns
        (crop("hrnet"), (5, 5), (8, 8), (0.0, 0.0, 0.0, 2.0)),
        (crop("hrnet"), (5, 5), (8, 8), (0.0, 0.0, -3.0, 2.0)),
        (crop("hrnet"), (5, 5), (8, 8), (0.0, float("nan"), 2.0, 2.0)),
        (crop("hrnet"), (5, 5), (8, 8), (0.0, float("inf"), 2.0, 2.0)),
        (crop("hrnet"), (5, 5), (8, 8), (0.0, 0.0, 1e300, 2.0)),
        (crop("dark"), (5, 5), (8, 8), (0.0, 0.0, 0.5, 0.5)),
    ],
)
def test_refused(rule, source, size, box):
    with pytest.raises(FrameError):
        plan(rule, source, size, box)


@pytest.mark.parametrize("rule", [STRETCH, letterbox("origin"), ShortSide(base=64, round_pixels=False), crop("udp")])
def test_rules_survive_json(rule):
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Resize) == rule
