"""Whether an ONNX file holds FP16 constants. A walk over its protobuf fields, for the runtime has no onnx."""

from __future__ import annotations

from collections.abc import Iterator

_GRAPH, _TENSOR, _TYPE = 7, 5, 2  # fields: of a model its graph, of that a constant, of that its element type
_FLOAT16 = 10
_VARINT, _BYTES = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # wire type -> bytes


def has_half_constants(graph: bytes) -> bool:
    """Of the main graph; False for damage, which is left to the engine."""
    try:
        return any(
            value == _FLOAT16
            for field, start, end in _fields(graph, 0, len(graph))
            if field == _GRAPH
            for inner, first, last in _fields(graph, start, end)
            if inner == _TENSOR
            for number, value, length in _fields(graph, first, last)
            if number == _TYPE and length < 0
        )
    except (IndexError, ValueError):
        return False


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field in a part of the file; of a whole number itself and -1."""
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value, -1
        elif wire == _BYTES:
            length, at = _varint(data, at)
            yield tag >> 3, at, at + length
            at += length
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits per byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, at
