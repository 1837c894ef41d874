"""Results over a real broker: what was sent arrives, and no fault of the broker's holds up the run."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import logging
import random
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import msgspec
import pytest

import pose_runtime
import tiny
from live_items import ONE, live_item
from peers.mosquitto import Broker, Reader, free_port, until
from pose_runtime.bundle import Bundle
from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.outlet import Outlet
from pose_runtime.sinks.mqtt import _LONGEST_WAIT_S, Mqtt, MqttOptions, topic_of
from pose_runtime.sinks.record import header

pytest.importorskip("paho.mqtt")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.write(tmp_path / "tiny.pose")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def closing() -> Iterator[Callable[[Mqtt], Mqtt]]:
    """Closes what a test opens."""
    opened: list[Mqtt] = []

    def keep(sink: Mqtt) -> Mqtt:
        opened.append(sink)
        return sink

    yield keep
    for sink in opened:
        sink.abandon()


def options(port: int, /, **others: Any) -> MqttOptions:
    return msgspec.convert({"host": "127.0.0.1", "port": port} | others, MqttOptions)


def quick() -> Backoff:
    return Backoff(0.05, 0.2)


def frames_of(messages: list[bytes]) -> list[int]:
    return [json.loads(message)["frame"] for message in messages]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_arrives_is_what_was_sent(broker: Broker, bundle: Bundle, qos: int) -> None:
    with Reader(broker.port) as reader:
        with Mqtt(options(broker.port, qos=qos, prefix="house/hall"), bundle, "reference") as sink:
            for i in range(100):
                sink.write(live_item(i, i / 30), ONE)
        # the broker's receipts of QoS 2 take two rounds more, in which `offline` may overtake the last results
        until(lambda: len(reader.of("house/hall/status")) == 2 and len(reader.of("house/hall/cam/poses")) == 100)
        assert reader.of("house/hall/status") == [b"online", b"offline"]
        assert json.loads(reader.of("house/hall/header")[0]) == json.loads(
            msgspec.json.encode(header(bundle, "reference"))
        )
        poses = [json.loads(payload) for payload in reader.of("house/hall/cam/poses")]
    assert [p["frame"] for p in poses] == list(range(100))
    assert list(poses[7]) == ["source", "frame", "time_s", "unix_s", "age_ms", "size_wh", "people"]
    assert (poses[7]["source"], poses[7]["time_s"], poses[7]["size_wh"]) == ("cam", 7 / 30, [128, 96])
    assert poses[7]["people"] == [{"score": 0.5, "keypoints": [[20.0, 20.0, 0.9], [100.0, 20.0, 0.8], None]}]
    assert sink.dropped == 0
    with Reader(broker.port) as late:  # what a reader finds who comes later
        until(lambda: len(late.messages) == 2)
        assert {topic: retained for topic, _, retained in late.messages} == {
            "house/hall/status": True, "house/hall/header": True,
        }  # fmt: skip


def test_retained_results(broker: Broker, bundle: Bundle) -> None:
    with Mqtt(options(broker.port, retain=True), bundle) as sink:
        for i in range(3):
            sink.write(live_item(i), ONE)
    with Reader(broker.port) as late:
        until(lambda: late.of("jetpose/cam/poses"))
        assert frames_of(late.of("jetpose/cam/poses")) == [2]


def test_last_will_of_a_killed_process(broker: Broker, tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "t.pose")
    code = f"""
import time
from pose_runtime.bundle import load_bundle
from pose_runtime.sinks.mqtt import Mqtt, MqttOptions
sink = Mqtt(MqttOptions(host="127.0.0.1", port={broker.port}), load_bundle({str(bundle.path)!r}))
time.sleep(60)
"""
    environment = {"PYTHONPATH": str(Path(pose_runtime.__file__).parents[1])}
    with Reader(broker.port) as reader:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        try:
            until(lambda: reader.of("jetpose/status") == [b"online"])
        finally:
            process.kill()
            process.wait(10)
        until(lambda: reader.of("jetpose/status") == [b"online", b"offline"], 5)


def test_a_restarted_broker(
    broker: Broker, bundle: Bundle, closing: Callable[[Mqtt], Mqtt], caplog: pytest.LogCaptureFixture
) -> None:
    """Five times: what was written while it was away arrives, once, in order; one line lost, one back."""
    caplog.set_level(logging.WARNING, "pose_runtime")
    sink = closing(Mqtt(options(broker.port, qos=1), bundle, backoff=quick()))
    until(lambda: sink.lost is None)
    for around in range(5):
        broker.kill()
        until(lambda: sink.lost)
        for i in range(10):
            sink.write(live_item(10 * around + i), ONE)
        broker.start()
        back_s = monotonic()
        with Reader(broker.port) as reader:
            until(lambda: sink.lost is None)
            assert monotonic() - back_s < 3
            sink.write(live_item(1000), ONE)
            until(lambda: 1000 in frames_of(reader.of("jetpose/cam/poses")))
            seen = frames_of(reader.of("jetpose/cam/poses"))
            assert seen == sorted(set(seen))  # the reader may have come a little late
    assert sink.dropped == 0
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 10
    assert all(("again" if i % 2 == 0 else "back") in line for i, line in enumerate(lines))


def test_results_wait_for_an_absent_broker(tmp_path: Path, bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    """At boot it may be missing; the newest results are kept, as many as the buffer takes."""
    broker = Broker(tmp_path)
    sink = closing(Mqtt(options(broker.port, qos=1, buffer_messages=20, retain=True), bundle, backoff=quick()))
    until(lambda: sink.lost and "refused" in sink.lost)
    start_s = perf_counter()
    for i in range(500):
        sink.write(live_item(i), ONE)
    assert perf_counter() - start_s < 2.0
    assert sink.dropped == 480
    port = broker.port
    with broker:
        with Reader(port) as reader:
            until(lambda: len(set(frames_of(reader.of("jetpose/cam/poses")))) >= 1)
            until(lambda: frames_of(reader.of("jetpose/cam/poses"))[-1] == 499)
        until(lambda: sink.lost is None)
    assert sink.dropped == 480


def test_buffer_is_bounded_in_bytes(bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    sink = closing(Mqtt(options(free_port(), buffer_messages=100_000, buffer_mib=1), bundle, backoff=quick()))
    size = 0
    for i in range(12_000):
        sink.write(live_item(i), ONE)
    backlog = sink._link._backlog
    size = sum(len(topic) + len(payload) for topic, payload in backlog._messages)
    assert (1 << 20) - 400 < size <= 1 << 20
    assert backlog._bytes == size
    assert sink.dropped == 12_000 - len(backlog)


def test_ten_minutes_of_refusals() -> None:
    """In simulated time, of the back-off between tries: they stay rare and do not end."""
    backoff, now_s, tries = Backoff(most_s=_LONGEST_WAIT_S, random=random.Random(1)), 0.0, 0
    while now_s < 600:
        now_s += backoff.next_s()
        tries += 1
    assert 100 <= tries <= 200


def test_a_broker_that_refuses_for_long(tmp_path: Path, bundle: Bundle) -> None:
    """Shortened: 10 minutes become 3 s, and the longest wait 0.3 s, 6 s in truth. The run goes on all the while."""
    broker = Broker(tmp_path)
    outlet = Outlet(
        "mqtt", lambda: Mqtt(options(broker.port, qos=1, retain=True), bundle, backoff=Backoff(0.05, 0.3)), live=True
    )
    end_s, i = monotonic() + 3, 0
    while monotonic() < end_s:
        outlet.put(live_item(i), ONE)
        i += 1
        threading.Event().wait(0.02)
    status = outlet.status()
    assert (status.state, status.dropped, outlet.pulse.alive) == ("lost", 0, True)
    with broker, Reader(broker.port) as reader:
        until(lambda: outlet.status().state == "working", 3)
        until(lambda: reader.of("jetpose/cam/poses") and frames_of(reader.of("jetpose/cam/poses"))[-1] == i - 1)
        assert outlet.stop(5)


def test_a_paused_broker_blocks_nothing(broker: Broker, bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    """The kernel takes some megabytes for it, then the buffer fills; afterwards the newest arrive."""
    sink = closing(Mqtt(options(broker.port, buffer_messages=50, keepalive_s=60), bundle, backoff=quick()))
    until(lambda: sink.lost is None)
    item = live_item(name="x" * 190)
    with Reader(broker.port) as reader:
        broker.pause()
        start_s, written = perf_counter(), 0
        while sink.dropped < 100:
            sink.write(item, ONE)
            written += 1
            assert perf_counter() - start_s < 18, f"nothing was dropped of {written}"
        assert len(sink._link._backlog) <= 50
        took_s = perf_counter() - start_s
        assert took_s / written < 2e-3
        broker.go_on()
        sink.write(live_item(4711), ONE)
        until(lambda: reader.of("jetpose/cam/poses"))
        assert frames_of(reader.of("jetpose/cam/poses"))[-1] == 4711


def test_a_hung_broker_is_lost_after_the_keepalive(
    broker: Broker, bundle: Bundle, closing: Callable[[Mqtt], Mqtt]
) -> None:
    sink = closing(Mqtt(options(broker.port, keepalive_s=1, qos=1), bundle, backoff=quick()))
    until(lambda: sink.lost is None)
    broker.pause()
    start_s = monotonic()
    until(lambda: sink.lost)
    assert monotonic() - start_s < 2 * 1 + 1.5
    broker.go_on()
    until(lambda: sink.lost is None)


def test_a_paused_broker_does_not_hold_up_the_end(broker: Broker, bundle: Bundle) -> None:
    sink = Mqtt(options(broker.port, qos=1), bundle)
    until(lambda: sink.lost is None)
    broker.pause()
    sink.write(live_item(), ONE)
    start_s = perf_counter()
    sink.close()
    assert perf_counter() - start_s < 3
    broker.go_on()


# ---- who may connect ---------------------------------------------------------------------------------------------


def credentials(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return str(path)


def test_credentials(tmp_path: Path, bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    """A wrong password is told and tried again; a right one put into the file is taken without a restart."""
    passwords = tmp_path / "passwords"
    made = subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "pose", "right"], capture_output=True)
    assert made.returncode == 0, made.stderr
    passwords.chmod(0o600)
    with Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        file = credentials(tmp_path / "secret", "pose", "wrong")
        sink = closing(Mqtt(options(broker.port, credentials_file=file), bundle, backoff=quick()))
        until(lambda: sink.lost and "refuses" in sink.lost)
        assert sink.lost == f"127.0.0.1:{broker.port}: the broker refuses: Not authorized"
        credentials(tmp_path / "secret", "pose", "right")
        until(lambda: sink.lost is None)


def test_files_that_cannot_be_used(tmp_path: Path, bundle: Bundle) -> None:
    secret = Path(credentials(tmp_path / "secret", "pose", "word"))
    for change, others, words in (
        (lambda: secret.chmod(0o644), {"credentials_file": str(secret)}, "everybody may read this secret; chmod 600"),
        (lambda: credentials(secret, "pose"), {"credentials_file": str(secret)}, "got 1 lines, wanted two"),
        (lambda: secret.write_bytes(b"\xff\n\xff"), {"credentials_file": str(secret)}, "no UTF-8"),
        (lambda: secret.write_bytes(b"a" * 70000), {"credentials_file": str(secret)}, "over 65536 bytes"),
        (secret.unlink, {"credentials_file": str(secret)}, "No such file"),
        (lambda: None, {"credentials_file": "/dev/zero"}, "plain file"),
        (lambda: None, {"tls": True, "ca_file": str(secret)}, "No such file"),
        (lambda: credentials(secret, "no key"), {"tls": True, "ca_file": str(secret)}, "cannot use it for TLS"),
        (lambda: None, {"tls": True, "cert_file": str(secret), "key_file": str(secret)}, "cannot use it for TLS"),
        (lambda: secret.chmod(0o644), {"tls": True, "cert_file": str(secret), "key_file": str(secret)}, "everybody"),
    ):
        change()
        with pytest.raises(SinkError, match=words):
            Mqtt(options(1883, **others), bundle)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"qos": 3}, "qos"),
        ({"port": 0}, "port"),
        ({"prefix": "a/#"}, "prefix"),
        ({"prefix": "/a"}, "prefix"),
        ({"prefix": "$SYS"}, "prefix"),
        ({"ca_file": "a.pem"}, "tls = true"),
        ({"tls": True, "cert_file": "a.pem"}, "belong together"),
        ({"password": "x"}, "unknown field"),
        ({"buffer_messages": 0}, "buffer_messages"),
        ({"max_rate_hz": 0.0}, "max_rate_hz"),
    ],
)
def test_options_that_do_not_go(others: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        options(1883, **others)


def certificates(folder: Path) -> None:
    """An authority, a server certificate for `localhost` and a client's."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.timezone.utc)
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    for name in ("ca", "server", "client"):
        key = ca_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        ca_name = subject if name == "ca" else ca_name
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
        usage = x509.KeyUsage(True, False, False, False, False, name == "ca", name == "ca", False, False)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(name == "ca", None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )  # fmt: skip
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / f"{name}.key").chmod(0o600)


@pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket")  # paho leaves it to be freed, not closed
def test_tls(tmp_path: Path, bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    certificates(tmp_path)
    ca, own = str(tmp_path / "ca.crt"), {n: str(tmp_path / f"client.{n}") for n in ("crt", "key")}
    rules = (
        f"cafile {ca}",
        f"certfile {tmp_path}/server.crt",
        f"keyfile {tmp_path}/server.key",
        "allow_anonymous true",
    )
    with Broker(tmp_path, *rules, "require_certificate true") as broker:
        good = {"host": "localhost", "tls": True, "ca_file": ca, "cert_file": own["crt"], "key_file": own["key"]}
        with Reader(broker.port, ca_certs=ca, certfile=own["crt"], keyfile=own["key"]) as reader:
            with Mqtt(options(broker.port, **good, qos=1), bundle) as sink:
                for i in range(50):
                    sink.write(live_item(i), ONE)
            until(lambda: frames_of(reader.of("jetpose/cam/poses")) == list(range(50)))
        for bad, words in (
            (good | {"ca_file": None}, "certificate verify failed"),
            (good | {"host": "127.0.0.1"}, "certificate verify failed|IP address mismatch"),
            ({"host": "localhost"}, "connection"),
        ):
            sink = closing(Mqtt(options(broker.port, **bad), bundle, backoff=quick()))
            until(lambda sink=sink: sink.lost and "not connected yet" not in sink.lost)
            assert re.search(words, sink.lost or ""), sink.lost


# ---- peers that are no brokers -----------------------------------------------------------------------------------

GARBAGE = {
    "random": random.Random(0).randbytes(4096),
    "zeros": bytes(1000),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a packet of 256 MiB": b"\x20\xff\xff\xff\x7f" + bytes(1 << 17),
    "a length without end": b"\x20\xff\xff\xff\xff\xff\xff",
    "an empty CONNACK": b"\x20\x00",
    "a CONNACK of an unknown code": b"\x20\x02\x00\x77",
    "a good CONNACK, then a PUBACK cut short": b"\x20\x02\x00\x00\x40\x00",
    "a good CONNACK, then a PUBLISH of nonsense": b"\x20\x02\x00\x00\x32\x03\xff\xff\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_peer_that_answers_nonsense(kind: str, bundle: Bundle) -> None:
    """It is tried again for ever, and neither the run nor its end is held up."""
    tries = []

    class Peer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tries.append(True)
            self.request.recv(4096)
            with contextlib.suppress(OSError):
                self.request.sendall(GARBAGE[kind])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Peer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        outlet = Outlet(
            "mqtt",
            lambda: Mqtt(options(server.server_address[1], qos=1, buffer_messages=10), bundle, backoff=quick()),
            live=True,
        )
        for i in range(50):
            outlet.put(live_item(i), ONE)
        until(lambda: len(tries) >= 3)
        outlet.raise_if_failed()
        start_s = perf_counter()
        assert outlet.stop(5)
        assert perf_counter() - start_s < 3
        server.shutdown()


def test_a_peer_that_says_nothing_does_not_hold_up_the_end(bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = Mqtt(options(server.getsockname()[1]), bundle)
        with server.accept()[0]:
            sink.write(live_item(), ONE)
            start_s = perf_counter()
            sink.close()
            assert perf_counter() - start_s < 3


# ---- topics and rate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "topic"),
    [
        ("cam", "p/cam/poses"),
        ("hall 1", "p/hall 1/poses"),
        ("rtsp://host/a+b#c", "p/rtsp:__host_a_b_c/poses"),
        ("a\0b\nc\udcffd", "p/a_b_c_d/poses"),
        ("", "p/_/poses"),
        ("ü" * 300, "p/" + "ü" * 200 + "/poses"),
    ],
)
def test_topics(source: str, topic: str) -> None:
    assert topic_of("p", source) == topic


def test_a_rate_is_kept_for_each_source(bundle: Bundle, closing: Callable[[Mqtt], Mqtt]) -> None:
    now_s = [0.0]
    sink = closing(Mqtt(options(free_port(), max_rate_hz=10.0), bundle, clock=lambda: now_s[0]))
    for i in range(300):  # ten seconds at 30 Hz
        now_s[0] = i / 30
        sink.write(live_item(i, name="a"), ONE)
        if i % 6 == 0:
            sink.write(live_item(i, name="b"), ONE)
    topics = [topic for topic, _ in sink._link._backlog._messages]
    assert topics.count("jetpose/a/poses") == pytest.approx(100, abs=1)
    assert topics.count("jetpose/b/poses") == 50
    assert sink.dropped == 0


def test_no_paho(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pose_runtime.sinks.mqtt_link", None)
    with pytest.raises(SinkError, match=r"pip install 'jetpose\[live\]'"):
        Mqtt(options(1883), bundle)
