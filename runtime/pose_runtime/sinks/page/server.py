"""The page's HTTP server: what stands at which address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from pose_runtime.live.status import Status
from pose_runtime.poses import Poses
from pose_runtime.sinks.page.access import Access, Handler, add_headers
from pose_runtime.sinks.page.feed import Encode, Feed
from pose_runtime.sinks.page.metrics import Metrics
from pose_runtime.sinks.page.options import ServeOptions
from pose_runtime.sinks.page.picture import Encoding
from pose_runtime.sinks.page.viewer import SEND_S, Rude, Viewer
from pose_runtime.sources import Item

_STATIC = {  # file -> content type; nothing else is served
    "page.js": "text/javascript",
    "stream.js": "text/javascript",
    "draw.js": "text/javascript",
    "spark.js": "text/javascript",
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_INDEX = "index.html"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format
_HISTORY_S = 120  # that sparklines show, one value a second
_TELL_S = 1.0
_MOST_FEEDS = 64  # sources that have pictures; of further ones only the numbers are shown

# Bounds for clients that send too much, too slowly, or nothing.
_IDLE_S = 15.0  # until a request's headers are there, at first and between requests
_LINGER_S = 2.0  # for a body that nobody wants
_MOST_LINE_BYTES = 8190
_MOST_HEADERS = 64
_MOST_MESSAGE_BYTES = 1024
_PING_S = 10.0
_CLOSE_S = 1.0
_CONNECTIONS_PER_VIEWER, _SPARE_CONNECTIONS = 4, 64
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
_BOUNDARY = "jetpose"


class _Door(asyncio.Protocol):
    """Lets a connection in to the HTTP server as long as that has fewer than `most`."""

    def __init__(self, http: web.Server, most: int) -> None:
        self._http, self._most = http, most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it over, or say that there is no room."""
        assert isinstance(transport, asyncio.Transport)
        if len(self._http.connections) >= self._most:
            transport.write(_BUSY)
            transport.close()
            return
        inner = self._http()
        transport.set_protocol(inner)
        inner.connection_made(transport)


class _Seat:
    """A plain viewer of pictures."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()


class Server:
    """Serves in the loop that it is made in.

    Args:
        options: pictures and bounds.
        access: decides who gets in.
        status: of the run.
    """

    def __init__(self, options: ServeOptions, access: Access, status: Callable[[], Status]) -> None:
        self._options, self._access, self._status = options, access, status
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "page-jpeg")
        self._encoding = Encoding(options.width, options.quality)
        self._feeds: dict[str, Feed] = {}
        self._drawn: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._seated = 0
        self._viewers: dict[Viewer, web.WebSocketResponse] = {}
        self._history: deque[tuple[float, float | None, float | None, int]] = deque(maxlen=_HISTORY_S)
        self._metrics = Metrics(status, lambda: self._seated)
        folder = resources.files("pose_runtime.sinks.page") / "static"
        self._files = {name: (folder / name).read_bytes() for name in (_INDEX, *_STATIC)}

    def put(self, item: Item, poses: Poses) -> None:
        """A new result; from the run's thread."""
        if item.name not in self._feeds:
            if len(self._feeds) >= _MOST_FEEDS:
                return
            self._drawn[item.name] = self._new_feed(self._encoding.drawn)
            self._feeds[item.name] = self._new_feed(self._encoding.with_poses)
        self._feeds[item.name].put(item, poses)
        self._drawn[item.name].put(item, poses)

    def _new_feed(self, encode: Encode) -> Feed:
        feed = Feed(self._loop, self._pool, encode, self._options.fps)
        self._loop.call_soon_threadsafe(lambda: self._start(feed.run()))
        return feed

    async def run(self, sockets: list[socket.socket], ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serve until `stop`. What goes wrong with one client stays with it; all else is raised."""
        runner = web.AppRunner(
            self._app(),
            access_log=None,  # it would show tokens
            handler_cancellation=True,
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGER_S,
            max_line_size=_MOST_LINE_BYTES,
            max_field_size=_MOST_LINE_BYTES,
            max_headers=_MOST_HEADERS,
            shutdown_timeout=_CLOSE_S,
        )
        await runner.setup()
        http = runner.server
        assert http is not None
        most = self._options.max_clients * _CONNECTIONS_PER_VIEWER + _SPARE_CONNECTIONS
        servers = [await self._loop.create_server(lambda: _Door(http, most), sock=one) for one in sockets]
        self._start(self._tell())
        ready()
        try:
            await asyncio.wait({self._start(stop.wait()), self._failed}, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
        finally:
            for server in servers:
                server.close()
            await self._say_goodbye()
            await runner.cleanup()
            for task in self._tasks:
                task.cancel()
            self._pool.shutdown(cancel_futures=True)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task whose failure is the server's."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _tell(self) -> None:
        """Once a second, the status to everybody."""
        while True:
            status = self._status()
            latency, age = status.latency_ms, status.age_ms
            self._history.append(
                (status.fps, latency.p50 if latency else None, age.p50 if age else None, status.people)
            )
            news = _json({"status": status})
            for viewer in self._viewers:
                viewer.tell(news)
                if viewer.watched in self._feeds:  # its first frame may have come only now
                    viewer.look_at(self._feeds[viewer.watched])
            await asyncio.sleep(_TELL_S)

    async def _say_goodbye(self) -> None:
        going = [one.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops") for one in self._viewers.values()]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*going, return_exceptions=True), _CLOSE_S)

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware()])
        app.on_response_prepare.append(_with_headers)
        app.router.add_get("/", self._index)
        for name, kind in _STATIC.items():
            app.router.add_get(f"/{name}", self._static(name, kind))
        app.router.add_get("/api/status", self._api_status)
        app.router.add_get("/api/live", self._live, allow_head=False)
        app.router.add_get("/stream.mjpg", self._mjpeg, allow_head=False)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._get_metrics)
        return app

    def _middleware(self) -> Any:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path != "/healthz":
                self._access.check_site(request)
                if not (request.path == "/metrics" and self._options.open_metrics):
                    self._access.check_token(request)
            return await handler(request)

        return check

    async def _index(self, request: web.Request) -> web.Response:
        response = web.Response(body=self._files[_INDEX], content_type="text/html", charset="utf-8")
        if "token" in request.query:
            self._access.remember(response)
        return response

    def _static(self, name: str, kind: str) -> Handler:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=self._files[name], content_type=kind, charset="utf-8")

        return handler

    async def _api_status(self, _: web.Request) -> web.Response:
        return web.Response(text=_json({"status": self._status()}), content_type="application/json")

    async def _healthz(self, _: web.Request) -> web.Response:
        status = self._status()
        body = _json({"alive": status.alive, "uptime_s": round(status.uptime_s, 1)})
        return web.Response(text=body, content_type="application/json", status=200 if status.alive else 503)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": _METRICS_TYPE})

    @contextlib.contextmanager
    def _seat(self) -> Iterator[None]:
        if self._seated >= self._options.max_clients:
            text = f"All {self._options.max_clients} places are taken; come later, or raise `max_clients`.\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"})
        self._seated += 1
        try:
            yield
        finally:
            self._seated -= 1

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """The page's WebSocket: status once a second, pictures with poses, and what the viewer says."""
        response = web.WebSocketResponse(
            heartbeat=_PING_S, max_msg_size=_MOST_MESSAGE_BYTES, compress=False, timeout=_CLOSE_S
        )
        if not response.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(text="This address speaks WebSocket.\n", headers={"Upgrade": "websocket"})
        with self._seat():
            await response.prepare(request)
            viewer = Viewer()
            sender = self._start(_send(viewer, response, request))
            self._viewers[viewer] = response
            viewer.tell(_json({"history": list(self._history), "status": self._status()}))
            try:
                async for message in response:
                    if message.type is not WSMsgType.TEXT:
                        raise Rude("not understood")
                    if viewer.hear(message.data):
                        viewer.look_at(self._feeds.get(viewer.watched or ""))
            except Rude as error:
                await response.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode())
            finally:
                del self._viewers[viewer]
                viewer.look_at(None)
                sender.cancel()
        return response

    async def _mjpeg(self, request: web.Request) -> web.StreamResponse:
        """Pictures with people drawn, for players and browsers without scripts."""
        names = [source.name for source in self._status().sources]
        name = request.query.get("source", names[0] if names else "")
        if name not in self._drawn:
            known = f"no frame of it has come yet; sources: {', '.join(names) or 'none'}"
            raise web.HTTPNotFound(text=f"No pictures of source {name[:100]!r}: {known}.\n")
        feed, seat = self._drawn[name], _Seat()
        with self._seat():
            response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY}"})
            try:
                await response.prepare(request)
                feed.join(seat)
                while True:
                    await seat.changed.wait()
                    seat.changed.clear()
                    assert feed.picture is not None
                    await asyncio.wait_for(response.write(_part(feed.picture.jpeg)), SEND_S)
            except asyncio.TimeoutError:
                _abort(request)
            except ConnectionError:  # it went away
                pass
            finally:
                feed.leave(seat)
        return response


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _part(jpeg: bytes) -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


async def _send(viewer: Viewer, response: web.WebSocketResponse, request: web.Request) -> None:
    try:
        await viewer.serve(response)
    except asyncio.TimeoutError:
        _abort(request)
    except ConnectionError:  # it went away; whoever reads from it is told
        pass


def _abort(request: web.Request) -> None:
    """Without waiting for what the client does not take."""
    if request.transport is not None:
        request.transport.abort()


async def _with_headers(_: web.Request, response: web.StreamResponse) -> None:
    add_headers(response)
