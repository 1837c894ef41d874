"""Where MMPose's checkpoints lie: their file names carry the first 8 hex digits of the file's SHA-256."""

from __future__ import annotations

from pose_export.networks._registry import Source


def mmpose(path: str) -> Source:
    """The checkpoint at `path` of MMPose's downloads."""
    file = path.rpartition("/")[2]
    digest = file.removesuffix(".pth").split("-")[-1].partition("_")[0]
    url = f"https://download.openmmlab.com/mmpose/{path}"
    return Source(url=url, licence="Apache-2.0", file=file, algorithm="sha256", digest=digest)
