"""What of a network runs in INT8, and between which values: one plan, from which every graph follows.

A node is named by its first output, which ONNX demands to be unique; its own name may be empty.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pose_runtime.errors import CalibrationError

VERSION = 2
MAX_BYTES = 64 << 20

Exponent = Annotated[int, Meta(ge=-30, le=30)]
TensorName = Annotated[str, Meta(min_length=1, max_length=1000)]


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision for one network.

    Attributes:
        version: of this format.
        int8: the weighted nodes (Conv, ConvTranspose, Gemm, MatMul) whose products are INT8, in the graph's order.
        ranges: activation tensor -> the smallest and largest value that its integers stand for, low <= 0 <= high.
            Tensors without one are never quantised.
        exponents: activation tensor -> e per channel: it is divided by 2^e before it is rounded, and the weights that
            read it are multiplied by that (`equalise.py`); tensors without an entry are not. The ranges are those of
            the divided tensors.
        shifts: convolution -> what its bias gains per output channel where the node is INT8 (`bias.py`).
        fp32: nodes that stay FP32 where the graph is typed FP16, because a value there overflows.
        method: how the ranges were chosen (`limits.METHODS`).
        data: what they were measured on, in words.
    """

    version: int
    int8: tuple[TensorName, ...]
    ranges: dict[TensorName, tuple[float, float]]
    exponents: dict[TensorName, tuple[Exponent, ...]]
    shifts: dict[TensorName, tuple[float, ...]]
    fp32: tuple[TensorName, ...]
    method: str
    data: str


def encode_plan(plan: Plan) -> bytes:
    """As JSON, one entry a line."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def decode_plan(data: bytes, name: str) -> Plan:
    """A plan from JSON; CalibrationError names what is wrong.

    Args:
        data: of the file.
        name: of the file, for messages.
    """
    if len(data) > MAX_BYTES:
        raise CalibrationError(f"{name}: got {len(data)} bytes, wanted at most {MAX_BYTES}")
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{name}: no INT8 plan: {error}") from error
    if plan.version != VERSION:
        raise CalibrationError(f"{name}: got version {plan.version}, wanted {VERSION}; calibrate again")
    for tensor, (low, high) in plan.ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high):
            raise CalibrationError(f"{name}: range of {tensor!r}: got {low} to {high}, wanted finite, around 0")
    for node, shift in plan.shifts.items():
        if not all(map(math.isfinite, shift)):
            raise CalibrationError(f"{name}: shifts of {node!r}: wanted finite numbers")
    return plan
