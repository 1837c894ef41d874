"""The connection to an MQTT broker, in a thread of its own. The only module that imports paho.

    put ----> backlog (bounded, loses its oldest) ----> paho (a window of few messages) ----> broker

Paho has queues of its own, but without bound, so it gets a message only when it has sent the last ones. Its network
loop is driven from here, not by its thread: one thread owns the client, waits with back-off between tries, and takes
whatever a broken peer makes paho raise as the end of the connection.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
from collections import deque
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.sinks.mqtt import MqttOptions
from pose_runtime.sinks.secret_file import read_credentials, read_secret

_log = logging.getLogger(__name__)
_CONNECT_S = 10.0  # for the network, and again for the broker's answer
_WINDOW = 20  # messages that a broker may owe its receipt for
_TICK_S = 0.5
_STEADY_S = 10.0  # a connection that ends sooner is no reason to try fast again
_LARGEST_PACKET = 1 << 16  # bytes; we subscribe to nothing, so a broker has no reason to send more than a few


class _Away(Exception):  # noqa: N818
    """The connection has ended; why."""


class _Client(mqtt.Client):
    """Paho's, which would take in 256 MiB if a peer announces them."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > _LARGEST_PACKET:
            raise ConnectionError("the packet is too large")
        return super()._sock_recv(bufsize)


class Backlog:
    """Messages that wait, bounded in number and bytes; a new one pushes out the oldest."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self.dropped = 0
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._messages: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._lock = Lock()

    def put(self, topic: str, payload: bytes) -> None:
        """Add one; one that is larger than all may be is dropped itself."""
        with self._lock:
            self._messages.append((topic, payload))
            self._bytes += len(topic) + len(payload)
            while len(self._messages) > self._most_messages or self._bytes > self._most_bytes:
                self._pop()
                self.dropped += 1

    def take(self) -> tuple[str, bytes] | None:
        """The oldest, if there is one."""
        with self._lock:
            return self._pop() if self._messages else None

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self.dropped += len(self._messages)
            self._messages.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def _pop(self) -> tuple[str, bytes]:
        topic, payload = self._messages.popleft()
        self._bytes -= len(topic) + len(payload)
        return topic, payload


class Link:
    """Sends messages for as long as it is not closed.

    Args:
        options: of the broker.
        backoff: waits between tries to connect.

    Attributes:
        lost: why the broker is away, None while it is there.

    Raises:
        SinkError: a file of the options cannot be used.
    """

    def __init__(self, options: MqttOptions, backoff: Backoff) -> None:
        self._options, self._backoff = options, backoff
        self.lost: str | None = f"{options.address}: not connected yet"
        self._backlog = Backlog(options.buffer_messages, options.buffer_mib << 20)
        self._name = f"mqtt {options.address}"
        self._status = f"{options.prefix}/status"
        self._kept = {self._status: b"online"}  # by topic, what readers to come shall find
        self._changed: set[str] = set()  # topics of those that the broker has to hear of
        self._kept_lock = Lock()
        self._refused: str | None = None
        self._connected = False
        self._since_s = 0.0  # when it was
        self._warned = False
        self._unsent: set[int] = set()  # message numbers that paho has
        self._closing = Event()
        self._close_by_s = 0.0
        self._client = self._new_client()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._thread = Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Messages that were given up."""
        return self._backlog.dropped

    def put(self, topic: str, payload: bytes) -> None:
        """Leave a message; never waits."""
        self._backlog.put(topic, payload)
        if self._connected:
            self._wake()

    def keep(self, topic: str, payload: bytes) -> None:
        """A topic holds this from now on, retained, and after every reconnection; never waits."""
        with self._kept_lock:
            self._kept[topic] = payload
            self._changed.add(topic)
        self._wake()

    def close(self, timeout_s: float, *, flush: bool = True) -> None:
        """Send what waits and say `offline`, as far as the time allows; a second time does nothing."""
        if self._closing.is_set():
            return
        if not flush:
            self._backlog.clear()
        self._close_by_s = monotonic() + timeout_s
        self._closing.set()
        self._wake()
        self._thread.join(timeout_s + 0.5)  # one that still connects ends by itself, as a daemon
        self._backlog.clear()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has ended
            self._wake_w.send(b"\0")

    def _new_client(self) -> _Client:
        options = self._options
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id or "",
            clean_session=options.client_id is None,
            protocol=mqtt.MQTTv311,
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(_WINDOW)
        client.will_set(self._status, "offline", qos=options.qos, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_open = _send_at_once
        if options.tls:
            client.tls_set_context(self._tls())
        self._identify(client)
        if options.credentials_file and not options.tls and options.host not in ("localhost", "127.0.0.1", "::1"):
            _log.warning("%s: the password goes over the network in clear; use tls = true", self._name)
        client.connect_async(options.host, options.real_port, options.keepalive_s)
        return client

    def _tls(self) -> ssl.SSLContext:
        options = self._options
        if options.key_file:
            read_secret(Path(options.key_file))
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
            if options.cert_file:
                context.load_cert_chain(options.cert_file, options.key_file, password=lambda: b"")
        except OSError as error:  # ssl's errors are too
            files = ", ".join(f for f in (options.ca_file, options.cert_file, options.key_file) if f)
            raise SinkError(f"{files}: cannot use it for TLS: {error.strerror or error}") from error
        return context

    def _identify(self, client: mqtt.Client) -> None:
        """Before each try, so that a password can be changed while the service runs."""
        if self._options.credentials_file:
            client.username_pw_set(*read_credentials(Path(self._options.credentials_file)))

    def _run(self) -> None:
        try:
            while True:  # once at least: a run may be over before the connection stands
                try:
                    self._identify(self._client)
                    self._serve()
                    return
                except Exception as error:  # of the network, of TLS, or of paho over a broken peer's bytes
                    self._lose(error)
                if self._closing.wait(self._backoff.next_s()):
                    return
        finally:
            self._connected = False
            self._wake_r.close()
            self._wake_w.close()

    def _lose(self, error: Exception) -> None:
        if self._connected and monotonic() - self._since_s > _STEADY_S:
            self._backoff.reset()
        self._connected = False
        self.lost = f"{self._options.address}: {self._refused or _reason(error)}"
        self._refused = None
        if not self._warned:
            self._warned = True
            _log.warning("mqtt %s; tried again until it is back", self.lost)

    def _serve(self) -> None:
        """One connection, until it is lost (_Away, or what paho raises) or the link is closed."""
        client, answer_by_s = self._client, monotonic() + 2 * _CONNECT_S
        client.reconnect()
        while (connection := client.socket()) is not None:
            if self._connected:
                self._feed()
            elif monotonic() > answer_by_s:
                raise _Away("the broker does not answer")
            if self._closing.is_set() and self._close_connection():
                return
            self._step(client, connection)
        raise _Away("the connection was closed")

    def _step(self, client: mqtt.Client, connection: Any) -> None:
        """Wait for the network or a message, at most one tick."""
        poll = select.poll()
        poll.register(self._wake_r, select.POLLIN)
        poll.register(connection, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        ready = dict(poll.poll(1000 * _TICK_S))
        if self._wake_r.fileno() in ready:
            self._wake_r.recv(4096)
        if connection.fileno() in ready:
            if ready[connection.fileno()] & ~select.POLLOUT:
                client.loop_read()
                while client.socket() is not None and getattr(connection, "pending", int)():  # decrypted already
                    client.loop_read()
            if client.want_write():
                client.loop_write()
        client.loop_misc()

    def _feed(self) -> None:
        """As much as the network takes now."""
        if self._changed and not self._client.want_write():
            self._publish_kept()
        while len(self._unsent) < _WINDOW and not self._client.want_write() and (message := self._backlog.take()):
            done = self._client.publish(*message, self._options.qos, self._options.retain)
            if self._options.qos and not done.is_published():
                self._unsent.add(done.mid)

    def _close_connection(self) -> bool:
        """One step towards the end; whether it is reached."""
        if monotonic() >= self._close_by_s:
            return True
        if self._connected and not (self._backlog or self._unsent or self._client.want_write()):
            self._client.publish(self._status, "offline", 0, retain=True)
            self._client.disconnect()
            while self._client.want_write() and monotonic() < self._close_by_s:
                self._client.loop_write()
            return True
        return False

    def _on_connect(self, _client: Any, _data: object, _flags: object, code: Any, _properties: object) -> None:
        if code.is_failure:
            self._refused = f"the broker refuses: {code}"
            return
        with self._kept_lock:
            self._changed.update(self._kept)
        self._publish_kept()
        if self._warned:
            _log.warning("%s: back; messages dropped so far: %d", self._name, self.dropped)
        else:
            _log.info("%s: connected", self._name)
        self._connected, self._warned, self.lost = True, False, None
        self._since_s = monotonic()

    def _publish_kept(self) -> None:
        """What has changed; at most once, as each connection says it again: of these nothing may pile up."""
        with self._kept_lock:
            changed = [(topic, payload) for topic, payload in self._kept.items() if topic in self._changed]
            self._changed.clear()
        for topic, payload in changed:
            self._client.publish(topic, payload, 0, retain=True)

    def _on_disconnect(self, _client: Any, _data: object, _flags: object, code: Any, _properties: object) -> None:
        if self._refused is None and code == "Keep alive timeout":
            self._refused = "the broker has stopped answering"

    def _on_publish(self, _client: Any, _data: object, number: int, _code: object, _properties: object) -> None:
        self._unsent.discard(number)


def _send_at_once(_client: object, _data: object, connection: Any) -> None:
    """Small messages do not wait for the receipt of the last ones."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
