"""MATLAB files: what scipy writes is read as scipy reads it, and no damage does more than an error."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_calibration.annotations import read_annotations
from pose_calibration.annotations._matlab import load, numbers, reading
from pose_runtime.errors import PoseError

scipy_io = pytest.importorskip("scipy.io")


def saved(path: Path, value: Any, *, compressed: bool = False) -> Path:
    scipy_io.savemat(path, {"before": np.arange(3), "wanted": value, "after": "x"}, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "bool"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 14, 5), (0, 0), (1, 9)])
def test_numbers(tmp_path: Path, dtype: str, shape: tuple[int, ...], compressed: bool) -> None:
    value = (np.arange(np.prod(shape)).reshape(shape) * 7 % 100).astype(dtype)
    path = saved(tmp_path / "a.mat", value, compressed=compressed)
    matrix = load(path, "wanted")
    assert matrix.shape == shape
    np.testing.assert_array_equal(matrix.numbers(), scipy_io.loadmat(path)["wanted"].astype(np.float64))


def test_structs_in_cells_in_structs_and_text(tmp_path: Path) -> None:
    value = {
        "people": np.array([{"name": "é b", "size": 3.5}, {"name": "", "size": []}], object),
        "none": np.zeros((0, 0)),
    }
    path = saved(tmp_path / "a.mat", value)
    with reading(path):
        (outer,) = load(path, "wanted").structs()
        people = list(outer["people"].structs())
        assert [person["name"].text() for person in people] == ["é b", ""]
        assert people[0]["size"].numbers().tolist() == [[3.5]]
        assert people[1]["size"].numbers().size == 0
        assert list(outer["none"].structs()) == []


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def array(name: bytes, dims: tuple[int, ...], content: bytes, *, kind: int = 6, order: str = "<") -> bytes:
    parts = element(6, struct.pack(order + "II", kind, 0), order)
    parts += element(5, struct.pack(f"{order}{len(dims)}i", *dims), order) + element(1, name, order)
    return element(14, parts + content, order)


def file(path: Path, *elements: bytes, order: str = "<") -> Path:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "H", 0x0100)
    path.write_bytes(head + (b"IM" if order == "<" else b"MI") + b"".join(elements))
    return path


def test_the_other_byte_order(tmp_path: Path) -> None:
    content = element(9, struct.pack(">3d", 1, 2, 3), ">")
    path = file(tmp_path / "a.mat", array(b"wanted", (1, 3), content, order=">"), order=">")
    assert load(path, "wanted").numbers().tolist() == [[1, 2, 3]]
    assert scipy_io.loadmat(path)["wanted"].tolist() == [[1, 2, 3]]


DOUBLE = element(9, struct.pack("<d", 5))


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ([b"\x0e\0\0\0\xff\xff\xff\x7f"], "ends after the file"),
        ([struct.pack("<HH4s", 1, 9, b"abcd")], "ends after the file"),
        ([array(b"wanted", (1, 2), DOUBLE)], "got 8 bytes of type 9"),
        ([array(b"wanted", (1 << 30, 1 << 30), DOUBLE)], "an array has the shape"),
        ([array(b"wanted", (-1, -1), DOUBLE)], "an array has the shape"),
        ([array(b"wanted", (1,) * 9, DOUBLE)], "no class or no shape"),
        ([array(b"wanted", (1, 1), element(14, b""))], "of type 14"),
        ([array(b"wanted", (1, 1), DOUBLE, kind=5)], "got class 5, wanted numbers"),
        ([array(b"wanted", (1, 1), DOUBLE, kind=2)], "got class 2, wanted numbers"),
        ([array(b"wanted", (1, 1), b"")], "unpack"),
        ([element(15, b"no zlib")], "header|zlib"),
        ([b"\0\0"], "unpack"),
        ([], "has no variable 'wanted', only none"),
    ],
)
def test_damage_is_named(tmp_path: Path, elements: list[bytes], words: str) -> None:
    path = file(tmp_path / "a.mat", *elements)
    with pytest.raises(PoseError, match=rf"(?s)a\.mat: .*({words})"):
        numbers(path, "wanted", load(path, "wanted"), (None, None))


@pytest.mark.parametrize("kind", [1, 2])
def test_more_elements_than_bytes_are_not_believed(tmp_path: Path, kind: int) -> None:
    names = element(5, struct.pack("<i", 8)) + element(1, b"a\0\0\0\0\0\0\0")
    path = file(tmp_path / "a.mat", array(b"wanted", (1 << 14, 1 << 14), names, kind=kind))
    with pytest.raises(PoseError, match="for 268435456 arrays"), reading(path):
        list(load(path, "wanted").structs())


def test_cells_without_end(tmp_path: Path) -> None:
    """A thousand cells, each in the next."""
    content = b""
    for _ in range(5000):
        content = array(b"", (1, 1), content, kind=1)
    path = file(tmp_path / "a.mat", array(b"wanted", (1, 1), content, kind=1))
    with pytest.raises(PoseError, match=r"a\.mat: "), reading(path):
        list(load(path, "wanted").structs())


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pose_calibration.annotations import _matlab

    monkeypatch.setattr(_matlab, "_MAX_BYTES", 1 << 16)
    path = file(tmp_path / "a.mat", element(15, zlib.compress(array(b"wanted", (1, 1 << 14), b"\0" * (1 << 17)))))
    with pytest.raises(PoseError, match="unpacks to more than 65536 bytes"):
        load(path, "wanted")


@pytest.mark.parametrize("compressed", [False, True])
def test_changed_bytes_do_no_harm(tmp_path: Path, compressed: bool) -> None:
    """Whatever byte of a file of structs changes, it is read or refused. scipy's reader ends the process on some."""
    example: dict[str, Any] = {"filepath": "a.jpg", "coords": np.ones((2, 29)), "istest": 1, "istrain": 0}
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"examples": np.array([example, example], object)}, do_compression=compressed)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    outcomes = set()
    for at in generator.integers(120, len(whole), 300):
        changed = bytearray(whole)
        changed[at] = generator.choice([0, 1, 127, 255])
        path.write_bytes(changed)
        try:
            read_annotations("flic", path)
            outcomes.add("read")
        except PoseError as error:
            outcomes.add(str(error))
    outcomes.remove("read")
    assert len(outcomes) > 3
    assert all(text.startswith(str(path)) and "\n" not in text for text in outcomes)


def test_a_field_is_decoded_only_when_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mat", {"good": 1.0, "odd": np.zeros((2, 2), complex)})
    (fields,) = load(path, "wanted").structs()
    assert sorted(fields) == ["good", "odd"]
    assert fields["good"].numbers().tolist() == [[1]]
