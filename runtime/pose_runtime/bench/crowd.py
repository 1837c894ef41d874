"""Frames with a given number of people in them, without a photograph: boxes, or what a network would put out.

Each person is the same standing figure, as large as `most` of them side by side allow, so that only their number
grows. For a decoder of many people the outputs are the decoder's way backwards: a bump in every keypoint's map, a tag
per person around it, unit vectors along every limb, all of one sure and well separated kind, with a little noise over
the whole map. Real crowds hide each other's joints and cost more; the count found is given beside the count put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.decode import EmbeddingDecoder, PafDecoder
from pose_runtime.manifest import Manifest, Output

_PEAK = 0.9
_NOISE = 0.01  # standard deviation of a network's background
_SIGMA = 1.0  # of a bump, map pixels
_TAG_STEP = 3.0  # between people; 1 keeps tags apart
_WIDE = 0.5  # a figure's place is half as wide as high

# Where a keypoint lies in a standing figure of height 1, seen from the front: x to the right, y down. Sides are added.
_MIDDLE = {
    "nose": 0.08, "head": 0.06, "head_top": 0.0, "upper_neck": 0.15, "neck": 0.18, "thorax": 0.22, "chest": 0.3,
    "belly": 0.4, "mid_hip": 0.52, "pelvis": 0.52,
}  # fmt: skip
_SIDES = {
    "eye": (0.025, 0.06), "ear": (0.05, 0.07), "shoulder": (0.11, 0.2), "elbow": (0.14, 0.35), "wrist": (0.16, 0.49),
    "hip": (0.07, 0.53), "knee": (0.075, 0.75), "ankle": (0.08, 0.96), "heel": (0.07, 0.98), "big_toe": (0.1, 1.0),
    "small_toe": (0.13, 0.99),
}  # fmt: skip
_GOLDEN = 0.618034


def figure(names: Sequence[str]) -> Float64Array:
    """float64 (K, 2): x (0 in the middle) and y of each keypoint, of a figure of height 1.

    A keypoint of another name gets a place of its own inside: what it costs to decode hardly depends on where it is.
    """
    places = []
    for i, name in enumerate(names):
        side, _, part = name.partition("_")
        if name in _MIDDLE:
            places.append((0.0, _MIDDLE[name]))
        elif side in ("left", "right") and part in _SIDES:
            x, y = _SIDES[part]
            places.append((x if side == "left" else -x, y))
        else:
            places.append(((i * _GOLDEN) % 1 * 0.3 - 0.15, (i * _GOLDEN * _GOLDEN) % 1))
    return np.array(places)


def cells(size_wh: tuple[int, int], people: int, most: int) -> Float64Array:
    """float64 (people, 3): centre x, top y and height in pixels of each one's place, on the grid that holds `most`.

    The grid is the one whose places let a figure stand highest; who comes first is spread over it.
    """
    width, height = size_wh
    best = max(range(1, most + 1), key=lambda columns: min(height / -(-most // columns), width / columns / _WIDE))
    rows = -(-most // best)
    tall = min(height / rows, width / best / _WIDE)
    order = sorted(range(most), key=lambda i: (i * _GOLDEN) % 1)[:people]
    return np.array([
        ((i % best + 0.5) * width / best, (i // best + 0.5) * height / rows - 0.45 * tall, 0.9 * tall) for i in order
    ])  # fmt: skip


def crowd_boxes(size_wh: tuple[int, int], people: int, most: int) -> Float64Array:
    """float64 (people, 4): x, y, width and height of everybody's box in a frame."""
    return np.array([(x - _WIDE * tall / 2, y, _WIDE * tall, tall) for x, y, tall in cells(size_wh, people, most)])


def crowd_outputs(
    manifest: Manifest, shapes: Mapping[str, tuple[int, ...]], people: int, most: int
) -> dict[str, FloatArray] | None:
    """The network's outputs in which so many people stand, the same in every row of the batch.

    Args:
        manifest: of the bundle.
        shapes: (N, C, H, W) of every output.
        people: to put in.
        most: the largest number that will be asked for; it decides how large they are.

    Returns:
        float32 by tensor; None where the decoder finds one person per input.
    """
    decoder = manifest.decoder
    if not isinstance(decoder, EmbeddingDecoder | PafDecoder):
        return None
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    shape_of = {name: (shape[3], shape[2]) for name, shape in shapes.items() if len(shape) == 4}
    body = figure(manifest.skeleton.names)
    for output in manifest.outputs:
        map_wh = shape_of[output.tensor]
        # The figure is laid out in map pixels: maps of one frame have one shape, whatever their stride.
        joints = np.array([(x, y) + tall * body for x, y, tall in cells(map_wh, people, most)])
        first, last = output.channels
        outputs[output.tensor][:, first:last] = _maps(output, decoder, joints, map_wh)
    return outputs


def _maps(
    output: Output, decoder: EmbeddingDecoder | PafDecoder, joints: Float64Array, map_wh: tuple[int, int]
) -> FloatArray:
    """(C, H, W) of one output."""
    channels = output.channels[1] - output.channels[0]
    noise = np.random.default_rng(0).normal(0, _NOISE, (channels, map_wh[1], map_wh[0])).astype(np.float32)
    if output.role == "tags":
        return noise + _tags(joints, channels, map_wh)
    if output.role == "pafs" and isinstance(decoder, PafDecoder):
        return noise + _pafs(joints, decoder, channels, map_wh)
    return noise + _heatmaps(joints, channels, map_wh)


def _squares(point: Float64Array, map_wh: tuple[int, int]) -> Float64Array:
    """(H, W): squared distance of every pixel from a point, pixels²."""
    x, y = np.arange(map_wh[0]) - point[0], np.arange(map_wh[1]) - point[1]
    return np.asarray(y[:, None] ** 2 + x[None] ** 2)


def _heatmaps(joints: Float64Array, channels: int, map_wh: tuple[int, int]) -> FloatArray:
    """A bump per person and keypoint; a channel beyond the keypoints is the background."""
    maps = np.zeros((channels, map_wh[1], map_wh[0]), np.float32)
    keypoints = min(joints.shape[1], channels)
    for person in joints:
        for k in range(keypoints):
            bump = _PEAK * np.exp(-_squares(person[k], map_wh) / (2 * _SIGMA**2))
            np.maximum(maps[k], bump, out=maps[k], casting="same_kind")
    maps[keypoints:] = 1 - maps[:keypoints].max(axis=0)
    return maps


def _tags(joints: Float64Array, channels: int, map_wh: tuple[int, int]) -> FloatArray:
    """Every person's own number around each of their keypoints; where nobody is, nobody's."""
    maps = np.full((channels, map_wh[1], map_wh[0]), -_TAG_STEP, np.float32)
    for number, person in enumerate(joints):
        for k in range(min(joints.shape[1], channels)):
            maps[k][_squares(person[k], map_wh) < (3 * _SIGMA) ** 2] = number * _TAG_STEP
    return maps


def _pafs(joints: Float64Array, decoder: PafDecoder, channels: int, map_wh: tuple[int, int]) -> FloatArray:
    """Unit vectors along every limb, within a bump's width of it."""
    maps = np.zeros((channels, map_wh[1], map_wh[0]), np.float32)
    y, x = np.mgrid[: map_wh[1], : map_wh[0]]
    for person in joints:
        for a, b, channel_x, channel_y in decoder.limbs:
            start, along = person[a], person[b] - person[a]
            length = max(float(np.hypot(*along)), 1e-6)
            unit = along / length
            past = np.clip((x - start[0]) * unit[0] + (y - start[1]) * unit[1], 0, length)
            near = (x - start[0] - past * unit[0]) ** 2 + (y - start[1] - past * unit[1]) ** 2 <= _SIGMA**2
            maps[channel_x][near], maps[channel_y][near] = _PEAK * unit
    return maps
