"""People as boxes, which detectors give: poses of the skeleton `box2`, the top left and the bottom right corner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray
from pose_runtime.decode._common import PROBE_SIDE, Decoded, Grid, MaxPeople, Share
from pose_runtime.errors import DecodeError

BoxLayout = Literal["yolox", "yolox_decoded", "rtmdet", "torchvision", "centre_map"]
"""What a detector's head gives, without the batch; every box in input pixels.

yolox           (A, 5 + C): centre x, y, width, height, relative to cells of 8, 16 and 32 pixels, objectness, C classes
yolox_decoded   the same in input pixels
rtmdet          (M, 5): left, top, right, bottom, score; labels (M,)
torchvision     boxes (M, 4): left, top, right, bottom; labels (M,); scores (M,)
centre_map      map of centres (1, H, W) with role `heatmaps`; distances (4, H, W) from a peak to the left, top, right
                and bottom side, in units of the stride
"""

_NATIVE: dict[str, int] = {name: i for i, name in enumerate(get_args(BoxLayout))}  # in the order of the native enum
_ROLES: dict[str, tuple[str, ...]] = {"rtmdet": ("boxes",) * 2, "torchvision": ("boxes",) * 3}
_ROLES["centre_map"] = ("heatmaps", "boxes")
# places of the native code's arrays (boxes, scores, labels) among torchvision's outputs (boxes, labels, scores)
_NATIVE_ORDER = {"torchvision": (0, 2, 1)}


class Arguments(NamedTuple):
    """What the native code takes.

    Attributes:
        numbers: layout, count, values of a row, class of people, width, height, whether maps are logits.
        factors: scale, shift and stride, each in x and y.
        arrays: up to three, in its order.
    """

    numbers: tuple[int, int, int, int, int, int, int]
    factors: tuple[float, float, float, float, float, float]
    arrays: tuple[Any, ...]


def boxes(
    decoder: BoxesDecoder, arrays: Sequence[ArrayLike], input_wh: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """The people in one image.

    Args:
        decoder: says what the arrays are.
        arrays: of its layout, in the order of `BoxLayout`; there may be no rows.
        input_wh: width and height of the network's input.

    Returns:
        float32 (N, 4): left, top, right, bottom in input pixels; scores float32 (N,), the highest first.
    """
    roles = decoder.roles
    if len(arrays) != len(roles):
        raise DecodeError(f"{decoder.layout}: got {len(arrays)} arrays, wanted {len(roles)}")
    outputs: dict[str, list[FloatArray]] = {}
    for role, array in zip(roles, arrays, strict=True):
        outputs.setdefault(role, []).append(np.asarray(array, np.float32))
    people, scores = decoder(outputs, input_wh)
    return people[..., :2].reshape(-1, 4), scores


class BoxesDecoder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="boxes"):
    """Decoder of person boxes; the score of a person and of both corners is the box's.

    Needs role `boxes`, and `heatmaps` for `centre_map`: see `BoxLayout`. Boxes of other classes, without area, or whose
    score is not above `min_score` are left out; of boxes that overlap by more than `max_iou` (intersection over union)
    the best stays, and the best `max_people` of those.

    Attributes:
        person: the class of people: an index of yolox' classes, else a label. centre_map has none: 0.
        logits: the centre map holds logits; their sigmoid is the score.
    """

    layout: BoxLayout
    person: Annotated[int, Meta(ge=0, le=1000)]
    logits: bool
    min_score: Share
    max_iou: Share
    max_people: MaxPeople
    grid: Grid

    @property
    def roles(self) -> tuple[str, ...]:
        """Of the outputs, in the order of `BoxLayout`."""
        return _ROLES.get(self.layout, ("boxes",))

    def probe_shape(self, role: str, index: int, count: int, joints: int) -> tuple[int, ...]:  # noqa: ARG002
        """As `SimccDecoder.probe_shape`."""
        if self.layout == "centre_map":
            return count, PROBE_SIDE // 8, PROBE_SIDE // 8
        if index > 0:
            return (1,)
        if self.layout.startswith("yolox"):
            return _cells((PROBE_SIDE, PROBE_SIDE)) if self.layout == "yolox" else 1, 6 + self.person
        return 1, 5 if self.layout == "rtmdet" else 4

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """The people in one network input, in input pixels."""
        numbers, factors, arrays = self.arguments(outputs, input_wh)
        flat = [np.ascontiguousarray(array, np.float32).reshape(-1) for array in arrays]
        flat += [np.zeros(0, np.float32)] * (3 - len(flat))
        keypoints, scores = np.empty((self.max_people, 2, 3), np.float32), np.empty(self.max_people, np.float32)
        limits = (self.min_score, self.max_iou, self.max_people)
        count = native.boxes(numbers, factors, *flat, *limits, keypoints, scores)
        return Decoded(keypoints[:count], scores[:count])

    def arguments(self, outputs: Mapping[str, Sequence[Any]], input_wh: tuple[int, int]) -> Arguments:
        """What the native code takes for these outputs by role; anything with a shape."""
        wanted = self.roles
        if any(len(outputs.get(role, ())) != wanted.count(role) for role in ("heatmaps", "boxes")):
            got = ", ".join(f"{len(outputs.get(role, ()))} {role}" for role in ("heatmaps", "boxes"))
            raise DecodeError(f"outputs: got {got}; layout {self.layout} wants {', '.join(wanted)}")
        arrays = (*outputs.get("heatmaps", ()), *outputs.get("boxes", ()))
        if self.layout == "centre_map":
            return self._of_maps(arrays, input_wh)
        return self._of_rows(tuple(arrays[i] for i in _NATIVE_ORDER.get(self.layout, range(len(arrays)))), input_wh)

    def _of_rows(self, arrays: tuple[Any, ...], input_wh: tuple[int, int]) -> Arguments:
        shape = tuple(arrays[0].shape)
        is_yolox = self.layout.startswith("yolox")
        least = 6 + self.person if is_yolox else 5 if self.layout == "rtmdet" else 4
        if len(shape) != 2 or (shape[1] < least if is_yolox else shape[1] != least):
            values = f"{least} or more" if is_yolox else least
            raise DecodeError(f"boxes: got shape {shape}, {self.layout} with class {self.person} wants (M, {values})")
        if any(tuple(array.shape) != shape[:1] for array in arrays[1:]):
            got = ", ".join(str(tuple(array.shape)) for array in arrays)
            raise DecodeError(f"boxes: got shapes {got}, wanted one score and label per row")
        if self.layout == "yolox" and shape[0] != _cells(input_wh):
            size = f"{input_wh[0]} x {input_wh[1]}"
            raise DecodeError(f"boxes: got {shape[0]} rows for an input of {size}, yolox has {_cells(input_wh)}")
        numbers = (_NATIVE[self.layout], shape[0], shape[1], self.person, *input_wh, 0)
        return Arguments(numbers, (1.0, 1.0, 0.0, 0.0, 1.0, 1.0), arrays)

    def _of_maps(self, arrays: tuple[Any, ...], input_wh: tuple[int, int]) -> Arguments:
        centres, sides = (tuple(array.shape) for array in arrays)
        if len(centres) != 3 or centres[0] != 1 or sides != (4, *centres[1:]):
            raise DecodeError(f"centre_map: got shapes {centres} and {sides}, wanted (1, H, W) and (4, H, W)")
        map_wh = (centres[2], centres[1])
        stride = tuple(size / cells for size, cells in zip(input_wh, map_wh, strict=True))
        scale, shift = stride, (0.0, 0.0)
        if self.grid == "centre":
            shift = (0.5 * stride[0] - 0.5, 0.5 * stride[1] - 0.5)
        elif self.grid == "aligned":
            scale = tuple((size - 1) / max(cells - 1, 1) for size, cells in zip(input_wh, map_wh, strict=True))
        numbers = (_NATIVE["centre_map"], map_wh[0] * map_wh[1], 1, self.person, *map_wh, int(self.logits))
        return Arguments(numbers, (scale[0], scale[1], *shift, stride[0], stride[1]), arrays)

    def people(self, keypoints: FloatArray, scores: FloatArray) -> Decoded:
        """As they are."""
        return Decoded(keypoints, scores)


def _cells(input_wh: tuple[int, int]) -> int:
    """Rows of a YOLOX head: one per cell of each stride."""
    return sum((input_wh[0] // stride) * (input_wh[1] // stride) for stride in (8, 16, 32))
