"""The state file of a run: everything that the next step depends on, in one NumPy archive.

With the compact optimiser a parameter takes at most 3 bytes of weight, 1 of momentum and 2 of average, and scales and
moments of rows little more: 8 MB hold 1.3 million parameters. As written, higherhrnet-tiny takes 5.4 bytes for each.

Tensors are gathered by dtype and stored as planes of bytes: first all lowest bytes, ... last all highest ones, which
hold little information (sign and exponent) and compress well; so do the zero bytes of rounded weights.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_export.files import write_file
from pose_runtime.errors import ExportError

VERSION = 1
_META = "meta"
_MAX_META = 1 << 20
_HEADER = 1 << 12  # of one NumPy array
_DTYPES = (torch.float32, torch.int64, torch.int16, torch.int8)


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a state says of its run.

    Attributes:
        version: of this format.
        recipe: as plain types.
        layout: SHA-256 of shapes and dtypes of the tensors.
        step: steps done.
        decay_from: the step at which the learning rate begins to fall.
        wall_s: seconds spent in them, over all chunks.
        scaler: of float16's loss scaling, where that is used.
    """

    version: int
    recipe: dict[str, Any]
    layout: str
    step: int
    decay_from: int
    wall_s: float
    scaler: dict[str, int | float] | None


def layout(tensors: Sequence[Tensor]) -> str:
    """SHA-256 of shapes and dtypes: equal where a state fits."""
    text = ";".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in tensors)
    return hashlib.sha256(text.encode()).hexdigest()


def write_state(path: Path, meta: Meta, tensors: Sequence[Tensor]) -> int:
    """Write the file in one step; an older one is replaced.

    Args:
        path: of the file.
        meta: what it says.
        tensors: of float32, int64, int16 or int8, in an order that the next run will have again.

    Returns:
        Its bytes.

    Raises:
        ExportError: a value is NaN or infinite (such a state is of no use), or the file cannot be written.
    """
    others = {tensor.dtype for tensor in tensors} - set(_DTYPES)
    if others:
        raise ExportError(f"the network holds {others.pop()}, which states do not take; wanted float32 or integers")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point()):
        raise ExportError("the weights are no longer finite; the last state stays as it is")
    arrays = {_name(dtype): _planes(_flat(tensors, dtype)) for dtype in _DTYPES}
    arrays[_META] = np.frombuffer(msgspec.json.encode(meta), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getvalue())
    return buffer.tell()


def read_meta(path: Path) -> Meta:
    """What a state file says of its run; ExportError where it is no state, damaged or of another version."""
    with _opened(path) as archive:
        data = _array(archive, path, _META, _MAX_META).tobytes()
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("version")
        if version != VERSION:
            raise ExportError(f"{path}: is a state of version {version}, wanted {VERSION}")
        return msgspec.json.decode(data, type=Meta)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ExportError(f"{path}: damaged state: {error}") from error


def read_tensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Fill `tensors` with the file's values; call it where `layout` fits.

    Raises:
        ExportError: the file is damaged or does not fit; `tensors` are untouched then.
    """
    flats = {}
    with _opened(path) as archive:
        for dtype in _DTYPES:
            count = sum(tensor.numel() for tensor in tensors if tensor.dtype == dtype)
            planes = _array(archive, path, _name(dtype), count * dtype.itemsize)
            if planes.shape != (dtype.itemsize, count):
                raise ExportError(f"{path}: damaged state: {_name(dtype)} has shape {planes.shape}")
            flats[dtype] = torch.from_numpy(np.ascontiguousarray(planes.T).view(_name(dtype)).reshape(-1))
    if not bool(torch.isfinite(flats[torch.float32]).all()):
        raise ExportError(f"{path}: damaged state: values are not finite")
    with torch.no_grad():
        for dtype, flat in flats.items():
            fitting = [tensor for tensor in tensors if tensor.dtype == dtype]
            parts = torch.split(flat, [tensor.numel() for tensor in fitting])
            for tensor, values in zip(fitting, parts, strict=True):
                tensor.copy_(values.view(tensor.shape))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _flat(tensors: Sequence[Tensor], dtype: torch.dtype) -> NDArray[Any]:
    parts = [tensor.detach().cpu().reshape(-1) for tensor in tensors if tensor.dtype == dtype]
    array: NDArray[Any] = torch.cat([torch.empty(0, dtype=dtype), *parts]).numpy()
    return array


def _planes(flat: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (bytes per value, values)."""
    return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, flat.itemsize).T)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot read the state: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise ExportError(f"{path}: no state of a run, or a damaged one: {error}") from error


def _array(archive: zipfile.ZipFile, path: Path, name: str, most: int) -> NDArray[np.uint8]:
    """One array of at most `most` bytes; the declared size is looked at before anything is unpacked."""
    try:
        if archive.getinfo(f"{name}.npy").file_size > most + _HEADER:
            raise ExportError(f"{path}: damaged state: {name} is larger than this network's")
        with archive.open(f"{name}.npy") as file:
            array = np.lib.format.read_array(io.BytesIO(file.read(most + _HEADER)), allow_pickle=False)
    except ExportError:
        raise
    except Exception as error:  # a damaged archive can raise anything
        raise ExportError(f"{path}: damaged state: {name}: {error}") from error
    if array.dtype != np.uint8:
        raise ExportError(f"{path}: damaged state: {name} is {array.dtype}")
    return array
