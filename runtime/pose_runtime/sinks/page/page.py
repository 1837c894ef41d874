"""The page as a sink: a server in a thread and a loop of its own, so that no viewer can hold up the run."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Callable

from pose_runtime.errors import SinkError
from pose_runtime.live.status import Status
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.page.access import Access
from pose_runtime.sinks.page.options import Address, ServeOptions, parse_address, read_token
from pose_runtime.sinks.page.server import Server
from pose_runtime.sources import Item

_LOG = logging.getLogger(__name__)

_BACKLOG = 64
_SEND_BUFFER_BYTES = 256 << 10  # of each connection in the kernel: more would hold old pictures for a slow line
_DEAD_MS = 20_000  # a peer that takes nothing for so long is gone
_STOP_S = 4.0
_TOKEN_BYTES = 18
_WHERE = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104  # every network


class Page(Sink):
    """Serves from its making until it is closed. `write` hands a frame over and returns at once.

    Args:
        options: where and for whom.
        status: of the run; it is called from the page's thread, about once a second.

    Attributes:
        url: where it is, with the token if that is a random one.

    Raises:
        SinkError: the address cannot be taken, or the token file cannot be read.
    """

    def __init__(self, options: ServeOptions, status: Callable[[], Status]) -> None:
        address = parse_address(options.address)
        sockets = _listen(address)
        try:
            port = int(sockets[0].getsockname()[1])
            is_local = all(ipaddress.ip_address(one.getsockname()[0]).is_loopback for one in sockets)
            token, self.url = None, f"http://{Address(_reachable(address.host), port)}/"
            if options.token_file is not None:
                token = read_token(options.token_file)
            elif not is_local:
                token = secrets.token_urlsafe(_TOKEN_BYTES)
                self.url += f"?token={token}"
        except BaseException:
            _close(sockets)
            raise
        self._options, self._status = options, status
        self._access = Access(token, address.host, options.hosts, f"jetpose_{port}")
        self._sockets = sockets
        self._server: Server | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._raise_failure()
        _LOG.info("page: %s", self.url)

    def write(self, item: Item, poses: Poses) -> None:
        """Show a frame. Raises what made the server fail, if it did."""
        self._raise_failure()
        if self._server is None:
            return
        try:
            self._server.put(item, poses)
        except RuntimeError:  # the loop ends at this moment: the reason is on its way
            self._thread.join(_STOP_S)
            self._raise_failure()
            raise

    def close(self) -> None:
        """Stop serving; viewers are told. A second time does nothing. Raises what made the server fail, if it did."""
        self.abandon()
        self._raise_failure()

    def abandon(self) -> None:
        """Stop serving; viewers are told."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ends by itself at this moment
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_S)
        self._server = None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # raised again in the run's thread
            self._server, self._failure = None, error
        finally:
            self._ready.set()
            _close(self._sockets)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._server = Server(self._options, self._access, self._status)
        await self._server.run(self._sockets, self._ready.set, self._stop)


def _listen(address: Address) -> list[socket.socket]:
    """Sockets on all that the host's name stands for.

    Raises:
        SinkError: none of them can be had; it names the address.
    """
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise SinkError(f"page: {address.host} is no name of this machine: {error}") from error
    sockets: list[socket.socket] = []
    port = address.port
    for family, kind, protocol, _, where in found:
        try:
            sockets.append(_open(family, kind, protocol, (where[0], port, *where[2:])))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:  # such as localhost where IPv6 is off
                continue
            _close(sockets)
            raise SinkError(_trouble(address, error)) from error
        port = sockets[0].getsockname()[1]  # the same free one on all
    if not sockets:
        raise SinkError(f"page: {address.host} is no address of this machine")
    return sockets


def _open(family: int, kind: int, protocol: int, where: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # connections inherit these two
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, where[0] != "::")
        one.bind(where)
        one.listen(_BACKLOG)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _trouble(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"page: port {address.port} of {address.host} is in use; choose another one, such as {address.port + 1}"
    if error.errno == errno.EACCES:
        return f"page: port {address.port} is for root only; choose one from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"page: {address.host} is no address of this machine"
    return f"page: cannot listen on {address}: {error.strerror}"


def _reachable(host: str) -> str:
    """A host to type into another machine's browser; where all networks are served, this machine's address in one."""
    if host not in _WHERE:
        return host
    with socket.socket(_WHERE[host], socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1" if host == "0.0.0.0" else "2001:db8::1", 9))  # noqa: S104  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:  # no network yet
            return socket.gethostname()


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()
