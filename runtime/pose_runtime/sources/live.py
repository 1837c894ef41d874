"""What a live source is called and how it is opened: cameras, network streams, pipelines; files go to `open_source`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from msgspec import Meta, Struct

from pose_runtime.errors import SourceError
from pose_runtime.frame import MAX_SIDE
from pose_runtime.sources import Source, open_source

_SIDE = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
_Seconds = Annotated[float, Meta(gt=0, le=3600)]
_STREAMS = ("rtsp://", "rtsps://", "http://", "https://")
_MAX_CREDENTIALS = 4096
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
_SECRET = re.compile(r"(?i)\b(user-pw|password|token|key|secret|auth)=[^\s&!\"']+")


class SourceOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source of a live run; a table `[[source]]` of the configuration file.

    Attributes:
        address: `camera:N` or `/dev/videoN`, `csi:N`, `rtsp://…`, `http(s)://…`, `gst:PIPELINE`, a file or a folder.
        name: that results carry; made from the address if not given.
        size_wh: width, height in pixels that a camera shall give.
        fps: frames per second that a camera shall give.
        format: of a camera, as V4L2 calls it: NV12, YUYV, GREY, MJPG and so on.
        stall_s: seconds without a frame after which the source is lost.
        open_s: seconds that opening may take.
        credentials_file: a file with `user:password` for a stream.
    """

    address: Annotated[str, Meta(min_length=1, max_length=4096)]
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    size_wh: tuple[_SIDE, _SIDE] | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    format: Annotated[str, Meta(pattern=r"^[A-Za-z0-9 ]{3,4}$")] | None = None
    stall_s: _Seconds = 5.0
    open_s: _Seconds = 10.0
    credentials_file: str | None = None

    @property
    def title(self) -> str:
        """The name, or one made from the address: `camera0`, `csi0`, a stream's host, a file's stem."""
        return self.name or _title(self.address)

    @property
    def is_live(self) -> bool:
        """Its frames come by themselves: not a file or folder."""
        return _number(self.address) is not None or self.address.startswith((*_STREAMS, "gst:"))


def open_live(options: SourceOptions) -> Source:
    """Open a source; the caller closes it.

    Raises:
        SourceError: it is not there, busy, forbidden, no video, or does not answer within `open_s`. Never names
            credentials.
    """
    address = options.address
    number = _number(address)
    if options.credentials_file is not None and not address.startswith(_STREAMS):
        raise SourceError(f"{redacted(address)}: credentials_file: only rtsp:// and http:// streams take one")
    if number is not None and number[0] == "csi":
        from pose_runtime.sources.gstreamer import Pipeline, csi

        return Pipeline(csi(number[1], options), options)
    if address.startswith("gst:"):
        from pose_runtime.sources.gstreamer import Pipeline

        return Pipeline(address.removeprefix("gst:"), options)
    if number is not None:
        from pose_runtime.sources.camera import Camera

        return Camera(Path(f"/dev/video{number[1]}"), options)
    if address.startswith(_STREAMS):
        try:
            from pose_runtime.sources.stream import Stream
        except ImportError as error:
            hint = "pip install 'jetpose[live]'"
            raise SourceError(
                f"{redacted(address)}: to read streams, {error.name or 'av'} is needed: {hint}"
            ) from error
        return Stream(with_credentials(options), options)
    return open_source(address)


def redacted(address: str) -> str:
    """An address without the user, password or token in it, for people to read."""
    return _SECRET.sub(lambda match: f"{match[1]}=***", _LOGIN.sub("", address))


def with_credentials(options: SourceOptions) -> str:
    """The address of a stream with the user and password of its file; raises SourceError, which does not show them."""
    if options.credentials_file is None:
        return options.address
    path = Path(options.credentials_file)
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CREDENTIALS + 1).decode()
    except OSError as error:
        raise SourceError(f"{path}: cannot read the credentials: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SourceError(f"{path}: wanted `user:password` in UTF-8") from None
    user, colon, password = text.strip("\r\n").partition(":")
    if not colon or not user or len(text) > _MAX_CREDENTIALS or "\n" in password:
        raise SourceError(f"{path}: wanted one line `user:password`")
    scheme, rest = _LOGIN.sub("", options.address).split("://", 1)
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _number(address: str) -> tuple[str, int] | None:
    """Kind (`camera` or `csi`) and number of a camera's address."""
    if match := re.fullmatch(r"(camera:|csi:|/dev/video)(\d{1,3})", address):
        return ("csi" if match[1] == "csi:" else "camera"), int(match[2])
    return None


def _title(address: str) -> str:
    if number := _number(address):
        return f"{number[0]}{number[1]}"
    if address.startswith("gst:"):
        return "gst"
    if address.startswith(_STREAMS):
        parts = urlsplit(redacted(address))
        text = f"{parts.netloc}{parts.path}".strip("/")
    else:
        text = Path(address).stem or "files"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64] or "source"
