"""The cameras of this machine, for people."""

from __future__ import annotations

from pose_runtime.sources.v4l2 import list_cameras


def print_cameras() -> None:
    """One block for each camera: what it is, and a line for each format and size."""
    cameras = list_cameras()
    if not cameras:
        print("no camera at /dev/video*; a CSI camera of a Jetson is --camera csi:0")
    for camera in cameras:
        print(f"{camera.path}  {camera.error or camera.name}")
        for mode in camera.modes:
            rates = ", ".join(f"{rate:g}" for rate in mode.fps)
            print(f"  {mode.format}  {mode.size_wh[0]}x{mode.size_wh[1]}" + (f"  {rates} Hz" if rates else ""))
