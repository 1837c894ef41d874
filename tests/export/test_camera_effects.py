from __future__ import annotations

import cv2
import numpy as np
import pytest

from pose_export.synthetic import camera_effects
from pose_export.synthetic.camera_effects import photograph


def scene(height: int = 64, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 2 % 256, y * 3 % 256, (x + y) % 256], axis=2).astype(np.uint8)


def test_a_seed_gives_the_same_photograph():
    people = np.zeros((64, 80), np.uint8)
    people[20:50, 30:60] = 2
    for seed in range(12):
        first, again = (photograph(scene(), np.random.default_rng(seed), people=people) for _ in range(2))
        np.testing.assert_array_equal(first, again)
    assert (photograph(scene(), np.random.default_rng(0)) != photograph(scene(), np.random.default_rng(1))).any()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 80), (700, 33)])
def test_size_and_dtype_stay(size):
    for seed in range(6):
        shown = photograph(scene(*size), np.random.default_rng(seed), quality=0.2)
        assert (shown.shape, shown.dtype) == ((*size, 3), np.uint8)


def test_floats_are_the_same_picture():
    shown = [photograph(image, np.random.default_rng(5)) for image in (scene(), scene().astype(np.float32) / 255)]
    np.testing.assert_array_equal(*shown)


def test_the_input_is_not_changed():
    image = scene()
    for seed in range(10):
        photograph(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, scene())


def test_good_pictures_stay_close_and_bad_ones_do_not():
    image = cv2.GaussianBlur(scene(128, 128), (0, 0), 2)

    def change(quality: float) -> float:
        shown = [photograph(image, np.random.default_rng(seed), quality=quality) for seed in range(30)]
        return float(np.median([np.abs(picture.astype(float) - image).mean() for picture in shown]))

    assert change(1.0) < 30 < 60 > change(0.0) > change(1.0)


def test_nothing_moves():
    """A white disc stays where it is, on average and in each picture."""
    image = np.full((129, 129, 3), 30, np.uint8)
    cv2.circle(image, (64, 64), 14, (220, 220, 220), -1, cv2.LINE_AA)
    y, x = np.mgrid[0:129, 0:129]
    shifts = []
    for seed in range(60):
        grey = photograph(image, np.random.default_rng(seed), quality=0.3).astype(float).mean(axis=2)
        weight = np.clip(grey - (grey.min() + grey.max()) / 2, 0, None)
        if weight[40:90, 40:90].sum() < 0.9 * weight.sum():
            continue  # too noisy to tell
        shifts.append(((weight * x).sum() / weight.sum() - 64, (weight * y).sum() / weight.sum() - 64))
    assert len(shifts) > 40
    assert np.abs(shifts).max() < 1.0
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1


@pytest.mark.parametrize("length", [2.0, 5.0, 11.0])
def test_shaking_keeps_brightness_and_place(length):
    for seed in range(10):
        kernel = camera_effects._motion(np.random.default_rng(seed), length)
        side = kernel.shape[0]
        assert side % 2 == 1
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        t = np.arange(side) - side // 2
        assert (kernel.sum(axis=0) @ t, kernel.sum(axis=1) @ t) == pytest.approx((0, 0), abs=0.05)


def test_a_background_out_of_focus_leaves_people_sharp():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    people = np.zeros((64, 64), bool)
    people[16:48, 16:48] = True
    shown = camera_effects._defocused_background(image, ~people, 4.0, rng)
    inner, outer = np.s_[20:44, 20:44], np.s_[:12]
    assert np.abs(shown[inner].astype(int) - image[inner]).max() <= 1
    assert shown[outer].std() < 0.5 * image[outer].std()


def test_people_do_not_bleed_into_the_background():
    image = np.full((64, 64, 3), 100, np.uint8)
    image[16:48, 16:48] = 255
    people = (image[..., 0] == 255).astype(int)
    shown = camera_effects._defocused_background(image, people == 0, 5.0, np.random.default_rng(0))
    assert abs(int(shown[10, 32, 0]) - 100) <= 2


def test_one_person_moves_alone():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    people = np.zeros((64, 96), np.int32)
    people[16:48, 40:70] = 9
    shown = camera_effects._moving_person(image, people, camera_effects._motion(rng, 7.0), rng)
    np.testing.assert_array_equal(shown[:, :25], image[:, :25])
    assert shown[24:40, 48:62].std() < image[24:40, 48:62].std()
    nobody = camera_effects._moving_person(image, np.zeros_like(people), camera_effects._motion(rng, 7.0), rng)
    np.testing.assert_array_equal(nobody, image)


def test_noise_grows_with_light_and_gain():
    flat = [np.full((200, 200, 3), value, np.uint8) for value in (20, 200)]
    noise = [camera_effects._noisy(f, np.random.default_rng(1), 0.5, 0.0) - f for f in flat]
    assert 0 < noise[0].std() < noise[1].std()


def test_grey_pictures_are_seldom():
    shown = [photograph(scene(), np.random.default_rng(seed)) for seed in range(200)]
    grey = sum(bool((np.ptp(picture.astype(int), axis=2) < 12).all()) for picture in shown)
    assert 2 <= grey <= 30
