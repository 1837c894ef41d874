"""What a method is, and what the methods share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from pose_export.training.record import Record
from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import convert, skeleton

Targets = dict[str, NDArray[Any]]


class Method(Protocol):
    """How one kind of network learns poses. A method is frozen and small; it goes to data workers as it is."""

    def targets(self, record: Record) -> Targets:
        """What the network shall answer for this record, which is augmented and of the network's input size.

        Shapes depend on nothing but the input's size, so that records stack into batches.

        Raises:
            ExportError: the method cannot take such a record.
        """
        ...

    def loss(self, outputs: tuple[Tensor, ...], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named scalar terms, float32, whose sum is the loss of a batch.

        Args:
            outputs: of the network, batch first.
            targets: `targets` of the batch's records, stacked.
        """
        ...


class BaseMethod(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="method"):
    """What every method has: `skeleton`, the name of the K keypoints that the network learns."""

    skeleton: str = "coco17"

    def __post_init__(self) -> None:
        skeleton(self.skeleton)  # raises where there is no such set


def input_size(record: Record) -> tuple[int, int]:
    """Width and height of the record's image."""
    height, width = record.image.shape[:2]
    return width, height


def labelled_points(record: Record, skeleton_name: str) -> tuple[Float64Array, NDArray[np.bool_]]:
    """The record's people in the method's skeleton.

    A keypoint that is labelled but hidden counts, as in COCO. A neck between shoulders is labelled where both are.

    Returns:
        xy float64 (N, K, 2), input pixels, NaN where not labelled; labelled bool (N, K).
    """
    keypoints: FloatArray = record.keypoints
    wanted = skeleton(skeleton_name)
    if record.skeleton != wanted:
        keypoints = convert(keypoints, record.skeleton, wanted)
    labelled = (keypoints[..., 2] > 0) & np.isfinite(keypoints[..., :2]).all(axis=-1)
    return np.where(labelled[..., None], keypoints[..., :2], np.nan).astype(np.float64), labelled


def the_person(record: Record, skeleton_name: str) -> tuple[Float64Array, NDArray[np.bool_]]:
    """As `labelled_points`, of the only person: xy (K, 2), labelled (K,).

    Raises:
        ExportError: there is not exactly one person.
    """
    xy, labelled = labelled_points(record, skeleton_name)
    if len(xy) != 1:
        raise ExportError(f"{record.name}: got {len(xy)} people, wanted one; crop the picture around each person")
    return xy[0], labelled[0]


def wanted_outputs(outputs: tuple[Tensor, ...], shapes: list[tuple[int, ...]]) -> None:
    """Check that the network's outputs have the targets' shapes.

    Raises:
        ExportError: they have not.
    """
    found = [tuple(output.shape) for output in outputs]
    if found != shapes:
        raise ExportError(f"outputs: got shapes {found}, wanted {shapes}; network, method and input size do not fit")
