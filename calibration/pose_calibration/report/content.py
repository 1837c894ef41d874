"""What a report shows. Every part may be missing; the page leaves it out then."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from pose_calibration.evaluation.result import Evaluation


class _Base(Struct, frozen=True, kw_only=True):
    """Frozen, keyword-only."""


class Step(_Base, frozen=True, kw_only=True):
    """One state of the search for what may run in INT8.

    Attributes:
        returned: blocks that are FP16 in it.
        int8_share: of the multiply-accumulates of all weighted nodes, 0 to 1.
        loss: graph (its role or executor) -> AP points lost against FP32.
    """

    returned: tuple[str, ...]
    int8_share: float
    loss: dict[str, float]


class SensitivityCurve(_Base, frozen=True, kw_only=True):
    """What it costs to run how much in INT8.

    Attributes:
        data: what the losses were measured on, in words.
        max_loss: the budget, AP points.
        min_int8: least INT8 share, 0 to 1.
        steps: of the search, most INT8 first.
        chosen: position of the step that was taken, or None where none keeps both bounds.
    """

    data: str
    max_loss: float
    min_int8: float
    steps: tuple[Step, ...]
    chosen: int | None = None


class Block(_Base, frozen=True, kw_only=True):
    """What putting this one block into INT8 costs, all else FP32.

    Attributes:
        name: of the block.
        mac_share: of the network's, 0 to 1.
        ap_lost: points.
        shift_px: mean distance of the keypoints from where FP32 has them, pixels.
        people_lost, people_invented: against FP32, clearly above the drop score.
        grouping_errors: keypoints that went to somebody else.
        precision: in which it runs in the end.
    """

    name: str
    mac_share: float
    ap_lost: float
    shift_px: float
    people_lost: int
    people_invented: int
    grouping_errors: int
    precision: str


class Layer(_Base, frozen=True, kw_only=True):
    """A weighted node of the graph: name, operation, multiply-accumulates, in which precision it runs, and why."""

    name: str
    op: str
    macs: int
    precision: Literal["int8", "fp16", "fp32"]
    why: str


class Shown(_Base, frozen=True, kw_only=True):
    """A picture with people drawn in, as JPEG, and what stands under it."""

    title: str
    jpeg: bytes


class Frames(_Base, frozen=True, kw_only=True):
    """The same frame as several graphs or people see it, side by side."""

    name: str
    caption: str
    shown: tuple[Shown, ...]


class Report(_Base, frozen=True, kw_only=True):
    """The page.

    Attributes:
        title: its heading.
        facts: name and value of what else is worth knowing, under the heading.
        warnings: what must not be overlooked.
        evaluation: against annotations.
        frames: pictures side by side.
        sensitivity: the search.
        blocks: one by one, in the network's order.
        layers: in the network's order.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    frames: tuple[Frames, ...] = ()
    sensitivity: SensitivityCurve | None = None
    blocks: tuple[Block, ...] = ()
    layers: tuple[Layer, ...] = ()
