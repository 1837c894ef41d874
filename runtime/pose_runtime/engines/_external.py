"""Whether an ONNX file keeps tensors in other files. A walk over its protobuf fields, for the runtime has no onnx.

Such files have no hash in the bundle, and ONNX Runtime would look for them in the current folder or, up to 1.23,
wherever the graph says.
"""

from __future__ import annotations

# message -> number of a field -> message in it, from onnx.proto: all ways that lead to a tensor
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA = 13  # field of a tensor
_VARINT, _BYTES = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # wire type -> bytes


def has_external_data(graph: bytes) -> bool:
    """True also where the walk meets what no ONNX file has (protobuf groups); damage is left to the engine."""
    if b"location" not in graph:  # the key under which such a tensor names its file
        return False
    to_do = [("model", 0, len(graph))]
    try:
        while to_do:
            message, at, end = to_do.pop()
            while at < end:
                tag, at = _varint(graph, at)
                field, wire = tag >> 3, tag & 7
                if wire == _BYTES:
                    length, at = _varint(graph, at)
                    if message == "tensor" and field == _EXTERNAL_DATA:
                        return True
                    if field in _WAYS[message]:
                        to_do.append((_WAYS[message][field], at, at + length))
                    at += length
                elif wire == _VARINT:
                    at = _varint(graph, at)[1]
                elif wire in _FIXED:
                    at += _FIXED[wire]
                else:
                    return True
    except IndexError:  # truncated
        return False
    return False


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits per byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, at
