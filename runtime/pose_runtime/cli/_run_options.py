"""The options of pose-run, and the tree of settings that those given make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pose_runtime.manifest import GraphRole
from pose_runtime.networks import DEFAULT
from pose_runtime.toml_files import Tree

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="Image, video, folder of images, a quoted pattern such as 'a/*.jpg', rtsp://..., http://..., "
        "gst:PIPELINE; may be repeated.",
        metavar="ADDRESS",
    ),
]
Cameras = Annotated[
    list[str] | None,
    typer.Option("--camera", help="Camera N of /dev/videoN, or csi:N; may be repeated.", metavar="N"),
]
Size = Annotated[str | None, typer.Option("--size", help="Of a camera's frames.", metavar="WxH")]
Fps = Annotated[float | None, typer.Option("--fps", help="Of a camera.", metavar="HZ")]
PixelFormat = Annotated[str | None, typer.Option("--format", help="Of a camera: YUYV, NV12, MJPG, ...", metavar="NAME")]
ListCameras = Annotated[bool, typer.Option("--list-cameras", help="Print cameras with their formats, and exit.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings as TOML.", metavar="FILE")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print all settings as TOML, and exit.")]
BundleName = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        help=f"Folder NAME.pose/, or a network that comes with jetpose.  [default: {DEFAULT}]",
        metavar="BUNDLE",
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", help="Write JSON Lines to this file, - for standard output.", metavar="FILE")
]
Save = Annotated[
    str | None,
    typer.Option("--save", help="Save frames with people drawn: an image, a video (.mp4) or a folder.", metavar="PATH"),
]
Show = Annotated[bool | None, typer.Option("--show", help="Show them in a window; q or Escape ends.")]
Serve = Annotated[
    str | None,
    typer.Option("--serve", help="A web page at this address; 127.0.0.1 if only a port.", metavar="[HOST:]PORT"),
]
Mqtt = Annotated[str | None, typer.Option("--mqtt", help="Publish to this broker.", metavar="HOST[:PORT]")]
Track = Annotated[bool | None, typer.Option("--track/--no-track", help="Give people ids over time.")]
Smooth = Annotated[bool | None, typer.Option("--smooth/--no-smooth", help="Take the tremble out of keypoints.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda:N.  [default: auto]", metavar="NAME")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=1024, help="Threads of the network.  [default: one per core]", metavar="N"),
]
Graph = Annotated[
    GraphRole | None,
    typer.Option("--graph", help="Graph to run.  [default: cpu_int8 where it is faster, else reference]"),
]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", help="Leave out people with a lower score.  [default: 0]", metavar="S"),
]

_CAMERA_OPTIONS = ("--size", "--fps", "--format")


def tree(
    *,
    source: list[str] | None,
    camera: list[str] | None,
    size: str | None,
    fps: float | None,
    pixel_format: str | None,
    serve: str | None,
    mqtt: str | None,
    json: str | None,
    save: str | None,
    track: bool | None,
    smooth: bool | None,
    cache: Path | None,
    **plain: Any,
) -> Tree:
    """The settings that options stand for; what was not given is not there."""
    settings = {key: value for key, value in plain.items() if value is not None}
    if cache is not None:
        settings["cache"] = str(cache)
    addresses = [*(source or ()), *(_camera(name) for name in camera or ())]
    of_camera = {"size_wh": _size_wh(size), "fps": fps, "format": pixel_format}
    given = {key: value for key, value in of_camera.items() if value is not None}
    if addresses:
        settings["source"] = [{"address": address, **given} for address in addresses]
    elif given:
        raise typer.BadParameter("is of no use without --camera or --source", param_hint=" ".join(_CAMERA_OPTIONS))
    for key, file in (("json", json), ("save", save)):
        if file is not None:
            settings[key] = {"file": file}
    if serve is not None:
        settings["serve"] = {"address": serve}
    if mqtt is not None:
        settings["mqtt"] = _broker(mqtt)
    for key, wanted in (("track", track), ("smooth", smooth)):
        if wanted is not None:
            settings[key] = {} if wanted else None
    return settings


def _camera(name: str) -> str:
    return f"camera:{name}" if name.isdecimal() else name


def _size_wh(size: str | None) -> list[int] | None:
    if size is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if match is None:
        raise typer.BadParameter(f"got {size}, wanted WIDTHxHEIGHT such as 1280x720", param_hint="--size")
    return [int(match[1]), int(match[2])]


def _broker(address: str) -> Tree:
    match = re.fullmatch(r"(\[[^]]+\]|[^:]+)(?::(\d{1,5}))?", address)
    if match is None:
        raise typer.BadParameter(f"got {address}, wanted HOST or HOST:PORT", param_hint="--mqtt")
    host = {"host": match[1].strip("[]")}
    return host if match[2] is None else {**host, "port": int(match[2])}
