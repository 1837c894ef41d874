"""Results as messages of an MQTT broker.

    PREFIX/SOURCE/poses   one message per frame, the line that `record` makes
    PREFIX/header         retained: what makes the results, and the skeleton
    PREFIX/status         retained: `online`; `offline` at the end, and as last will
    PREFIX/state          retained, every few seconds: how the device does, see `device_state`

The broker may be absent at the start and for as long as it likes: messages wait in a bounded buffer, which loses its
oldest to new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.status import Status
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sinks._base import Sink
from pose_runtime.sinks.record import encode, header, record
from pose_runtime.sources import Item

_File = Annotated[str, Meta(min_length=1)]
_LONGEST_NAME = 200  # characters of a source in a topic: MQTT takes 65535 bytes in all
_FLUSH_S = 2.0  # for what waits, at the end
_LONGEST_WAIT_S = 6.0  # between tries to connect: a fleet is back within 10 s of its broker


class MqttOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where messages go.

    Attributes:
        host: name or address of the broker.
        port: 8883 with TLS, else 1883, unless given.
        prefix: of all topics; of each service its own.
        qos: quality of service: 0 at most once, 1 at least once, 2 exactly once while this process and the broker live.
        retain: the broker keeps the newest message of each source for readers to come.
        client_id: with one, the broker keeps the session over reconnects, which exactly once needs.
        keepalive_s: a broker that answers nothing for up to twice this is lost.
        tls: encrypt, and check the broker's certificate and name.
        ca_file: PEM of who may have signed that; the system's by default.
        cert_file: PEM of this client's certificate, for brokers that ask for it.
        key_file: PEM of its key, without a password.
        credentials_file: user on the first line, password on the second; nobody else may read it.
        buffer_messages: that wait while the broker is away.
        buffer_mib: likewise, all of them together.
        max_rate_hz: messages per second and source; frames that come sooner after the last are left out.
        state_s: seconds between two messages of the device's state.
    """

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    prefix: Annotated[str, Meta(min_length=1, max_length=200)] = "jetpose"
    qos: Literal[0, 1, 2] = 0
    retain: bool = False
    client_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    keepalive_s: Annotated[int, Meta(ge=1, le=3600)] = 15
    tls: bool = False
    ca_file: _File | None = None
    cert_file: _File | None = None
    key_file: _File | None = None
    credentials_file: _File | None = None
    buffer_messages: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    buffer_mib: Annotated[int, Meta(ge=1, le=1024)] = 16
    max_rate_hz: Annotated[float, Meta(gt=0, le=1000)] | None = None
    state_s: Annotated[float, Meta(ge=1, le=3600)] = 5.0

    def __post_init__(self) -> None:
        if any(c in self.prefix for c in "#+\0") or self.prefix[0] in "$/" or self.prefix[-1] == "/":
            raise ValueError(f"prefix: got {self.prefix!r}, wanted no #, + or NUL, no $ in front and no / at an end")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("ca_file, cert_file and key_file are for TLS; add tls = true")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together; give both or neither")

    @property
    def address(self) -> str:
        """HOST:PORT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.real_port}"

    @property
    def real_port(self) -> int:
        """The port given, or the usual one."""
        return self.port or (8883 if self.tls else 1883)


class Mqtt(Sink):
    """Publishes each result. `write` never waits; whether the broker is there, `lost` tells.

    Args:
        options: where to.
        bundle: that makes the results, for the header.
        graph: of the bundle, likewise.
        status: of the run, for the device's state; without it none is published.
        backoff: waits between tries to connect; half a second to six by default.
        clock: monotonic seconds, for the rates.

    Raises:
        SinkError: a file of the options cannot be used, or paho-mqtt is not installed. A broker that does not answer
            is no error.
    """

    def __init__(
        self,
        options: MqttOptions,
        bundle: Bundle,
        graph: GraphRole | None = None,
        *,
        status: Callable[[], Status] | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        try:
            from pose_runtime.sinks.mqtt_link import Link
        except ImportError as error:
            hint = "pip install 'jetpose[live]'"
            raise SinkError(f"mqtt {options.address}: {error.name or 'paho-mqtt'} is needed: {hint}") from error
        self._prefix, self._clock, self._status = options.prefix, clock, status
        self._state_s, self._state_due_s = options.state_s, clock()
        self._period_s = 1 / options.max_rate_hz if options.max_rate_hz else 0.0
        self._due_s: dict[str, float] = {}
        self._link = Link(options, backoff or Backoff(most_s=_LONGEST_WAIT_S))
        self.renew(bundle, graph)

    @property
    def lost(self) -> str | None:  # type: ignore[override]  # read-only here
        """Why the broker is away."""
        return self._link.lost

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Results that the buffer lost."""
        return self._link.dropped

    def write(self, item: Item, poses: Poses) -> None:
        """Hand over a message."""
        topic = topic_of(self._prefix, item.name)
        if self._is_due(topic):
            self._link.put(topic, encode(record(item, poses)))
        self.idle()

    def idle(self) -> None:
        """Publish the device's state if it is time."""
        now_s = self._clock()
        if self._status is not None and now_s >= self._state_due_s:
            self._state_due_s = now_s + self._state_s
            # the will of a connection that the present one replaced may come late, and say `offline`
            self._link.keep(f"{self._prefix}/status", b"online")
            self._link.keep(f"{self._prefix}/state", device_state(self._status()))

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:
        """Publish the header anew, and soon the state."""
        self._link.keep(f"{self._prefix}/header", encode(header(bundle, graph)))
        self._state_due_s = self._clock()

    def close(self) -> None:
        """Send what waits, for at most two seconds, and say `offline`."""
        self._link.close(_FLUSH_S)

    def abandon(self) -> None:
        """Say `offline` if that is quick."""
        self._link.close(0.5, flush=False)

    def _is_due(self, topic: str) -> bool:
        now_s = self._clock()
        due_s = self._due_s.get(topic, now_s)
        if now_s < due_s:
            return False
        self._due_s[topic] = max(due_s, now_s - self._period_s) + self._period_s  # the mean rate is kept, not the gap
        return True


def device_state(status: Status) -> bytes:
    """JSON of a status, with `unix_s`: when it was so, by this machine's wall clock."""
    return encode({"unix_s": round(time(), 3), **structs.asdict(status)})


def topic_of(prefix: str, source: str) -> str:
    """Of a source's results; what has a meaning in topics, or is not printable, becomes `_` in its name."""
    name = "".join(c if c.isprintable() and c not in "#+/" else "_" for c in source[:_LONGEST_NAME])
    return f"{prefix}/{name or '_'}/poses"
