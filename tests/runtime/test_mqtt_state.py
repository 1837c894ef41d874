"""A device's state on a real broker: it is there, retained, and right again after whatever happens to the broker."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tiny
from live import FakeCamera
from live_items import ONE, live_item
from pages import status
from peers.mosquitto import Broker, Reader, free_port, until
from pose_runtime import open_pipeline
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.config import load_config
from pose_runtime.live import build
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.build import open_run
from pose_runtime.live.served import Served
from pose_runtime.live.status import Status
from pose_runtime.sinks.mqtt import Mqtt, MqttOptions, device_state
from pose_runtime.store.proof import prove_bundle

pytest.importorskip("paho.mqtt")

_DEVICES = 200


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.write(tmp_path / "tiny.pose")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


def device(port: int, bundle: Bundle, state: Callable[[], Status], **more: Any) -> Mqtt:
    options = MqttOptions(host="127.0.0.1", port=port, **more)
    return Mqtt(options, bundle, "reference", status=state)


def states(reader: Reader, prefix: str = "jetpose") -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in reader.of(f"{prefix}/state")]


def test_what_a_state_says() -> None:
    before = time.time()
    said = json.loads(device_state(status()))
    assert before - 1 <= said.pop("unix_s") <= time.time() + 1
    assert said == json.loads(msgspec.json.encode(status()))
    assert (said["digest"], said["engine"], said["check"]) == ("5ca1ab1e", None, {"worst_oks": 0.97, "min_oks": 0.9})
    assert [(one["metric"], one["value"]) for one in said["accuracy"]] == [("AP", 61.2)]
    assert (said["fps"], said["latency_ms"]["p95"], said["age_ms"]["p95"]) == (14.9, 30.0, 60.0)
    assert (said["sources"][0]["dropped"], said["sinks"][0]["dropped"]) == (12, 5)
    assert (said["watts"], said["temperature_c"]) == ({"VDD_IN": 7.464}, 51.5)
    assert said["throttled"] == ["cpu-throttle-alert"]


def test_the_newest_state_is_retained_and_comes_at_its_rate(broker: Broker, bundle: Bundle) -> None:
    now_s, frames = [0.0], [0]
    options = MqttOptions(host="127.0.0.1", port=broker.port, state_s=5.0)
    state = lambda: status(frames=frames[0])  # noqa: E731
    with Mqtt(options, bundle, status=state, clock=lambda: now_s[0]) as sink, Reader(broker.port) as reader:
        until(lambda: sink.lost is None)
        for second in range(11):
            now_s[0], frames[0] = float(second), second
            sink.write(live_item(second), ONE)  # results come ...
            sink.idle()  # ... or none
            if second % 5 == 0:
                until(lambda wanted=second: states(reader) and states(reader)[-1]["frames"] == wanted)
        assert [said["frames"] for said in states(reader)] == [0, 5, 10]
        sink.renew(bundle, "reference")  # another bundle: at once
        frames[0] = 11
        sink.idle()
        until(lambda: states(reader)[-1]["frames"] == 11)
    with Reader(broker.port) as late:
        until(lambda: len(late.messages) == 3)
        assert all(retained for _, _, retained in late.messages)
        assert (states(late)[0]["frames"], late.of("jetpose/status")) == (11, [b"offline"])


def test_without_a_status_there_is_no_state(broker: Broker, bundle: Bundle) -> None:
    options = MqttOptions(host="127.0.0.1", port=broker.port)
    with Reader(broker.port) as reader, Mqtt(options, bundle) as sink:
        sink.idle()
        sink.write(live_item(), ONE)
        until(lambda: reader.of("jetpose/cam/poses") and reader.of("jetpose/header"))
        assert states(reader) == []


def test_an_absent_broker_gets_the_newest_state_only(tmp_path: Path, bundle: Bundle) -> None:
    broker, frames = Broker(tmp_path), [0]
    options = MqttOptions(host="127.0.0.1", port=broker.port)
    state = lambda: status(frames=frames[0])  # noqa: E731
    clock = iter(range(0, 10_000, 10)).__next__
    sink = Mqtt(options, bundle, status=state, backoff=Backoff(0.05, 0.2), clock=lambda: float(clock()))
    for i in range(100):
        frames[0] = i
        sink.idle()
    with broker, Reader(broker.port) as reader:
        until(lambda: states(reader))
        sink.close()
        assert [said["frames"] for said in states(reader)] == [99]
        assert sink.dropped == 0


def test_a_late_will_of_a_lost_connection_does_not_stay(broker: Broker, bundle: Bundle) -> None:
    """After a cut line the broker may hear the old connection die when the new one stands."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    former = mqtt.Client(CallbackAPIVersion.VERSION2)
    former.will_set("jetpose/status", "offline", retain=True)
    former.connect("127.0.0.1", broker.port)
    former.loop_start()
    until(former.is_connected)
    sink = device(broker.port, bundle, status, state_s=1.0)
    with Reader(broker.port) as reader:
        until(lambda: reader.of("jetpose/status") == [b"online"])
        connection = former.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        until(lambda: b"offline" in reader.of("jetpose/status"))

        def is_online() -> bool:
            sink.idle()
            return reader.of("jetpose/status")[-1] == b"online"

        until(is_online)
    former.loop_stop()
    sink.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_fleet_is_right_within_ten_seconds_of_its_brokers_return(tmp_path: Path, bundle: Bundle) -> None:
    """200 devices, and a broker that forgets everything when it is killed; away once for a moment, once for long."""
    with contextlib.ExitStack() as opened:
        broker = opened.enter_context(Broker(tmp_path))
        frames = dict.fromkeys(range(_DEVICES), 0)

        def one(i: int) -> Mqtt:
            return device(
                broker.port, bundle, lambda: status(bundle=f"{i}.pose", frames=frames[i]), prefix=f"fleet/{i}"
            )

        fleet = [one(i) for i in range(_DEVICES)]
        opened.callback(lambda: [sink.abandon() for sink in fleet])

        def tick(seconds: float) -> None:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                for sink in fleet:
                    sink.idle()
                time.sleep(0.1)

        def right(reader: Reader) -> bool:
            tick(0.1)
            newest = {topic: payload for topic, payload, _ in list(reader.messages)}
            return all(
                newest.get(f"fleet/{i}/status") == b"online"
                and (said := newest.get(f"fleet/{i}/state")) is not None
                and (json.loads(said)["bundle"], json.loads(said)["frames"]) == (f"{i}.pose", frames[i])
                for i in range(_DEVICES)
            )

        with Reader(broker.port) as reader:
            until(lambda: right(reader), 10)
        for away_s in (1.0, 30.0):
            broker.kill()
            tick(away_s)
            for i in frames:
                frames[i] += 1 + i  # what a device said before is wrong now
            broker.start()
            back_s = time.monotonic()
            with Reader(broker.port) as reader:
                until(lambda reader=reader: right(reader), 10)
            print(f"away for {away_s:.0f} s: all right {time.monotonic() - back_s:.1f} s after the broker's return")
        assert {sink.dropped for sink in fleet} == {0}


def test_options(bundle: Bundle) -> None:
    assert MqttOptions(host="a").state_s == 5.0
    for wrong in (0.5, 4000.0):
        with pytest.raises(msgspec.ValidationError, match="state_s"):
            msgspec.convert({"host": "a", "port": free_port(), "state_s": wrong}, MqttOptions)


def test_a_live_run_publishes_its_own_state(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a camera to the topic: what runs, what it gave on the check frames, and how fast it is."""
    bundle, cache = load_bundle("lightweight-tiny"), tmp_path / "cache"
    (check,) = prove_bundle(bundle, "cpu", graph="reference", cache=cache)
    monkeypatch.setattr(build, "open_live", lambda options: FakeCamera(options.title, 20.0))
    mqtt = {"host": "127.0.0.1", "port": broker.port, "prefix": "fleet/a", "state_s": 1.0}
    config = load_config(None, {"source": [{"address": "camera:0", "name": "door"}], "mqtt": mqtt})
    run = open_run(config, Served(bundle, open_pipeline(bundle, "cpu", graph="reference", cache=cache)))
    with Reader(broker.port) as reader:
        run.start()
        try:
            until(lambda: any(said["frames"] for said in states(reader, "fleet/a")))
        finally:
            run.close()
        said = states(reader, "fleet/a")[-1]
    assert (said["bundle"], said["digest"], said["graph"]) == (bundle.path.name, bundle.digest, "reference")
    assert said["check"] == {"worst_oks": check.worst_oks, "min_oks": check.min_oks}
    assert said["accuracy"] == json.loads(msgspec.json.encode(bundle.manifest.graphs["reference"].accuracy))
    assert (said["device"], said["engine"]) == ("cpu", None)
    assert said["latency_ms"]["p95"] > 0
    assert said["age_ms"]["p95"] > 0
    assert [(source["name"], source["state"]) for source in said["sources"]] == [("door", "live")]
    assert abs(said["unix_s"] - time.time()) < 60
