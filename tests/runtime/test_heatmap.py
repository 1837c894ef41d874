from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.heatmap import definition
from pose_runtime.decode import HeatmapDecoder, gaussian_kernel, heatmap, merge_flipped
from pose_runtime.errors import DecodeError

REFINES = ("none", "quarter", "quarter_axis", "quarter_low", "second_max", "dark", "udp", "soft_argmax")


def blobs(seed: int, n: int, height: int, width: int, noise: float = 0.02) -> np.ndarray:
    """(1, n, height, width) maps with one soft peak each, some near the border, some below zero everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    maps = np.empty((1, n, height, width), np.float32)
    for k in range(n):
        cx, cy, amplitude = rng.uniform(0, width - 1), rng.uniform(0, height - 1), rng.uniform(0.2, 1)
        maps[0, k] = amplitude * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)
    maps += rng.normal(0, noise, maps.shape)
    if n > 2:
        maps[0, 2] = -np.abs(maps[0, 2])
    return maps.astype(np.float32)


@pytest.mark.parametrize("refine", REFINES)
@pytest.mark.parametrize(("height", "width"), [(64, 48), (17, 33), (5, 5), (3, 2), (1, 1), (1, 9)])
@pytest.mark.parametrize("blur_sigma", [0.0, 1.3])
def test_equals_its_definition(refine: str, height: int, width: int, blur_sigma: float) -> None:
    maps = blobs(height + width, 6, height, width)
    got = heatmap(maps, refine=refine, kernel=11, beta=12.0, blur_sigma=blur_sigma)  # type: ignore[arg-type]
    for k in range(6):
        wanted = definition(maps[0, k], refine, gaussian_kernel(11), 12.0, blur_sigma)
        tolerance = 1e-2 if refine == "udp" and min(height, width) < 5 else 2e-3  # nearly singular Hessians
        np.testing.assert_allclose(got[0, k], wanted, atol=tolerance, err_msg=f"map {k}")


def test_dark_on_a_map_that_is_negative_once_blurred() -> None:
    """The rescaling to the old maximum turns its sign, in the authors' code as here."""
    maps = np.random.default_rng(3).uniform(-0.04, 0.01, (1, 4, 24, 30)).astype(np.float32)
    got = heatmap(maps, refine="dark", kernel=11)
    for k in range(4):
        wanted = definition(maps[0, k], "dark", gaussian_kernel(11), 12.0, 0.0)
        np.testing.assert_allclose(got[0, k], wanted, atol=5e-3, err_msg=f"map {k}")


@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(1, 24), width=st.integers(1, 24), refine=st.sampled_from(REFINES)
)
@settings(max_examples=60, deadline=None)
def test_random_maps_with_nan_and_inf_never_crash(seed: int, height: int, width: int, refine: str) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 1, (1, 3, height, width)).astype(np.float32)
    maps[rng.random(maps.shape) < 0.1] = np.nan
    maps[rng.random(maps.shape) < 0.02] = rng.choice([np.inf, -np.inf])
    got = heatmap(maps, refine=refine, blur_sigma=float(rng.choice([0, 1])))  # type: ignore[arg-type]
    missing = got[..., 2] == 0
    assert np.isnan(got[missing][:, :2]).all()
    assert np.isfinite(got[~missing][:, 2]).all()


def test_nan_is_passed_over_and_infinity_is_no_peak() -> None:
    maps = np.zeros((1, 3, 8, 8), np.float32)
    maps[0, 0, 2, 3] = 0.5
    maps[0, 0, 5, 5] = np.nan
    maps[0, 1, 4, 4] = np.inf
    maps[0, 2] = np.nan
    got = heatmap(maps)[0]
    np.testing.assert_array_equal(got[0], [3, 2, 0.5])
    assert (got[1:, 2] == 0).all()


def test_the_first_of_equal_maxima_wins() -> None:
    maps = np.zeros((1, 1, 40, 40), np.float32)
    maps[0, 0, [7, 7, 31], [30, 9, 2]] = 1
    assert heatmap(maps)[0, 0].tolist() == [9, 7, 1]


def test_non_contiguous_and_other_dtypes_are_taken() -> None:
    maps = blobs(3, 4, 20, 30)
    wanted = heatmap(maps)
    np.testing.assert_array_equal(heatmap(np.asfortranarray(maps)), wanted)
    np.testing.assert_array_equal(heatmap(maps.astype(np.float64)), wanted)
    np.testing.assert_array_equal(heatmap(maps[:, ::-1])[:, ::-1], wanted)


def test_out_is_written_and_returned() -> None:
    out = np.empty((1, 4, 3), np.float32)
    assert heatmap(blobs(0, 4, 9, 9), out=out) is out
    with pytest.raises(DecodeError, match=r"out: got shape \(1, 3, 3\)"):
        heatmap(blobs(0, 4, 9, 9), out=np.empty((1, 3, 3), np.float32))


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (np.zeros((17, 8, 8)), {}, r"heatmaps: got shape \(17, 8, 8\)"),
        (np.zeros((1, 17, 0, 8)), {}, "heatmaps: got shape"),
        (np.zeros((1, 1, 8, 8), complex), {}, "heatmaps: got dtype complex128"),
        (np.zeros((1, 1, 8, 8)), {"refine": "best"}, "refine: got 'best', wanted one of none, quarter"),
        (np.zeros((1, 1, 8, 8)), {"refine": "dark", "kernel": 10}, "blur kernel: got 10 taps, wanted an odd number"),
        (np.zeros((1, 1, 8, 8)), {"blur_sigma": 9.0}, "blur_sigma: got 9.0"),
        (np.zeros((1, 1, 8, 8)), {"blur_sigma": float("nan")}, "blur_sigma: got nan"),
    ],
)
def test_wrong_input_is_refused(maps: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        heatmap(maps, **options)


def decoder(**changes: object) -> HeatmapDecoder:
    options = {"refine": "none", "kernel": 11, "beta": 1.0, "blur_sigma": 0.0, "min_score": 0.1, "grid": "corner"}
    return HeatmapDecoder(**(options | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "wanted"), [("corner", [12, 20]), ("centre", [13.5, 21.5]), ("aligned", [3 * 31 / 7, 5 * 63 / 15])]
)
def test_grids_scale_as_the_authors_do(grid: str, wanted: list[float]) -> None:
    maps = np.zeros((2, 16, 8), np.float32)
    maps[0, 5, 3] = 0.5
    keypoints, scores = decoder(grid=grid)({"heatmaps": [maps]}, (32, 64))
    np.testing.assert_allclose(keypoints[0, 0], [*wanted, 0.5], rtol=1e-6)
    assert np.isnan(keypoints[0, 1, :2]).all()
    np.testing.assert_allclose(scores, [0.5])


def test_nobody_is_an_empty_result() -> None:
    keypoints, scores = decoder()({"heatmaps": [np.zeros((2, 16, 8), np.float32)]}, (32, 64))
    assert keypoints.shape == (0, 2, 3)
    assert scores.shape == (0,)


def test_a_missing_role_says_so() -> None:
    with pytest.raises(DecodeError, match="got 0 of role 'heatmaps', wanted 1"):
        decoder()({}, (32, 64))


def test_flip_merge_shifts_as_hrnet() -> None:
    maps = blobs(1, 2, 6, 5)[0]
    mirrored = maps[[1, 0], :, ::-1]
    np.testing.assert_allclose(merge_flipped(maps, mirrored, [1, 0]), maps, atol=1e-7)
    shifted = merge_flipped(maps, mirrored, [1, 0], shift=True)
    np.testing.assert_allclose(shifted[..., 0], maps[..., 0], atol=1e-7)
    np.testing.assert_allclose(shifted[..., 1:], (maps[..., 1:] + maps[..., :-1]) / 2, atol=1e-7)


def test_a_blur_too_narrow_to_square_is_none() -> None:
    maps = blobs(0, 2, 9, 7)
    np.testing.assert_array_equal(heatmap(maps, blur_sigma=1e-300), heatmap(maps))
