"""Read a PyTorch checkpoint so that nothing in it can run.

The pickle's names are never imported: the few that make up tensors and dicts have stand-ins here, any other becomes
`Inert`. Both containers of torch.save are read: the zip (since PyTorch 1.6) and the older sequence of pickles.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How the older container begins: the pickle of PyTorch's magic number."""

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands for an object that shall not be made; takes whatever a pickle does to one, and forgets it."""

    __slots__ = ()

    def __new__(cls, *_args: object, **_kwargs: object) -> Inert:
        """One like any other."""
        return super().__new__(cls)

    def _forget(self, *_args: object) -> None:
        pass

    __setstate__ = append = extend = add = update = __setitem__ = _forget

    def __call__(self, *_args: object) -> Inert:
        """The result of a call that did not take place."""
        return self


class _Call:
    """One of our functions, in a form whose attributes a pickle cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        pass


class _Storage:
    """The numbers behind one or more tensors: one-dimensional, filled when the file's bytes are read."""

    __slots__ = ("data", "dtype", "numel")

    def __init__(self, dtype: torch.dtype, numel: int) -> None:
        self.dtype, self.numel = dtype, numel
        self.data: Tensor | None = None

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a storage has no state")

    def fill(self, data: bytes) -> None:
        if len(data) != self.numel * self.dtype.itemsize:
            raise ValueError(f"{len(data)} bytes stored, {self.numel} numbers of {self.dtype} declared")
        self.data = torch.frombuffer(bytearray(data), dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)


class View:
    """A tensor to be: a part of a storage."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def __setstate__(self, state: object) -> None:
        pass

    def tensor(self) -> Tensor:
        """A copy of its numbers; any exception where the file's numbers do not fit together."""
        if not isinstance(self.storage, _Storage) or self.storage.data is None:
            raise ValueError("a tensor without its numbers")
        view = torch.as_strided(self.storage.data, self.size, self.stride, self.offset)  # type: ignore[arg-type]
        if view.numel() > self.storage.numel:  # as_strided has checked the bounds, not the repeats
            raise ValueError(f"a tensor of {view.numel()} numbers, of which {self.storage.numel} are stored")
        return view.clone()


def _parameter(data: object, *_: object) -> object:
    return data


class _Unpickler(pickle.Unpickler):
    """Makes plain values, `View`s and `Inert`s only."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="latin-1")
        self._storages = storages

    def find_class(self, module: str, name: str) -> object:
        """Never imports anything."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _Call(View)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Call(_parameter)
        return Inert

    def persistent_load(self, pid: Any) -> object:
        """("storage", dtype, key, location, numel[, view]) is a storage; whole pickled modules stay inert."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return Inert()
        dtype, key, numel, view = pid[1], str(pid[2]), pid[4], pid[5] if len(pid) > 5 else None
        if not isinstance(dtype, torch.dtype) or not isinstance(numel, int) or numel < 0 or view is not None:
            return Inert()
        return self._storages.setdefault(key, _Storage(dtype, numel))


def load(path: Path) -> object:
    """The file's content: dicts, lists, strings, numbers, `View`s for tensors; anything else is `Inert`."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return _read_zip(path, {}) if zipped else _read_legacy(path, {})


def _read_zip(path: Path, storages: dict[str, _Storage]) -> object:
    with zipfile.ZipFile(path) as archive:
        root = next(name[: -len("data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(root + "data.pkl") as file:
            content: object = _Unpickler(file, storages).load()  # type: ignore[arg-type]
        for key, storage in storages.items():
            storage.fill(archive.read(f"{root}data/{key}"))
    return content


def _read_legacy(path: Path, storages: dict[str, _Storage]) -> object:
    """Pickles of a magic number, a version, system facts, the content, the storages' keys; then the storages."""
    with path.open("rb") as file:
        _, _, _, content, keys = (_Unpickler(file, storages).load() for _ in range(5))
        size = path.stat().st_size
        for key in keys:
            storage = storages[str(key)]
            (numel,) = struct.unpack("<q", file.read(8))
            if numel != storage.numel or numel * storage.dtype.itemsize > size:
                raise ValueError(f"{numel} numbers stored, {storage.numel} declared")
            storage.fill(file.read(numel * storage.dtype.itemsize))
    return content
