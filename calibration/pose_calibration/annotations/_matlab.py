"""MATLAB files, version 5 to 7, in which MPII, LSP, FLIC and JHMDB are published: what of the format they use.

Of our own because scipy's reader ends the process on damaged files (a segmentation fault, found by changing bytes at
random). Every length is checked against what is there before anything is made of it, and nothing is decoded that is
not asked for. Format: "MAT-File Format", The MathWorks.

MATLAB counts pixels from 1: whatever is read here is taken with `first_pixel=1`.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_calibration.annotations._model import Limits, read_file
from pose_runtime.arrays import Float64Array
from pose_runtime.errors import PoseError

FIRST_PIXEL = 1.0

_MAX_BYTES = 1 << 30  # of one variable, unpacked
_MAX_DIMENSIONS = 8

_MATRIX, _COMPRESSED = 14, 15
_TAGS = {order: struct.Struct(order + "II").unpack_from for order in "<>"}  # type and length
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CELL, _STRUCT, _CHARACTERS, _FIRST_NUMBER, _LAST_NUMBER = 1, 2, 4, 6, 15


class _DamagedError(Exception):
    """What is not as the format says; `reading` makes it a PoseError that names the file."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A variable, a field or a cell: any of MATLAB's arrays, not yet decoded.

    Attributes:
        name: of a variable.
        shape: of the array.
        kind: MATLAB's class.
        body: what follows, up to the array's end.
        order: byte order, `<` or `>`.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    body: memoryview
    order: str

    def numbers(self) -> Float64Array:
        """Its real numbers, float64, of its shape; no numbers (structs, text) are an error."""
        if not self._count():
            return np.zeros(self.shape)
        if not _FIRST_NUMBER <= self.kind <= _LAST_NUMBER:
            raise _DamagedError(f"got class {self.kind}, wanted numbers")
        kind, data, _ = _element(self.body, 0, self.order)
        dtype = np.dtype(self.order + _NUMBERS[kind]) if kind in _NUMBERS else None
        if dtype is None or len(data) != self._count() * dtype.itemsize:
            raise _DamagedError(f"got {len(data)} bytes of type {kind}, wanted {self.shape} numbers")
        return np.frombuffer(data, dtype).astype(np.float64).reshape(self.shape, order="F")

    def text(self) -> str:
        """Its characters in one line; anything else is an error."""
        if self.kind != _CHARACTERS:
            raise _DamagedError(f"got class {self.kind}, wanted text")
        if not self._count():
            return ""
        kind, data, _ = _element(self.body, 0, self.order)
        if kind not in _TEXTS:
            raise _DamagedError(f"got text of type {kind}")
        little = "-le" if self.order == "<" else "-be"
        coding = _TEXTS[kind] + (little if _TEXTS[kind] == "utf-16" else "")
        return bytes(data).decode(coding, "replace")

    def structs(self) -> Iterator[Fields]:
        """Its elements by field, of an array of structs or of cells with structs in them; nothing of an empty array."""
        if self.kind == _CELL:
            for cell in self._parts(0, self._count()):
                yield from _matrix(cell, self.order).structs()
            return
        if not self._count():
            return
        if self.kind != _STRUCT:
            raise _DamagedError(f"got class {self.kind}, wanted structs")
        _, width, at = _element(self.body, 0, self.order)
        _, names, at = _element(self.body, at, self.order)
        length = int.from_bytes(width, "little" if self.order == "<" else "big") if len(width) == 4 else 0
        if not 0 < length <= 64 or len(names) % length:
            raise _DamagedError("the fields of a struct have no names")
        fields = [bytes(names[i : i + length]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
        parts = self._parts(at, self._count() * len(fields))
        for _ in range(self._count()):
            yield Fields({field: next(parts) for field in fields}, self.order)

    def _count(self) -> int:
        return math.prod(self.shape)

    def _parts(self, at: int, count: int) -> Iterator[memoryview]:
        """The bytes of so many arrays, one after the other."""
        if count * 8 > len(self.body):
            raise _DamagedError(f"got {len(self.body)} bytes for {count} arrays")
        for _ in range(count):
            kind, data, at = _element(self.body, at, self.order)
            if kind != _MATRIX:
                raise _DamagedError(f"got an element of type {kind}, wanted an array")
            yield data


class Fields(Mapping[str, Matrix]):
    """A struct's fields by name; a field is looked at when it is asked for."""

    __slots__ = ("_order", "_parts")

    def __init__(self, parts: dict[str, memoryview], order: str) -> None:
        self._parts, self._order = parts, order

    def __getitem__(self, name: str) -> Matrix:
        return _matrix(self._parts[name], self._order)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def load(path: Path, name: str) -> Matrix:
    """One variable of a MATLAB file; PoseError where the file is none or has no such variable."""
    data = memoryview(read_file(path))
    found = []
    with reading(path):
        for matrix in _variables(data):
            if matrix.name == name:
                return matrix
            found.append(matrix.name)
    raise PoseError(f"{path}: has no variable {name!r}, only {', '.join(sorted(found))[:200] or 'none'}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that decodes what `load` gave: what is damaged becomes a PoseError that names the file."""
    try:
        yield
    except (_DamagedError, struct.error, zlib.error, RecursionError) as error:
        raise PoseError(f"{path}: no MATLAB file of version 5 to 7 as wanted: {error}") from error


def numbers(path: Path, name: str, matrix: Matrix, shape: tuple[int | None, ...]) -> Float64Array:
    """A matrix's numbers if it has that shape; None is any size, of which there may be `Limits.PEOPLE`."""
    got = matrix.shape
    good = len(got) == len(shape) and all(w in (None, n) for n, w in zip(got, shape, strict=True))
    if not good or max(got, default=0) > Limits.PEOPLE:
        raise PoseError(f"{path}: {name}: got shape {got}, wanted {shape}")
    with reading(path):
        return matrix.numbers()


def _variables(data: memoryview) -> Iterator[Matrix]:
    if len(data) < 128 or bytes(data[126:128]) not in (b"IM", b"MI"):
        raise _DamagedError("it does not begin as one; version 7.3 files are not read")
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    at = 128
    while at < len(data):
        kind, element, at = _element(data, at, order)
        if kind == _COMPRESSED:
            kind, element, _ = _element(_unpacked(element), 0, order)
        if kind == _MATRIX:
            yield _matrix(element, order)


def _unpacked(data: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, _MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise _DamagedError(f"a variable unpacks to more than {_MAX_BYTES} bytes")
    return memoryview(unpacked)


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Type and bytes of the element at a place, and the place after it."""
    kind, size = _TAGS[order](data, at)
    if kind >> 16:  # up to four bytes in the place of the length
        kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        start = at + 8
        end = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
    if start + size > len(data) or (start == at + 4 and size > 4):
        raise _DamagedError(f"an element of {size} bytes ends after the file")
    return kind, data[start : start + size], end


def _matrix(data: memoryview, order: str) -> Matrix:
    if not len(data):
        return Matrix("", (0, 0), _FIRST_NUMBER, data, order)
    _, flags, at = _element(data, 0, order)
    _, sizes, at = _element(data, at, order)
    _, name, at = _element(data, at, order)
    if len(flags) != 8 or len(sizes) % 4 or not 8 <= len(sizes) <= 4 * _MAX_DIMENSIONS:
        raise _DamagedError("an array has no class or no shape")
    (bits,) = struct.unpack_from(order + "I", flags)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if min(shape) < 0 or math.prod(shape) > _MAX_BYTES:
        raise _DamagedError(f"an array has the shape {shape}")
    return Matrix(bytes(name).decode("latin-1"), shape, bits & 0xFF, data[at:], order)
