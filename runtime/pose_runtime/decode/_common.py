"""What all decoders share: the result, and the way from map pixels to network-input pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeVar

from msgspec import Meta

from pose_runtime.arrays import FloatArray
from pose_runtime.errors import DecodeError

_Output = TypeVar("_Output")

Grid = Literal["corner", "centre", "aligned"]
"""Where a map pixel lies in the network's input: how the authors of a decoder scale its coordinates.

corner   x_input = x_map · s, with s = input width / map width (HRNet, HigherHRNet, tf-pose)
centre   x_input = (x_map + 0.5) · s - 0.5
aligned  x_input = x_map · (input width - 1) / (map width - 1) (DARK, UDP)
"""

PROBE_SIDE = 64
"""Side of the small input with which a manifest's decoder is tried, pixels."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""Of a score or an overlap."""

MaxPeople = Annotated[int, Meta(ge=1, le=1000)]
"""The best so many people are returned."""


class Decoded(NamedTuple):
    """The people in one network input: keypoints float32 (N, K, 3) x, y, score in input pixels; scores float32 (N,)."""

    keypoints: FloatArray
    scores: FloatArray


def to_input(keypoints: FloatArray, map_wh: tuple[int, int], input_wh: tuple[int, int], grid: Grid) -> None:
    """Scale x and y of keypoints (..., 3) from map pixels to input pixels, in place."""
    for axis, (map_size, input_size) in enumerate(zip(map_wh, input_wh, strict=True)):
        xy = keypoints[..., axis]
        if grid == "aligned":
            xy *= (input_size - 1) / max(map_size - 1, 1)
        elif grid == "corner":
            xy *= input_size / map_size
        else:
            xy += 0.5
            xy *= input_size / map_size
            xy -= 0.5


def only(outputs: Mapping[str, Sequence[_Output]], role: str) -> _Output:
    """The single output of a role."""
    arrays = outputs.get(role, ())
    if len(arrays) != 1:
        raise DecodeError(f"outputs: got {len(arrays)} of role {role!r}, wanted 1; see the bundle's outputs")
    return arrays[0]
