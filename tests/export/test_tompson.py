"""Tompson's network: pyramid, windows of shared features, fine model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pose_export import networks
from pose_export.networks.tompson import MARGIN, STRIDE, WINDOW, Pyramid, Tompson, peaks, windows
from small import small


def network() -> Tompson:
    torch.manual_seed(0)
    built = networks.build(small("tompson"))
    assert isinstance(built, Tompson)
    return built


def test_pyramid_is_a_laplacian_one() -> None:
    """Before the contrast is normalised: what was taken away at one level is in the next."""
    pyramid = Pyramid()
    pyramid._normalise = lambda x: x  # type: ignore[method-assign]
    image = torch.rand(2, 3, 32, 48)
    fine, middle, coarse = pyramid(image)
    assert [tuple(level.shape[2:]) for level in (fine, middle, coarse)] == [(32, 48), (16, 24), (8, 12)]
    up = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear") + middle
    torch.testing.assert_close(torch.nn.functional.interpolate(up, scale_factor=2.0, mode="bilinear") + fine, image)
    flat = pyramid(torch.full((1, 3, 32, 48), 0.7))
    assert flat[0].abs().max() < 1e-6
    torch.testing.assert_close(flat[2], torch.full_like(flat[2], 0.7))


def test_local_contrast() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (3, 12, 16))
    x[:, :, 8:] *= 5
    at = np.arange(-4, 5)
    bell = np.exp(-(at**2) / 8)
    weights = np.outer(bell, bell) / bell.sum() ** 2 / 3

    def mean(maps: np.ndarray) -> np.ndarray:
        padded = np.pad(maps, ((0, 0), (4, 4), (4, 4)), mode="edge")
        found = [
            (padded[:, i : i + 9, j : j + 9] * weights).sum() for i in range(x.shape[1]) for j in range(x.shape[2])
        ]
        return np.array(found).reshape(x.shape[1:])

    centred = x - mean(x)
    deviation = np.sqrt(mean(centred**2))
    wanted = centred / np.maximum(deviation, deviation.mean())
    got = Pyramid()._normalise(torch.from_numpy(x[None].astype(np.float32)))[0].numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_brightness_and_contrast_do_not_matter() -> None:
    image = torch.rand(1, 3, 32, 32)
    for one, other in zip(Pyramid()(image), Pyramid()(0.3 * image + 0.5), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
    assert all(torch.isfinite(level).all() for level in Pyramid()(torch.zeros(1, 3, 32, 32)))


def test_peaks_take_the_first_of_equals() -> None:
    maps = torch.zeros(2, 3, 5, 7)
    maps[0, 1, 2, 6] = maps[0, 1, 4, 0] = 1
    maps[1, 2, 4, 3] = 2
    assert peaks(maps).tolist() == [[[0, 0], [6, 2], [0, 0]], [[0, 0], [0, 0], [3, 4]]]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_windows(level: int) -> None:
    scale = 2**level
    maps = torch.randn(2, 5, 64 // scale, 48 // scale)
    places = torch.tensor([[[0, 0], [11, 15], [5, 7]], [[11, 0], [0, 15], [3, 9]]])
    cut = windows(maps, places, level)
    side = WINDOW // scale
    assert cut.shape == (6, 5, side, side)
    for row, (x, y) in enumerate(places.reshape(-1, 2).tolist()):
        for i, j in ((0, 0), (side - 1, side - 1), (side // 2, 1), (1, side // 2)):
            v, u = (STRIDE * y - MARGIN) // scale + i, (STRIDE * x - MARGIN) // scale + j
            inside = 0 <= v < maps.shape[2] and 0 <= u < maps.shape[3]
            wanted = maps[row // 3, :, v, u] if inside else torch.zeros(5)
            assert torch.equal(cut[row, :, i, j], wanted)


def test_the_three_parts_belong_together() -> None:
    built, image = network(), torch.rand(2, 3, 96, 64)
    heatmaps, corners, fine = built(image)
    assert heatmaps.shape == (2, 14, 24, 16)
    assert fine.shape == (2, 14, 36, 36)
    assert torch.equal(corners.reshape(2, 14, 2), (4 * peaks(heatmaps) - 16).float())
    # A joint's fine map is that of its own window, its last weights its own.
    early = [conv(level) for conv, level in zip(built.early, built.pyramid(image), strict=True)]
    place = peaks(heatmaps)[1:, 5:6]
    total: Tensor | int = 0
    for level, (bank, maps) in enumerate(zip(built.fine_banks, early, strict=True)):
        found = bank(windows(maps[1:], place, level))
        total = total + found.repeat_interleave(2**level, 2).repeat_interleave(2**level, 3)
    features = built.fine(total)[0]
    wanted = torch.einsum("chw,c->hw", features, built.fine_joints.weight[5, :, 0, 0]) + built.fine_joints.bias[5]
    torch.testing.assert_close(fine[1, 5], wanted, rtol=1e-4, atol=1e-5)


def test_gradients_pass_through_the_windows() -> None:
    """The fine loss alone teaches the early convolutions of every level, and nothing of the coarse model."""
    built = network().train()
    built(torch.rand(1, 3, 64, 64))[2].square().sum().backward()
    assert all(conv[0].weight.grad is not None and conv[0].weight.grad.abs().sum() > 0 for conv in built.early)  # type: ignore[index,union-attr]
    assert all(parameter.grad is None for parameter in (*built.coarse.parameters(), *built.banks.parameters()))


def test_whole_maps_are_dropped_in_training_only() -> None:
    built, image = network(), torch.rand(1, 3, 64, 64)
    seen: list[Tensor] = []
    built.coarse[1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    assert torch.equal(built(image)[0], built(image)[0])
    built.train()
    built(image)
    dropped = (seen[-1] == 0).all(dim=3).all(dim=2)[0]
    assert 0 < dropped.sum() < len(dropped)
    kept, before = seen[-1][0, ~dropped], seen[0][0, ~dropped]
    torch.testing.assert_close(kept, 2 * before)
