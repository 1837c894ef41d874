"""What a collection has counted so far, in a file: a broken run goes on where it was."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pose_calibration.histogram import Histogram, from_arrays, to_arrays
from pose_runtime.errors import CalibrationError

_MAX_BYTES = 2 << 30


@dataclass
class Collected:
    """The state of a collection.

    Attributes:
        key: SHA-256 of all that the counts depend on.
        whole: tensor -> what was counted over all inputs.
        part: tensor -> what was counted over the first `inputs` ones.
        inputs: see `part`.
    """

    key: str
    whole: dict[str, Histogram] = field(default_factory=dict)
    part: dict[str, Histogram] = field(default_factory=dict)
    inputs: int = 0


def write_collected(path: Path, collected: Collected) -> None:
    """Write the state in one step; CalibrationError where that fails."""
    arrays: dict[str, Any] = {f"whole_{name}": array for name, array in to_arrays(collected.whole).items()}
    arrays |= {f"part_{name}": array for name, array in to_arrays(collected.part).items()}
    content = io.BytesIO()
    np.savez_compressed(content, key=np.array(collected.key), inputs=np.array(collected.inputs), **arrays)
    path = path.absolute()
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot keep the state: {error.strerror or error}") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def read_collected(path: Path, key: str) -> Collected:
    """The state of that key; an empty one where there is none, it is another's, or it is damaged.

    Raises:
        CalibrationError: the file is no state at all: it would be lost when the new one is written.
    """
    try:
        foreign = path.is_file() and path.read_bytes()[:2] not in (b"", b"PK")
    except OSError as error:
        raise CalibrationError(f"{path}: cannot read it: {error.strerror or error}") from error
    if foreign:
        raise CalibrationError(f"{path}: is no state of a calibration; choose another file, or remove it")
    try:
        if path.stat().st_size > _MAX_BYTES:
            return Collected(key)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return Collected(key)
            whole, part = (
                from_arrays({name.removeprefix(p): arrays[name] for name in arrays.files if name.startswith(p)})
                for p in ("whole_", "part_")
            )
            return Collected(key, whole, part, int(arrays["inputs"]))
    except Exception:  # np.load has many ways to fail on a damaged file; what is lost is time
        return Collected(key)
