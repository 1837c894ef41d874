"""Rotations as unit quaternions, w x y z, in arrays (..., 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


def multiply(a: ArrayLike, b: ArrayLike) -> Floats:
    """The rotation b followed by a, (..., 4)."""
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    aw, ax, ay, az = (first[..., i] for i in range(4))
    bw, bx, by, bz = (second[..., i] for i in range(4))
    product = np.empty(np.broadcast_shapes(first.shape, second.shape), np.float32)
    product[..., 0] = aw * bw - ax * bx - ay * by - az * bz
    product[..., 1] = aw * bx + ax * bw + ay * bz - az * by
    product[..., 2] = aw * by - ax * bz + ay * bw + az * bx
    product[..., 3] = aw * bz + ax * by - ay * bx + az * bw
    return product


def conjugate(q: Floats) -> Floats:
    """The way back."""
    return q * np.array([1, -1, -1, -1], np.float32)


def normalised(q: ArrayLike) -> Floats:
    """Length 1 again, after arithmetic or rounding."""
    values = np.asarray(q, np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


def about(axis: ArrayLike, angle: ArrayLike) -> Floats:
    """Turns by `angle` (...) in radians about unit axes (..., 3)."""
    half = np.asarray(angle, np.float32)[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * np.asarray(axis, np.float32)], axis=-1)


def mean(a: Floats, b: Floats) -> Floats:
    """Half way between two rotations that are less than 180 degrees apart."""
    return normalised(a + b * np.where((a * b).sum(-1, keepdims=True) < 0, -1, 1))


def slerp(a: Floats, b: Floats, t: float) -> Floats:
    """From a (t = 0) to b (t = 1) at constant speed, the short way."""
    dot = (a * b).sum(-1, keepdims=True)
    b, dot = np.where(dot < 0, -b, b), np.abs(dot).clip(0, 1)
    angle = np.arccos(dot)
    sine = np.sin(angle)
    near = sine < 1e-4
    safe = np.where(near, 1, sine)
    first = np.where(near, 1 - t, np.sin((1 - t) * angle) / safe)
    second = np.where(near, t, np.sin(t * angle) / safe)
    return normalised(first * a + second * b)


def to_matrices(q: Floats) -> Floats:
    """Matrices (..., 3, 3) that turn column vectors."""
    w, x, y, z = (q[..., i] for i in range(4))
    result = np.empty((*q.shape[:-1], 3, 3), np.float32)
    result[..., 0, 0] = 1 - 2 * (y * y + z * z)
    result[..., 0, 1] = 2 * (x * y - w * z)
    result[..., 0, 2] = 2 * (x * z + w * y)
    result[..., 1, 0] = 2 * (x * y + w * z)
    result[..., 1, 1] = 1 - 2 * (x * x + z * z)
    result[..., 1, 2] = 2 * (y * z - w * x)
    result[..., 2, 0] = 2 * (x * z - w * y)
    result[..., 2, 1] = 2 * (y * z + w * x)
    result[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return result


def between(start: ArrayLike, end: ArrayLike) -> Floats:
    """The smallest rotation, (3, 3), that takes direction `start` to direction `end`; they may not be opposite."""
    a = np.asarray(start, np.float64) / np.linalg.norm(start)
    b = np.asarray(end, np.float64) / np.linalg.norm(end)
    return to_matrices(normalised(np.concatenate([[1 + a @ b], np.cross(a, b)])))
