"""What networks of every family would give for people standing about: random maps for tests of decoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pose_runtime.arrays import FloatArray
from pose_runtime.decode import (
    Decoder,
    EmbeddingDecoder,
    HeatmapDecoder,
    OffsetDecoder,
    PafDecoder,
    WindowDecoder,
)

Outputs = dict[str, list[FloatArray]]


def people_xy(rng: np.random.Generator, count: int, joints: int) -> FloatArray:
    """Joints (count, joints, 2) x, y in shares of the picture's width and height; neighbours in number are near."""
    centre = rng.uniform(0.1, 0.9, (count, 1, 2))
    size = rng.uniform(0.1, 0.35, (count, 1))
    angle = np.linspace(0, 2.5, joints) + rng.uniform(0, 0.3, (count, joints))
    curve = np.stack([size * np.cos(angle), size * np.sin(2 * angle)], -1)
    return (centre + curve).astype(np.float32)


def heatmaps(rng: np.random.Generator, xy: FloatArray, wh: tuple[int, int], sigma: float = 1.2) -> FloatArray:
    """Maps (joints, h, w): a soft peak per person and joint, and noise."""
    joints = xy.shape[1]
    x, y = np.arange(wh[0]), np.arange(wh[1])[:, None]
    maps = rng.normal(0, 0.02, (joints, wh[1], wh[0]))
    for person in xy:
        for k, (px, py) in enumerate(person * wh):
            distance = (x - px) ** 2 + (y - py) ** 2
            maps[k] += rng.uniform(0.3, 1) * np.exp(-distance / (2 * sigma**2))
    return maps.astype(np.float32)


def fields(
    rng: np.random.Generator, xy: FloatArray, wh: tuple[int, int], limbs: Sequence[tuple[int, int, int, int]]
) -> FloatArray:
    """Part affinity fields (channels, h, w): unit vectors along each person's limbs, and noise."""
    channels = 1 + max(max(limb[2:]) for limb in limbs)
    x, y = np.arange(wh[0]), np.arange(wh[1])[:, None]
    maps = rng.normal(0, 0.02, (channels, wh[1], wh[0]))
    for person in xy * wh:
        for a, b, cx, cy in limbs:
            dx, dy = person[b] - person[a]
            length = np.hypot(dx, dy) + 1e-6
            along = ((x - person[a, 0]) * dx + (y - person[a, 1]) * dy) / length
            across = ((x - person[a, 0]) * dy - (y - person[a, 1]) * dx) / length
            inside = (along > -1) & (along < length + 1) & (abs(across) < 1.5)
            maps[cx] += inside * 0.9 * dx / length
            maps[cy] += inside * 0.9 * dy / length
    return maps.astype(np.float32)


def tags(rng: np.random.Generator, xy: FloatArray, wh: tuple[int, int], maps: int) -> FloatArray:
    """Tags (maps, h, w): near each joint its person's own, else noise; one map is shared by all joints."""
    out = rng.normal(0, 1, (maps, wh[1], wh[0]))
    x, y = np.arange(wh[0]), np.arange(wh[1])[:, None]
    for i, person in enumerate(xy * wh):
        for k, (px, py) in enumerate(person):
            near = (abs(x - px) < 3) & (abs(y - py) < 3)
            out[k % maps][near] = 4 * i + rng.normal(0, 0.1, near.sum())
    return out.astype(np.float32)


def outputs_for(
    decoder: Decoder, rng: np.random.Generator, people: int, map_wh: tuple[int, int], joints: int = 17, levels: int = 2
) -> Outputs:
    """Outputs by role of a network for that many people.

    Args:
        decoder: whose roles they are.
        map_wh: size of the (coarse) maps; a second level is twice that.
        joints: where the decoder does not say.
        levels: resolutions of the heatmaps (embedding).
    """
    if isinstance(decoder, PafDecoder):
        xy = people_xy(rng, people, decoder.parts)
        return {"heatmaps": [heatmaps(rng, xy, map_wh)], "pafs": [fields(rng, xy, map_wh, decoder.limbs)]}
    if isinstance(decoder, EmbeddingDecoder):
        xy = people_xy(rng, people, joints)
        double = (2 * map_wh[0], 2 * map_wh[1])
        heat = [heatmaps(rng, xy, wh) for wh in (map_wh, double)[:levels]]
        return {"heatmaps": heat, "tags": [tags(rng, xy, map_wh, joints)]}
    xy = people_xy(rng, people, joints)
    if isinstance(decoder, HeatmapDecoder):
        return {"heatmaps": [heatmaps(rng, xy, map_wh)]}
    if isinstance(decoder, OffsetDecoder):
        heat = heatmaps(rng, xy, map_wh, 3.0)
        target = xy[0] if people else people_xy(rng, 1, joints)[0]
        x, y = np.meshgrid(np.arange(map_wh[0]), np.arange(map_wh[1]))
        towards = (target * map_wh)[:, :, None, None] - np.stack([x, y])
        towards += rng.normal(0, 0.5, towards.shape)
        if decoder.logits:
            heat = 12 * heat - 6
        return {"heatmaps": [heat], "offsets": [towards.reshape(2 * joints, *heat.shape[1:]).astype(np.float32)]}
    if isinstance(decoder, WindowDecoder):
        corners = rng.integers(-16, 200, 2 * joints).astype(np.float32)
        return {"fine": [heatmaps(rng, xy[:1], map_wh)], "windows": [corners]}
    values = xy[0] - 0.5 if people else np.full((joints, 2), np.nan)
    return {"vector": [values.reshape(-1).astype(np.float32)]}


def spoil(outputs: Outputs, every: int = 97) -> None:
    """NaN and infinite values here and there, in place."""
    for arrays in outputs.values():
        for array in arrays:
            flat = array.reshape(-1)
            flat[13::every] = np.nan
            flat[40 :: 2 * every] = np.inf
            flat[50 :: 3 * every] = -np.inf
