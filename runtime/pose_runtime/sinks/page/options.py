"""What the page is told: where it listens, for whom, and how good its pictures are."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from pose_runtime.errors import SinkError
from pose_runtime.sinks.secret_file import read_secret

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")  # what a URL and a cookie take unquoted


class Address(NamedTuple):
    """Where a server listens: a name or an IP address without brackets, and a port; port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page's table of the configuration.

    Attributes:
        address: `[HOST:]PORT`; HOST is a name or an IP address, IPv6 in brackets. Without HOST only this machine gets
            in; `0.0.0.0:8080` is every network by IPv4, `[::]:8080` by IPv6 too.
        token_file: holds the token that viewers must show, 16 to 256 letters, digits, `.`, `_`, `~`, `-`. Without it
            there is no token on a loopback address, and a random one, new with every start, on any other.
        hosts: further names under which browsers reach the page, such as a reverse proxy's. The machine's own name,
            `NAME.local`, `localhost` and IP addresses need no mention.
        open_metrics: `/metrics` needs no token.
        width: of pictures, pixels at most; larger frames are made smaller.
        quality: of pictures, by JPEG's scale.
        fps: of pictures, frames per second at most.
        max_clients: viewers at once; the next one is told to come later.

    Raises:
        SinkError: the address is none.
    """

    address: str = "127.0.0.1:8080"
    token_file: str | None = None
    hosts: tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...] = ()
    open_metrics: bool = False
    width: Annotated[int, Meta(ge=64, le=4096)] = 1280
    quality: Annotated[int, Meta(ge=10, le=95)] = 75
    fps: Annotated[float, Meta(gt=0, le=60)] = 15.0
    max_clients: Annotated[int, Meta(ge=1, le=1000)] = 32

    def __post_init__(self) -> None:
        parse_address(self.address)


def parse_address(text: str) -> Address:
    """`8080`, `jetson.local:8080`, `0.0.0.0:8080`, `[::1]:8080`.

    Raises:
        SinkError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        is_host = _is_ip(host, 6)
    else:
        is_host = _is_ip(host, 4) or (bool(_HOST.fullmatch(host)) and not re.fullmatch(r"[0-9.]+", host))
    if not (is_host and port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        wanted = "[HOST:]PORT such as 8080, 0.0.0.0:8080 or [::1]:8080"
        raise SinkError(f"page address: got {text!r}, wanted {wanted}")
    return Address(host, int(port))


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def read_token(path: str) -> str:
    """The token that a file holds, without the line's end.

    Raises:
        SinkError: as `read_secret`, or what it holds is no token; the message does not show it.
    """
    token = read_secret(Path(path)).strip()
    if not _TOKEN.fullmatch(token):
        raise SinkError(f"{path}: wanted a token of 16 to 256 letters, digits, '.', '_', '~' or '-', such as that of "
                        "`openssl rand -hex 16`")  # fmt: skip
    return token
