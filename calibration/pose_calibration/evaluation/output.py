"""Results into files, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from pose_calibration.evaluation.result import Evaluation
from pose_runtime.errors import SinkError


def check_outputs(*paths: Path | None) -> None:
    """Refuse before hours of work what could not be written after them; raises SinkError."""
    wanted = [path for path in paths if path is not None]
    if len({path.absolute() for path in wanted}) < len(wanted):
        raise SinkError(f"{wanted[0]}: is named for two results")
    for path in wanted:
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            raise SinkError(f"{path}: cannot write it; wanted a file in a folder that can be written to")


def write_json(path: Path, evaluation: Evaluation) -> None:
    """All of it, indented; raises SinkError."""
    write_file(path, msgspec.json.format(msgspec.json.encode(evaluation), indent=1) + b"\n")


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step; raises SinkError."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0o077)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SinkError(f"{path}: cannot write it: {error.strerror or error}") from error
