from __future__ import annotations

import numpy as np
import pytest

from pose_export.synthetic.light import basis, directions, from_radiance, simple


def sphere(n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    normals = rng.normal(0, 1, (n, 3))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def test_even_light_is_even():
    light = from_radiance(np.full((32, 64, 3), 0.6, np.float32), 0.3, 1.5)
    np.testing.assert_allclose(light.shade(sphere()), 0.9, atol=0.01)


def test_shade_is_the_integral_over_the_panorama():
    """Against the sum over all pixels, for smooth light and a small lamp."""
    towards = directions(32, 64, 0.25)
    radiance = (0.5 + 0.3 * towards[..., 1:2] + 0.2 * towards[..., :1] * towards[..., 2:]) * np.array([1, 0.8, 0.5])
    radiance[8, 20] += 80
    solid = np.cos((0.5 - (np.arange(32) + 0.5) / 32) * np.pi) * (2 * np.pi / 64) * (np.pi / 32)
    normals = sphere()
    cosine = np.maximum(normals @ towards.reshape(-1, 3).T, 0)
    wanted = cosine @ (radiance * solid[:, None, None]).reshape(-1, 3) / np.pi
    light = from_radiance(radiance.astype(np.float32), 0.25, 1.0)
    np.testing.assert_allclose(light.shade(normals), wanted, atol=0.03)
    np.testing.assert_allclose(light.direction, towards[8, 20], atol=0.01)
    assert light.hardness > 0.1


def test_straight_ahead_is_where_yaw_says():
    towards = directions(64, 128, 0.75)
    ahead = towards[31:33, 95:97].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(ahead / np.linalg.norm(ahead), (0, 0, -1), atol=0.01)
    assert towards[32, 110, 0] > 0  # further right in the panorama is to the right


def test_simple_light_goes_from_above_to_below():
    light = simple((0, 2, 0), (1, 0.5, 0.25), (0.8, 0.8, 0.8), (0.2, 0.2, 0.2), 0.7)
    up, down, side = light.shade(np.array([[0, 1, 0], [0, -1, 0], [1, 0, 0]], np.float32))
    np.testing.assert_allclose(up, (1.8, 1.3, 1.05), atol=1e-4)
    np.testing.assert_allclose(down, 0.2, atol=1e-4)
    np.testing.assert_allclose(side, 0.5, atol=1e-4)


def test_the_basis_is_orthonormal():
    towards = directions(128, 256, 0.0).reshape(-1, 3)
    solid = np.repeat(np.cos((0.5 - (np.arange(128) + 0.5) / 128) * np.pi), 256) * (2 * np.pi / 256) * (np.pi / 128)
    values = basis(towards).astype(np.float64)
    assert values.T @ (values * solid[:, None]) == pytest.approx(np.eye(9), abs=2e-3)


def test_darkness_is_dark():
    light = from_radiance(np.zeros((8, 16, 3), np.float32), 0.0, 1.0)
    assert not light.shade(sphere()).any()
    assert light.hardness == 0
