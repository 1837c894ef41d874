"""JSON Lines: a header, then one line per frame.

    {"jetpose": version, "bundle": digest, "network": name, "graph": role,
     "skeleton": {"names": [...], "limbs": [[a, b], ...]}}
    {"source": name, "frame": n, "time_s": t, "size_wh": [w, h], "people": [{"score": s, "keypoints": [...]}]}

A keypoint is [x, y, score] or null (see `Poses.to_dict`). Lines are written in place and at once, not into a
temporary file: a run of hours can be followed while it goes, and what was found survives its end by whatever cause.
The file is at all times a sequence of whole lines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sources import Item
from pose_runtime.version import version


def _standard_output() -> Any:
    """Without its buffer: what a full disk or a closed pipe refused must not come up again when the process ends."""
    sys.stdout.flush()
    return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)


class JsonLines(Sink):
    """Writes to a file, which is overwritten, or to standard output.

    Args:
        path: of the file, None for standard output.
        bundle: that makes the results, for the header.
        graph: of the bundle, likewise; null there if None. An INT8 graph's poses are not exactly the FP32 one's.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, path: Path | None, bundle: Bundle, graph: GraphRole | None = None) -> None:
        self._name = "standard output" if path is None else str(path)
        self._encoder = msgspec.json.Encoder()
        try:
            self._file: Any = _standard_output() if path is None else path.open("wb", buffering=0)
        except OSError as error:
            raise SinkError(f"{path}: cannot write it: {error.strerror}") from error
        self._is_ours = path is not None
        skeleton = bundle.manifest.skeleton
        header = {
            "jetpose": version(),
            "bundle": bundle.digest,
            "network": bundle.manifest.network.name,
            "graph": graph,
            "skeleton": {"names": skeleton.names, "limbs": skeleton.limbs},
        }
        try:
            self._line(header)
        except BaseException:
            self.close()
            raise

    def write(self, item: Item, poses: Poses) -> None:
        """Add a line."""
        name = item.name.encode("utf-8", "replace").decode()  # a file name need not be UTF-8
        place = {"source": name, "frame": item.index, "time_s": item.time_s, "size_wh": item.frame.size_wh}
        self._line(place | poses.to_dict())

    def close(self) -> None:
        """Close the file."""
        if self._is_ours:
            self._file.close()

    def _line(self, value: object) -> None:
        data = memoryview(self._encoder.encode(value) + b"\n")
        try:
            while data:  # a raw file may take less than all
                data = data[self._file.write(data) :]
        except BrokenPipeError:  # whoever read it has seen enough
            raise
        except OSError as error:
            raise SinkError(f"{self._name}: cannot write it: {error.strerror}") from error
