"""Records kept on disk, many to a file, ready for training: reading one costs about one JPEG decode.

A shard is one file, `RECIPE-FIRST.shard`: the records one after the other (MessagePack each), an index, and a footer
of fixed size that says where the index lies. It appears under its name when it is whole, so any number of processes
may write into one folder, and a reader sees finished shards only. Checksums are CRC-32: they find damage, not malice;
against that every length and size is checked before it is used, and nothing read is ever executed.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from pose_export.training.record import Record
from pose_export.training.source import OnBad, RecordError
from pose_runtime.arrays import ByteArray
from pose_runtime.errors import ExportError
from pose_runtime.frame import MAX_SIDE
from pose_runtime.skeletons import Skeleton
from pose_runtime.sources import _still

MAX_RECORDS = 1 << 20
"""In one shard."""
MAX_RECORD_BYTES = 1 << 28
MAX_PEOPLE = 4096
MAX_KEYPOINTS = 1024

_MAGIC = b"jetpose-shard-1\n"
_FOOTER = struct.Struct("<QQI16s")  # the index: where, bytes, CRC-32; magic
_ENTRY = np.dtype([("at", "<u8"), ("size", "<u4"), ("crc", "<u4")])
_RECIPE = re.compile(r"[0-9a-z]{1,64}")

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]


class _Packed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A record as it lies in a shard: arrays as little-endian bytes, `ignored` as deflated bits, row by row."""

    name: Annotated[str, Meta(max_length=4096)]
    width: Side
    height: Side
    image: bytes
    people: Annotated[int, Meta(ge=0, le=MAX_PEOPLE)]
    keypoints: bytes
    boxes: bytes
    areas: bytes
    ids: bytes
    ignored: bytes | None


class _Index(Struct, frozen=True, forbid_unknown_fields=True):
    """What a shard holds; `entries` is an array of `_ENTRY`."""

    recipe: Annotated[str, Meta(max_length=64)]
    first: Annotated[int, Meta(ge=0, le=2**62)]
    skeleton: Skeleton
    entries: bytes


# ---- writing -------------------------------------------------------------------------------------------------


def shard_path(folder: Path, recipe: str, first: int) -> Path:
    """Where the shard that begins with record `first` of a recipe lies; it is finished where the file exists.

    Raises:
        ExportError: `recipe` is not 1 to 64 of 0-9 and a-z, or `first` is negative.
    """
    if not _RECIPE.fullmatch(recipe) or not 0 <= first < 2**62:
        raise ExportError(f"shard: got recipe {recipe!r} and first {first}, wanted 1 to 64 of 0-9a-z and 0 or more")
    return folder / f"{recipe}-{first:09d}.shard"


def write_shard(
    folder: Path,
    records: Iterable[Record],
    *,
    recipe: str,
    first: int,
    quality: int | Literal["png"] = 92,
) -> Path:
    """Write one shard; it appears whole or not at all, and replaces one of the same name.

    Args:
        folder: made where it is missing.
        records: at least one, of one skeleton; taken one by one, so they may be made on the way.
        recipe: names what the records are, such as a hash of all that they are made from; see `shard_path`.
        first: number of the first record within the recipe.
        quality: of the JPEGs, 1 to 100, or `png` to keep every pixel.

    Returns:
        The file.

    Raises:
        ExportError: no records, several skeletons, arrays that do not fit together, or a disk that cannot be written.
    """
    path = shard_path(folder, recipe, first)
    if quality != "png" and not 1 <= quality <= 100:
        raise ExportError(f"shard: got quality {quality}, wanted 1 to 100, or png")
    temporary = folder / f".{path.name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            _write(file, records, recipe, first, quality)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot write it: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _write(file: BinaryIO, records: Iterable[Record], recipe: str, first: int, quality: int | Literal["png"]) -> None:
    entries: list[tuple[int, int, int]] = []
    skeleton: Skeleton | None = None
    file.write(_MAGIC)
    for record in records:
        skeleton = skeleton or record.skeleton
        if record.skeleton != skeleton:
            raise ExportError(f"{record.name}: got skeleton {record.skeleton.name}, the shard has {skeleton.name}")
        if len(entries) == MAX_RECORDS:
            raise ExportError(f"shard: over {MAX_RECORDS} records; write several")
        blob = msgspec.msgpack.encode(_pack(record, quality))
        if len(blob) > MAX_RECORD_BYTES:
            raise ExportError(f"{record.name}: got {len(blob)} bytes, a record may have {MAX_RECORD_BYTES}")
        entries.append((file.tell(), len(blob), zlib.crc32(blob)))
        file.write(blob)
    if skeleton is None:
        raise ExportError("shard: got no records, wanted one at least")
    table = np.array(entries, _ENTRY)
    index = msgspec.msgpack.encode(_Index(recipe=recipe, first=first, skeleton=skeleton, entries=table.tobytes()))
    at = file.tell()
    file.write(index)
    file.write(_FOOTER.pack(at, len(index), zlib.crc32(index), _MAGIC))


def _pack(record: Record, quality: int | Literal["png"]) -> _Packed:
    people, joints = len(record.ids), len(record.skeleton.names)
    height, width = record.image.shape[:2]
    shapes = (record.image.shape, record.keypoints.shape, record.boxes.shape, record.areas.shape)
    wanted = ((height, width, 3), (people, joints, 3), (people, 4), (people,))
    if shapes != wanted or record.image.dtype != np.uint8:
        raise ExportError(f"{record.name}: got arrays of {shapes}, wanted {wanted}")
    ignored = None
    if record.ignored is not None:
        if record.ignored.shape != (height, width):
            raise ExportError(f"{record.name}: got ignored of {record.ignored.shape}, wanted {(height, width)}")
        ignored = zlib.compress(np.packbits(record.ignored, axis=1).tobytes())
    return _Packed(
        name=record.name,
        width=width,
        height=height,
        image=_encode(record.image, quality),
        people=people,
        keypoints=record.keypoints.astype("<f4").tobytes(),
        boxes=record.boxes.astype("<f4").tobytes(),
        areas=record.areas.astype("<f4").tobytes(),
        ids=record.ids.astype("<i8").tobytes(),
        ignored=ignored,
    )


def _encode(image: ByteArray, quality: int | Literal["png"]) -> bytes:
    if quality == "png":
        return cv2.imencode(".png", image)[1].tobytes()
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


# ---- reading -------------------------------------------------------------------------------------------------


class Shards:
    """All finished shards of a folder, in the order of their names. Files are opened anew for every record.

    Args:
        folder: of the shards.
        on_bad: told of shards that are damaged, which are then left out; None refuses them.

    Raises:
        ExportError: no folder, no good shard in it, or shards of different skeletons.
        RecordError: a damaged shard, and no on_bad.
    """

    def __init__(self, folder: Path, *, on_bad: OnBad = None) -> None:
        self._files: list[Path] = []
        tables: list[NDArray[np.void]] = []
        self.skeleton: Skeleton
        for path in _finished(folder):
            try:
                index, table = _read_index(path)
            except RecordError as error:
                if on_bad is None:
                    raise
                on_bad(error)
                continue
            if tables and index.skeleton != self.skeleton:
                raise ExportError(f"{path}: got skeleton {index.skeleton.name}, the others have {self.skeleton.name}")
            self.skeleton = index.skeleton
            self._files.append(path)
            tables.append(table)
        if not tables:
            raise ExportError(f"{folder}: has no finished shards (*.shard)")
        self._table = np.concatenate(tables)
        self._ends = np.cumsum([len(table) for table in tables])
        self.description = f"{len(self)} pictures of {self.skeleton.name} in {len(tables)} shards of {folder}"

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Record:
        """The record of that number; RecordError names the shard and the place that cannot be read."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        path = self._files[int(np.searchsorted(self._ends, index, side="right"))]
        at, size, crc = (int(value) for value in self._table[index])
        try:
            with path.open("rb") as file:
                file.seek(at)
                blob = file.read(size)
            if len(blob) != size or zlib.crc32(blob) != crc:
                raise ValueError("its checksum does not match")
            return _unpack(msgspec.msgpack.decode(blob, type=_Packed), self.skeleton)
        except OSError as error:
            raise RecordError(f"{path}: cannot read it: {error.strerror or error}") from error
        except (ValueError, RecursionError, cv2.error, zlib.error) as error:  # msgspec's are ValueErrors
            raise RecordError(f"{path}: the record at byte {at} is damaged: {error}") from error


def open_shards(text: str, *, on_bad: OnBad = None) -> Shards:
    """The shards of the folder `text`; see `Shards`."""
    return Shards(Path(text), on_bad=on_bad)


def shard_length(path: Path) -> int:
    """How many records a shard holds; 0 where it is missing or its index cannot be read."""
    try:
        return len(_read_index(path)[1])
    except RecordError:
        return 0


def _finished(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.suffix == ".shard" and path.name[0] != ".")
    except OSError as error:
        raise ExportError(f"{folder}: cannot read it: {error.strerror or error}") from error


def _read_index(path: Path) -> tuple[_Index, NDArray[np.void]]:
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            if length < len(_MAGIC) + _FOOTER.size:
                raise ValueError("it is too short")
            file.seek(length - _FOOTER.size)
            at, size, crc, magic = _FOOTER.unpack(file.read(_FOOTER.size))
            if magic != _MAGIC:
                raise ValueError("it does not end as one; it is of another version or cut off")
            if at + size != length - _FOOTER.size:
                raise ValueError("its footer and its length differ")
            file.seek(at)
            content = file.read(size)
        if zlib.crc32(content) != crc:
            raise ValueError("the checksum of its index does not match")
        index = msgspec.msgpack.decode(content, type=_Index)
        return index, _table(index, at)
    except OSError as error:
        raise RecordError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: no shard: {error}") from error


def _table(index: _Index, end: int) -> NDArray[np.void]:
    """The entries, all of which lie before `end`."""
    joints = len(index.skeleton.names)
    if not 0 < joints <= MAX_KEYPOINTS or len(index.skeleton.sigmas) != joints:
        raise ValueError(f"a skeleton of {joints} keypoints and {len(index.skeleton.sigmas)} sigmas")
    pairs = (*index.skeleton.limbs, *index.skeleton.flip_pairs)
    if not all(0 <= joint < joints for pair in pairs for joint in pair):
        raise ValueError("a skeleton whose limbs or flip pairs name keypoints that it lacks")
    table = np.frombuffer(index.entries, _ENTRY)
    if not 0 < len(table) <= MAX_RECORDS:
        raise ValueError(f"{len(table)} records")
    fits = (table["at"] <= end) & (table["at"] + table["size"] <= end) & (table["size"] <= MAX_RECORD_BYTES)
    if not fits.all():
        raise ValueError("its index points outside of it")
    return table


def _unpack(packed: _Packed, skeleton: Skeleton) -> Record:
    people, joints = packed.people, len(skeleton.names)
    if _still.size_wh(packed.image) != (packed.width, packed.height):
        raise ValueError("its picture has another size than it says")
    image = cv2.imdecode(np.frombuffer(packed.image, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("its picture cannot be decoded")
    record = Record(
        name=packed.name,
        image=np.asarray(image, np.uint8),
        keypoints=_array(packed.keypoints, np.float32, (people, joints, 3)),
        boxes=_array(packed.boxes, np.float32, (people, 4)),
        areas=_array(packed.areas, np.float32, (people,)),
        ids=_array(packed.ids, np.int64, (people,)),
        ignored=None if packed.ignored is None else _bits(packed.ignored, packed.width, packed.height),
        skeleton=skeleton,
    )
    finite = all(np.isfinite(array).all() for array in (record.keypoints, record.boxes, record.areas))
    if not finite or not np.isin(record.keypoints[..., 2], (0, 1, 2)).all():
        raise ValueError("its labels are not finite, or a v is none of 0, 1, 2")
    return record


def _array(data: bytes, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    """A copy, so that it is aligned and may be written to; ValueError where the size is another."""
    little = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(data, little).reshape(shape).astype(dtype)


def _bits(data: bytes, width: int, height: int) -> NDArray[np.bool_]:
    row = -(-width // 8)
    bits = zlib.decompressobj().decompress(data, row * height + 1)
    if len(bits) != row * height:
        raise ValueError("its ignored mask has another size")
    packed = np.frombuffer(bits, np.uint8).reshape(height, row)
    return np.unpackbits(packed, axis=1, count=width).view(bool)
