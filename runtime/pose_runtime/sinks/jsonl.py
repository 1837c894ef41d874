"""JSON Lines: a header, then one line per frame (see `record`).

Lines are written in place and at once, not into a temporary file: a run of hours can be followed while it goes, and
what was found survives its end by whatever cause. The file is at all times a sequence of whole lines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.line_file import LineFile
from pose_runtime.sinks.record import encode, header, record
from pose_runtime.sources import Item

STANDARD_OUTPUT = "-"


class JsonOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """JSON Lines of a live run.

    Attributes:
        file: path, or `-` for standard output, which does not rotate.
        rotate_mib: size at which the file is rotated.
        keep: rotated files kept; 0 keeps none.
        compress: rotated files with gzip.
    """

    file: Annotated[str, Meta(min_length=1)]
    rotate_mib: Annotated[float, Meta(ge=0.01, le=1 << 20)] = 100.0
    keep: Annotated[int, Meta(ge=0, le=1000)] = 5
    compress: bool = True


class JsonLines(Sink):
    """Writes to a file, which is overwritten, or to standard output.

    Args:
        path: of the file, None for standard output.
        bundle: that makes the results, for the header.
        graph: of the bundle, likewise; null there if None.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, path: Path | None, bundle: Bundle, graph: GraphRole | None = None) -> None:
        self._name = "standard output" if path is None else str(path)
        try:
            self._file: Any = _standard_output() if path is None else path.open("wb", buffering=0)
        except OSError as error:
            raise _failed(self._name, error) from error
        self._is_ours = path is not None
        try:
            self._line(header(bundle, graph))
        except BaseException:
            self.close()
            raise

    def write(self, item: Item, poses: Poses) -> None:
        """Add a line."""
        self._line(record(item, poses))

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:
        """Add a header."""
        self._line(header(bundle, graph))

    def close(self) -> None:
        """Close the file."""
        if self._is_ours:
            self._file.close()

    def _line(self, value: object) -> None:
        data = memoryview(encode(value) + b"\n")
        try:
            while data:  # a raw file may take less than all
                data = data[self._file.write(data) :]
        except BrokenPipeError:  # whoever read it has seen enough
            raise
        except OSError as error:
            raise _failed(self._name, error) from error


class LiveJsonLines(Sink):
    """Continues a file and rotates it.

    Raises:
        SinkError: the file cannot be written; `write` likewise, and the file keeps its whole lines.
    """

    def __init__(self, options: JsonOptions, bundle: Bundle, graph: GraphRole | None = None) -> None:
        self._name = options.file
        try:
            self._file = LineFile(
                Path(options.file),
                encode(header(bundle, graph)),
                most_bytes=int(options.rotate_mib * (1 << 20)),
                keep=options.keep,
                compress=options.compress,
            )
        except OSError as error:
            raise _failed(self._name, error) from error

    def write(self, item: Item, poses: Poses) -> None:
        """Add a line."""
        try:
            self._file.write(encode(record(item, poses)))
        except OSError as error:
            raise _failed(self._name, error) from error

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:
        """Add a header, which later files begin with too."""
        try:
            self._file.renew(encode(header(bundle, graph)))
        except OSError as error:
            raise _failed(self._name, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_live_json(options: JsonOptions, bundle: Bundle, graph: GraphRole | None = None) -> Sink:
    """The sink of a live run. Raises SinkError as its class does."""
    if options.file == STANDARD_OUTPUT:
        return JsonLines(None, bundle, graph)
    return LiveJsonLines(options, bundle, graph)


def _standard_output() -> Any:
    """Without its buffer: what a full disk or a closed pipe refused must not come up again when the process ends."""
    sys.stdout.flush()
    return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)


def _failed(name: str, error: OSError) -> SinkError:
    return SinkError(f"{name}: cannot write it: {error.strerror or error}")
