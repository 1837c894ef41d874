"""Caffe's checkpoints (.caffemodel): protobuf, read by the few fields that hold weights, without Caffe.

NetParameter { V1LayerParameter layers = 2; LayerParameter layer = 100 }
V1LayerParameter { string name = 4; BlobProto blobs = 6 }
LayerParameter { string name = 1; BlobProto blobs = 7 }
BlobProto { int32 num = 1, channels = 2, height = 3, width = 4; packed float data = 5; BlobShape shape = 7 }
BlobShape { packed int64 dim = 1 }
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pose_runtime.arrays import FloatArray
from pose_runtime.errors import ExportError

SUFFIX = ".caffemodel"
_MAX_LAYERS = 10_000
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_LAYERS = {2: (4, 6), 100: (1, 7)}
"""Field of the net -> fields of a layer's name and blobs: as files were written before 2015, and since."""

Value = int | memoryview


def read_caffemodel(path: Path) -> dict[str, FloatArray]:
    """Weights by name: `LAYER.weight`, which a PReLU's slopes are too, and `LAYER.bias`.

    Raises:
        ExportError: no such file, or no protobuf of a Caffe network with weights.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise ExportError(f"cannot read the checkpoint: {error.strerror}") from error
    try:
        weights = dict(_weights(data))
    except (IndexError, ValueError) as error:
        raise ExportError(f"damaged or truncated .caffemodel ({error}); fetch it again") from error
    if not weights:
        raise ExportError("no weights in it; wanted a trained network as Caffe writes it")
    return weights


def _weights(net: memoryview) -> Iterator[tuple[str, FloatArray]]:
    seen: set[str] = set()
    for number, layer in _fields(net):
        if number not in _LAYERS or isinstance(layer, int):
            continue
        name_field, blob_field = _LAYERS[number]
        fields = list(_fields(layer))
        name = next((bytes(value).decode() for key, value in fields if key == name_field and _is_bytes(value)), "")
        blobs = [_blob(value) for key, value in fields if key == blob_field and not isinstance(value, int)]
        if not blobs:
            continue
        if not name or name in seen or len(seen) >= _MAX_LAYERS:
            raise ValueError(f"a layer without a name of its own: {name[:60]!r}")
        seen.add(name)
        for kind, blob in zip(("weight", "bias"), blobs, strict=False):
            yield f"{name}.{kind}", blob


def _blob(data: memoryview) -> FloatArray:
    """Four dimensions in old files; a bias is then 1 x 1 x 1 x n."""
    legacy, shape, values = [1, 1, 1, 1], None, np.zeros(0, np.float32)
    for number, value in _fields(data):
        if isinstance(value, int):
            if 1 <= number <= 4:
                legacy[number - 1] = value
        elif number == 5:
            values = np.concatenate([values, np.frombuffer(value, "<f4")])
        elif number == 7:
            shape = list(_dims(value))
    if shape is None:
        shape = legacy[3:] if legacy[:3] == [1, 1, 1] else legacy
    if len(shape) > 8 or int(np.prod(shape, dtype=object)) != values.size:
        raise ValueError(f"a blob of shape {shape[:8]} with {values.size} values")
    return np.array(values.reshape(shape), np.float32)


def _dims(data: memoryview) -> Iterator[int]:
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            yield value
        elif number == 1 and not isinstance(value, int):
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                yield size


def _is_bytes(value: Value) -> bool:
    return not isinstance(value, int)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field: an int, or the bytes of what is nested or packed."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_DOUBLE, _FLOAT):
            size = 8 if kind == _DOUBLE else 4
        else:
            raise ValueError(f"field {number} of kind {kind}")
        if number == 0 or size > len(data) - at:
            raise ValueError(f"field {number} ends behind the file")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends."""
    value = 0
    for i in range(10):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number of over 64 bits")
