from __future__ import annotations

import copy
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from painted import paint
from pose_export.training import shards
from pose_export.training.record import Record
from pose_export.training.shards import Shards, shard_length, shard_path, write_shard
from pose_export.training.source import RecordError, open_data
from pose_runtime.errors import ExportError
from pose_runtime.skeletons import SKELETONS

LABELS = ("keypoints", "boxes", "areas", "ids")


def some(first: int, count: int) -> list[Record]:
    return [paint((61, 37), i % 3, seed=i, spread=1, ignored=i % 2 == 1) for i in range(first, first + count)]


def check_same(a: Record, b: Record) -> None:
    for name in LABELS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
        assert getattr(a, name).flags.writeable
    assert (a.name, a.skeleton) == (b.name, b.skeleton)
    assert (a.ignored is None) == (b.ignored is None)
    if a.ignored is not None and b.ignored is not None:
        np.testing.assert_array_equal(a.ignored, b.ignored)


def test_round_trip_over_several_shards(tmp_path: Path) -> None:
    for first, count in ((7, 5), (0, 7)):
        path = write_shard(tmp_path, some(first, count), recipe="ab12", first=first, quality="png")
        assert path == shard_path(tmp_path, "ab12", first)
        assert path.name == f"ab12-{first:09d}.shard"
    source = pickle.loads(pickle.dumps(open_data(f"shards:{tmp_path}")))
    assert len(source) == 12
    assert source.skeleton == SKELETONS["coco17"]
    assert source.description.startswith("12 pictures of coco17 in 2 shards")
    for i in (11, 0, 6, 7, 3):
        record = paint((61, 37), i % 3, seed=i, spread=1, ignored=i % 2 == 1)
        check_same(source[i], record)
        np.testing.assert_array_equal(source[i].image, record.image)
    with pytest.raises(IndexError):
        source[12]


def test_jpeg_is_close_and_quality_costs_bytes(tmp_path: Path) -> None:
    sizes = {}
    for quality in (50, 95):
        folder = tmp_path / str(quality)
        sizes[quality] = write_shard(folder, some(0, 4), recipe="x", first=0, quality=quality).stat().st_size
    assert sizes[50] < sizes[95]
    record = paint((128, 128), 1, spread=8)
    write_shard(tmp_path, [record], recipe="x", first=0)
    read = Shards(tmp_path)[0]
    assert abs(read.image.astype(int) - record.image).mean() < 3
    check_same(read, record)


def test_a_shard_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def records():
        yield from some(0, 2)
        assert not list(tmp_path.glob("*.shard"))
        raise RuntimeError("the renderer died")

    with pytest.raises(RuntimeError, match="died"):
        write_shard(tmp_path, records(), recipe="x", first=0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".x-000000000.shard.1.part").write_bytes(b"half of one")
    write_shard(tmp_path, some(0, 2), recipe="x", first=0)
    assert len(Shards(tmp_path)) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boxes": np.zeros((9, 4), np.float32)}, "got arrays of"),
        ({"ignored": np.zeros((2, 2), bool)}, "ignored of"),
        ({"image": np.zeros((37, 61, 3), np.float32)}, "got arrays of"),
        ({"skeleton": SKELETONS["mpii16"]}, "got skeleton mpii16, the shard has coco17"),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path: Path, changes: dict, words: str) -> None:
    first, second = some(0, 2)
    with pytest.raises(ExportError, match=words):
        write_shard(tmp_path, [first, replace(second, **changes)], recipe="x", first=0)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="got no records"):
        write_shard(tmp_path, [], recipe="x", first=0)
    for recipe, first in (("../x", 0), ("", 0), ("x", -1)):
        with pytest.raises(ExportError, match="got recipe"):
            write_shard(tmp_path, some(0, 1), recipe=recipe, first=first)
    for quality in (0, 101):
        with pytest.raises(ExportError, match=f"got quality {quality}"):
            write_shard(tmp_path, some(0, 1), recipe="x", first=0, quality=quality)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot write it"):
        write_shard(tmp_path / "file" / "folder", some(0, 1), recipe="x", first=0)


# ---- damage --------------------------------------------------------------------------------------------------


def test_any_flipped_byte_is_found(tmp_path: Path) -> None:
    path = write_shard(tmp_path, some(0, 2), recipe="x", first=0)
    data = path.read_bytes()
    expected = [Shards(tmp_path)[i] for i in range(2)]
    rng = np.random.default_rng(0)
    tail = len(data) - 200
    for at in [*rng.integers(16, len(data), 150).tolist(), *range(tail, len(data), 7)]:
        broken = bytearray(data)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        assert damaged(tmp_path, expected) in (1, "index")


def damaged(folder: Path, expected: list[Record]) -> int | str:
    """How many records cannot be read, all others being as expected; or that it is the index."""
    try:
        source = Shards(folder)
    except RecordError:
        return "index"
    number = 0
    for i, record in enumerate(expected):
        try:
            check_same(source[i], record)
        except RecordError:
            number += 1
    return number


@pytest.mark.parametrize("length", [0, 1, 20, 47, 48, 1000, -1])
def test_a_shard_that_is_cut_off_is_named_and_left_out(tmp_path: Path, length: int) -> None:
    write_shard(tmp_path, some(0, 2), recipe="a", first=0)
    path = write_shard(tmp_path, some(2, 2), recipe="a", first=2)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecordError, match=r"a-000000002\.shard: no shard"):
        Shards(tmp_path)
    told: list[RecordError] = []
    assert len(Shards(tmp_path, on_bad=told.append)) == 2
    assert len(told) == 1
    assert "a-000000002.shard" in str(told[0])


def forge(path: Path, change) -> None:
    """Rewrite a shard of one record with other content, checksums included."""
    data = path.read_bytes()
    at, size, _, _ = shards._FOOTER.unpack(data[-shards._FOOTER.size :])
    index = msgspec.msgpack.decode(data[at : at + size])
    table = np.frombuffer(index["entries"], shards._ENTRY).copy()
    start = int(table["at"][0])
    packed = msgspec.msgpack.decode(data[start : start + int(table["size"][0])])
    change(packed, index, table)
    blob = msgspec.msgpack.encode(packed)
    table["crc"] = zlib.crc32(blob)
    table["size"] = np.where(table["size"] == int(table["size"][0]), len(blob), table["size"])
    index["entries"] = table.tobytes()
    coded = msgspec.msgpack.encode(index)
    footer = shards._FOOTER.pack(start + len(blob), len(coded), zlib.crc32(coded), shards._MAGIC)
    path.write_bytes(data[:start] + blob + coded + footer)


NAME, WIDTH, HEIGHT, IMAGE, PEOPLE, KEYPOINTS, BOXES, AREAS, IDS, IGNORED = range(10)


def put(place: int, value: object):
    def change(packed: list, index: dict, table: np.ndarray) -> None:
        packed[place] = value(packed[place]) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(WIDTH, 60), "another size than it says"),
        (put(WIDTH, 1 << 30), "<= 16384"),
        (put(HEIGHT, 0), ">= 1"),
        (put(IMAGE, b""), "no JPEG"),
        (put(IMAGE, lambda data: data[:-40]), "truncated"),
        (put(PEOPLE, 2), "size"),
        (put(PEOPLE, 1 << 40), "4096"),
        (put(KEYPOINTS, lambda data: b"\xff" * len(data)), "not finite"),
        (put(KEYPOINTS, lambda data: np.full(51, 7, "<f4").tobytes()), "none of 0, 1, 2"),
        (put(AREAS, b"123"), "size"),
        (put(BOXES, lambda data: data * 2), "size"),
        (put(IGNORED, b"rubbish"), "incorrect header"),
        (put(IGNORED, zlib.compress(bytes(10 << 20))), "ignored mask has another size"),
        (put(IGNORED, zlib.compress(b"")), "ignored mask has another size"),
        (put(NAME, 5), "Expected `str`"),
        (lambda packed, index, table: packed.append(1), "at most length 10"),
    ],
)
def test_a_forged_record_is_refused(tmp_path: Path, change, words: str) -> None:
    path = write_shard(tmp_path, [paint((61, 37), 1, spread=1, ignored=True)], recipe="x", first=0)
    forge(path, change)
    source = Shards(tmp_path)
    with pytest.raises(RecordError, match=rf"x-000000000\.shard: the record at byte 16 is damaged: .*{words}"):
        source[0]


def in_index(**fields: object):
    def change(packed: list, index: dict, table: np.ndarray) -> None:
        for name, value in fields.items():
            if name in index["skeleton"]:
                index["skeleton"] = copy.deepcopy(index["skeleton"]) | {name: value}
            else:
                index[name] = value

    return change


def far(packed: list, index: dict, table: np.ndarray) -> None:
    table["at"] = 2**64 - 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (far, "outside of it"),
        (in_index(names=[]), "a skeleton of 0 keypoints"),
        (in_index(sigmas=[]), "and 0 sigmas"),
        (in_index(flip_pairs=[[0, 99]]), "lacks"),
        (in_index(limbs=[[-1, 2]]), "lacks"),
        (in_index(first=-1), ">= 0"),
        (in_index(surprise=1), "unknown field"),
    ],
)
def test_a_forged_index_is_refused(tmp_path: Path, change, words: str) -> None:
    path = write_shard(tmp_path, [paint((61, 37), 1, spread=1)], recipe="x", first=0)
    start = path.read_bytes()
    forge(path, lambda *_: None)
    assert path.read_bytes() == start  # the forgery itself is exact
    forge(path, change)
    with pytest.raises(RecordError, match=rf"x-000000000\.shard: no shard: .*{words}"):
        Shards(tmp_path)


def test_folders_without_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no finished shards"):
        Shards(tmp_path)
    with pytest.raises(ExportError, match="cannot read it: No such file"):
        Shards(tmp_path / "none")
    with pytest.raises(ExportError, match=r"wanted one of coco:\.\.\., synthetic:\.\.\., shards:\.\.\."):
        open_data(f"shard:{tmp_path}")


def test_shards_of_two_skeletons_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, some(0, 1), recipe="a", first=0)
    write_shard(tmp_path, [paint((61, 37), 1, skeleton=SKELETONS["mpii16"])], recipe="b", first=0)
    with pytest.raises(ExportError, match="got skeleton mpii16, the others have coco17"):
        Shards(tmp_path)


def test_the_length_of_a_shard_is_known_without_reading_it(tmp_path: Path) -> None:
    path = write_shard(tmp_path, [paint((61, 37), 1, spread=1)] * 3, recipe="x", first=0)
    assert shard_length(path) == 3
    path.write_bytes(path.read_bytes()[:-1])
    assert shard_length(path) == 0
    assert shard_length(tmp_path / "none.shard") == 0
