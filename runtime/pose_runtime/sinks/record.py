"""What one result is as JSON, the same in files and in messages.

    {"source": name, "frame": n, "time_s": t, "size_wh": [w, h], "people": [{"score": s, "keypoints": [...]}]}

A keypoint is [x, y, score] or null, and tracked people have an `id` (see `Poses.to_dict`). A live frame also has
`unix_s` and `age_ms`, after `time_s`. Skeleton and network stand in the header, once per file or broker.
"""

from __future__ import annotations

from time import monotonic, time
from typing import Any

import msgspec

from pose_runtime.bundle import Bundle
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sources import Item
from pose_runtime.version import version

encode = msgspec.json.Encoder().encode
"""To UTF-8 JSON, without white space."""


def header(bundle: Bundle, graph: GraphRole | None) -> dict[str, Any]:
    """What makes the results: `{"jetpose", "bundle", "network", "graph", "skeleton": {"names", "limbs"}}`.

    An INT8 graph's poses are not exactly the FP32 one's, so the graph is named; null if it is not known.
    """
    skeleton = bundle.manifest.skeleton
    return {
        "jetpose": version(),
        "bundle": bundle.digest,
        "network": bundle.manifest.network.name,
        "graph": graph,
        "skeleton": {"names": skeleton.names, "limbs": skeleton.limbs},
    }


def record(item: Item, poses: Poses) -> dict[str, Any]:
    """One frame's people. `age_ms` is the time since the frame's capture, `unix_s` when that was by the wall clock."""
    name = item.name.encode("utf-8", "replace").decode()  # a file name need not be UTF-8
    place: dict[str, Any] = {"source": name, "frame": item.index, "time_s": item.time_s}
    if item.frame.time_s is not None:
        age_s = monotonic() - item.frame.time_s
        place |= {"unix_s": round(time() - age_s, 3), "age_ms": round(1000 * age_s, 1)}
    return place | {"size_wh": item.frame.size_wh} | poses.to_dict()
