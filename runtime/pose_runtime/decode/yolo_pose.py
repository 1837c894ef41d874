"""Boxes with keypoints in one output: Ultralytics' YOLOv8-pose and YOLO11-pose, and exports without suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray
from pose_runtime.decode._common import Decoded, Grid, MaxPeople, Share, only
from pose_runtime.errors import DecodeError

PoseLayout = Literal["anchors", "end_to_end"]
"""anchors: (4 + C + 3K, A): centre x, centre y, width, height, C class scores, then x, y, visibility per keypoint.
end_to_end: (M, 6 + 3K): left, top, right, bottom, score, class, then the same. Input pixels; class 0 is the person."""


def yolo_pose(
    predictions: ArrayLike,
    *,
    layout: PoseLayout,
    classes: int = 1,
    confidence: float,
    max_iou: float,
    max_people: int,
) -> tuple[FloatArray, FloatArray]:
    """The people in one image.

    Args:
        predictions: of one image, see `PoseLayout`; there may be no anchors.
        layout: its order.
        classes: C of `anchors`. An anchor stands for its best class, the first of equal ones.
        confidence: boxes whose score is not above it are nobody's, as are boxes without area.
        max_iou: of two boxes whose overlap (intersection over union) is above it, the one of the higher score stays;
            1 keeps all.
        max_people: the best so many are returned.

    Returns:
        keypoints float32 (N, K, 3): x, y in input pixels and the visibility; scores float32 (N,), those of the boxes,
        the highest first.
    """
    joints = joints_of(np.shape(predictions), layout, classes)
    array = np.ascontiguousarray(predictions, np.float32)
    out, scores = np.empty((max_people, joints, 3), np.float32), np.empty(max_people, np.float32)
    limits = (confidence, max_iou, max_people)
    count = native.yolo_pose(array, joints, classes, layout == "end_to_end", *limits, out, scores)
    return out[:count], scores[:count]


def joints_of(shape: tuple[int, ...], layout: PoseLayout, classes: int) -> int:
    """K of predictions of that shape, without the batch."""
    if layout not in ("anchors", "end_to_end"):
        raise DecodeError(f"layout: got {layout!r}, wanted anchors or end_to_end")
    before = 6 if layout == "end_to_end" else 4 + classes
    rows = shape[1 if layout == "end_to_end" else 0] - before if len(shape) == 2 else 0
    if rows < 3 or rows % 3:
        wanted = "(M, 6 + 3K)" if layout == "end_to_end" else f"({before} + 3K, A) for {classes} classes"
        raise DecodeError(f"predictions: got shape {shape}, wanted {wanted}")
    return rows // 3


class YoloPoseDecoder(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="yolo_pose"
):
    """Decoder of everyone in the frame; a person's score is that of the box.

    Needs role `boxes` once: see `PoseLayout`. Boxes whose score is not above `confidence` are nobody's; of boxes that
    overlap by more than `max_iou` the best stays. A keypoint whose visibility is not above `min_score` is missing; a
    person without keypoints is not returned.
    """

    layout: PoseLayout
    classes: Annotated[int, Meta(ge=1, le=1000)]
    confidence: Share
    max_iou: Share
    min_score: Share
    max_people: MaxPeople
    grid: Grid

    def probe_shape(self, role: str, index: int, count: int, joints: int) -> tuple[int, ...]:  # noqa: ARG002
        """As `SimccDecoder.probe_shape`."""
        return (count, 1) if self.layout == "anchors" else (1, 6 + 3 * joints)

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:  # noqa: ARG002
        """The people in one network input, in input pixels."""
        return self.people(
            *yolo_pose(
                only(outputs, "boxes"),
                layout=self.layout,
                classes=self.classes,
                confidence=self.confidence,
                max_iou=self.max_iou,
                max_people=self.max_people,
            )
        )

    def people(self, keypoints: FloatArray, scores: FloatArray) -> Decoded:
        """Those with keypoints (N, K, 3), input pixels, that count; they are overwritten."""
        seen = (keypoints[..., 2] > self.min_score) & np.isfinite(keypoints).all(axis=-1)
        keypoints[~seen] = (np.nan, np.nan, 0)
        somebody = seen.any(axis=1)
        return Decoded(keypoints[somebody], scores[somebody])
