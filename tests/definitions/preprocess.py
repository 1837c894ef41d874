"""What the native pre-processing is defined to do, pixel by pixel in NumPy."""

from __future__ import annotations

import numpy as np


def to_rgb(frame):
    """uint8 (H, W, 3) r, g, b of any frame; (H, W, 1) of a grey one."""
    width, height = frame.size_wh

    def rows(i, count, row_bytes):
        flat, stride = frame.planes[i].reshape(-1), frame.strides[i]
        return np.stack([flat[y * stride : y * stride + row_bytes] for y in range(count)])

    if frame.format == "gray8":
        return rows(0, height, width)[..., None]
    if frame.format in ("bgr8", "rgb8"):
        image = rows(0, height, 3 * width).reshape(height, width, 3)
        return image[..., ::-1] if frame.format == "bgr8" else image
    if frame.format == "nv12":
        y = rows(0, height, width)
        uv = rows(1, height // 2, width).reshape(height // 2, width // 2, 2).repeat(2, 0).repeat(2, 1)
        u, v = uv[..., 0], uv[..., 1]
    else:
        pairs = rows(0, height, 2 * width).reshape(height, width // 2, 4)
        y = pairs[..., ::2].reshape(height, width)
        u, v = pairs[..., 1].repeat(2, 1), pairs[..., 3].repeat(2, 1)
    y, u, v = np.maximum(y.astype(np.int64) - 16, 0) * 1220542, u.astype(np.int64) - 128, v.astype(np.int64) - 128
    half = 1 << 19
    rgb = [y + 1673527 * v + half, y - 852492 * v - 409993 * u + half, y + 2116026 * u + half]
    return np.clip(np.stack(rgb, -1) >> 20, 0, 255).astype(np.uint8)


def stored(frame, colour):
    """uint8 (H, W, C): the channels that are sampled, in the order of `colour`."""
    rgb = to_rgb(frame)
    if colour == "gray" and rgb.shape[2] == 3:
        r, g, b = np.moveaxis(rgb.astype(np.int64), 2, 0)
        return ((9798 * r + 19235 * g + 3735 * b + (1 << 14)) >> 15).astype(np.uint8)[..., None]
    return rgb[..., ::-1] if colour == "bgr" else rgb


def taps(position, n, interpolation, replicate):
    """Indices and float32 weights (taps, ...) at float64 positions; -1 and n are outside."""
    position = np.clip(position, -8, n + 8)
    whole = np.floor(position)
    f = (position - whole).astype(np.float32)
    if interpolation == "bilinear":
        weights = [1 - f, f]
    else:
        a, g, far = np.float32(-0.75), 1 - f, f + 1
        w0 = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
        w1 = ((a + 2) * f - (a + 3)) * f * f + 1
        w2 = ((a + 2) * g - (a + 3)) * g * g + 1
        weights = [w0, w1, w2, 1 - w0 - w1 - w2]
    first = whole.astype(np.int64) - (len(weights) // 2 - 1)
    low, high = (0, n - 1) if replicate else (-1, n)
    return [np.clip(first + i, low, high) for i in range(len(weights))], weights


def preprocess(frame, geometry, *, colour, mean, std, dtype=np.float32):
    """float (3 or 1, H, W)."""
    image = stored(frame, colour)
    height, width, channels = image.shape
    padded = np.full((height + 2, width + 2, channels), geometry.pad, np.float32)
    padded[1:-1, 1:-1] = image
    out_w, out_h = geometry.size_wh
    y, x = np.mgrid[:out_h, :out_w]
    m = geometry.inverse
    tx, wx = taps(m[0, 0] * x + m[0, 1] * y + m[0, 2], width, geometry.interpolation, geometry.replicate)
    ty, wy = taps(m[1, 0] * x + m[1, 1] * y + m[1, 2], height, geometry.interpolation, geometry.replicate)
    value = None
    for i in range(len(wx)):
        column = wy[0][..., None] * padded[ty[0] + 1, tx[i] + 1]
        for j in range(1, len(wy)):
            column = column + wy[j][..., None] * padded[ty[j] + 1, tx[i] + 1]
        part = wx[i][..., None] * column
        value = part if value is None else value + part
    left, top, right, bottom = geometry.inner
    shown = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    value = np.where(shown[..., None], value, np.float32(geometry.pad)).astype(np.float32)
    if geometry.round_pixels:
        value = np.rint(np.clip(value, 0, 255))
    out_channels = 1 if colour == "gray" else 3
    value = np.broadcast_to(value, (*value.shape[:2], out_channels))
    value = (value - np.float32(mean)[:out_channels]) / np.float32(std)[:out_channels]
    return np.ascontiguousarray(value.transpose(2, 0, 1)).astype(dtype)
