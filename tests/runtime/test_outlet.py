"""Outlets: a sink that is slow, fails, hangs or ends holds up nobody, and a file run loses nothing."""

from __future__ import annotations

import logging
import threading
from random import Random

import pytest

from live_items import ONE, live_item
from peers.mosquitto import until
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import SinkError
from pose_runtime.live.backoff import Backoff
from pose_runtime.live.outlet import Outlet
from pose_runtime.manifest import GraphRole
from pose_runtime.poses import Poses
from pose_runtime.sinks import Sink
from pose_runtime.sources import Item


class Told(Sink):
    """Fails as long as it is told to, and writes only while its gate is open."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.opens = self.closes = self.abandons = self.idles = 0
        self.threads: set[int] = set()
        self.renewals: list[str | None] = []

    def open(self) -> Told:
        self.opens += 1
        self.threads.add(threading.get_ident())
        if self.fault:
            raise self.fault
        return self

    def write(self, item: Item, poses: Poses) -> None:
        self.threads.add(threading.get_ident())
        self.gate.wait(20)
        if self.fault:
            raise self.fault
        self.written.append(item.index)

    def renew(self, bundle: Bundle, graph: GraphRole | None) -> None:
        self.renewals.append(graph)

    def idle(self) -> None:
        self.idles += 1

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closes += 1

    def abandon(self) -> None:
        self.abandons += 1


def quick() -> Backoff:
    return Backoff(0.02, 0.05, Random(0))


@pytest.mark.parametrize("live", [False, True])
def test_all_is_written_in_one_thread(live: bool) -> None:
    sink = Told()
    with Outlet("told", sink.open, live=live, capacity=100) as outlet:
        for i in range(50):
            outlet.put(live_item(i), ONE)
    assert sink.written == list(range(50))
    assert (sink.opens, sink.closes, sink.abandons, len(sink.threads)) == (1, 1, 0, 1)
    assert threading.get_ident() not in sink.threads
    status = outlet.status()
    assert (status.name, status.state, status.written, status.dropped) == ("told", "ended", 50, 0)


def test_a_slow_sink_drops_the_oldest() -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=True, capacity=4)
    sink.gate.clear()
    outlet.put(live_item(0), ONE)
    until(lambda: outlet.pulse.busy_s > 0)
    for i in range(1, 100):
        outlet.put(live_item(i), ONE)  # never waits
    sink.gate.set()
    assert outlet.stop(10)
    assert sink.written == [0, 96, 97, 98, 99]
    assert outlet.status().dropped == 95


def test_a_file_run_waits_for_a_slow_sink() -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=False, capacity=2)
    sink.gate.clear()

    def fill() -> None:
        for i in range(30):
            outlet.put(live_item(i), ONE)

    filling = threading.Thread(target=fill)
    filling.start()
    filling.join(0.2)
    assert filling.is_alive()
    sink.gate.set()
    filling.join(10)
    outlet.stop()
    outlet.raise_if_failed()
    assert sink.written == list(range(30))


def test_a_lost_sink_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it is lost, one when it is back, however often it was tried."""
    caplog.set_level(logging.INFO, "pose_runtime")
    sink = Told()
    with Outlet("told", sink.open, live=True, backoff=quick()) as outlet:
        outlet.put(live_item(0), ONE)
        until(lambda: sink.written == [0])
        sink.fault = SinkError("the disk is full")
        for i in range(1, 11):
            outlet.put(live_item(i), ONE)
            until(lambda: not len(outlet._box))
        until(lambda: sink.opens >= 5)
        status = outlet.status()
        assert (status.state, status.error) == ("lost", "the disk is full")
        assert (status.written, status.dropped) == (1, 10)
        assert outlet.pulse.alive
        sink.fault = None
        until(lambda: sink.abandons and outlet._sink is not None)
        outlet.put(live_item(11), ONE)
        until(lambda: outlet.status().state == "working")
    assert sink.written == [0, 11]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0] == "told: lost, and tried again until it is back: the disk is full"
    assert lines[1].startswith("told: back after ")
    assert lines[1].endswith("results dropped meanwhile: 10")


def test_a_sink_that_opens_but_cannot_write_stays_lost(caplog: pytest.LogCaptureFixture) -> None:
    """As on a full disk: it is said once, and tried less and less often."""
    sink = Told()

    def open_always() -> Sink:
        sink.opens += 1
        return sink

    sink.fault = SinkError("full")
    with Outlet("told", open_always, live=True, backoff=quick()) as outlet:
        for i in range(20):
            outlet.put(live_item(i), ONE)
            until(lambda: not len(outlet._box))
        until(lambda: outlet._sink is not None)
        outlet.put(live_item(20), ONE)
        until(lambda: sink.opens >= 3)
        assert outlet.status().state == "lost"
    assert len(caplog.records) == 1


def test_it_stops_while_it_is_lost() -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=True, backoff=Backoff(1000, 1000))
    sink.fault = SinkError("gone")
    outlet.put(live_item(), ONE)
    until(lambda: outlet.status().state == "lost")
    assert outlet.stop(5)
    outlet.raise_if_failed()


def test_a_file_runs_error_reaches_the_caller() -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=False, capacity=1)
    sink.fault = SinkError("the disk is full")

    def fill() -> None:
        for i in range(10):
            outlet.put(live_item(i), ONE)

    with pytest.raises(SinkError, match="the disk is full"):
        fill()
    assert outlet.stop(5)
    assert (sink.closes, sink.abandons, sink.opens) == (0, 1, 1)
    with pytest.raises(SinkError, match="the disk is full"):
        outlet.raise_if_failed()


@pytest.mark.parametrize("live", [False, True])
def test_a_sink_that_cannot_be_opened_at_the_start_is_the_users_error(live: bool) -> None:
    sink = Told()
    sink.fault = SinkError("no such folder")
    with pytest.raises(SinkError, match="no such folder"):
        Outlet("told", sink.open, live=live)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), BrokenPipeError()])
def test_what_nobody_expects_ends_a_live_run(error: Exception) -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=True)
    sink.fault = error
    outlet.put(live_item(), ONE)
    until(lambda: outlet.status().state == "ended")
    with pytest.raises(type(error)):
        outlet.raise_if_failed()
    with pytest.raises(type(error)):
        outlet.put(live_item(), ONE)


def test_a_closed_window_ends_the_run() -> None:
    sink = Told()
    with Outlet("window", sink.open, live=True) as outlet:
        until(lambda: sink.idles > 1)  # keys are seen to without frames too
        sink.finished = True
        until(lambda: outlet.finished and outlet.status().state == "ended")
        outlet.put(live_item(), ONE)
    assert (sink.written, sink.closes) == ([], 1)


def test_a_stuck_write_shows_and_does_not_hold_up_the_end() -> None:
    sink = Told()
    outlet = Outlet("told", sink.open, live=True, most_s=0.05)
    sink.gate.clear()
    for i in range(3):
        outlet.put(live_item(i), ONE)
    until(lambda: not outlet.pulse.alive)
    assert not outlet.stop(0.05)
    sink.gate.set()
    outlet._thread.join(10)
    assert (sink.written, sink.closes, sink.abandons) == ([0], 0, 1)
    assert outlet.status().dropped == 2


def test_an_error_elsewhere_abandons() -> None:
    sink = Told()

    def fail() -> None:
        with Outlet("told", sink.open, live=False):
            raise KeyError("elsewhere")

    with pytest.raises(KeyError):
        fail()
    assert (sink.closes, sink.abandons) == (0, 1)


def test_it_hears_of_another_bundle() -> None:
    sink = Told()
    with Outlet("told", sink.open, live=True) as outlet:
        outlet.put(live_item(0), ONE)
        until(lambda: sink.written)
        outlet.renew(load_bundle(), "reference")
        until(lambda: sink.renewals == ["reference"])
        outlet.put(live_item(1), ONE)
    assert (sink.written, sink.opens, sink.closes) == ([0, 1], 1, 1)


def test_a_sink_that_looks_after_itself_is_lost_too() -> None:
    sink = Told()
    with Outlet("mqtt", sink.open, live=True, capacity=10) as outlet:
        for i in range(5):
            outlet.put(live_item(i), ONE)
        until(lambda: len(sink.written) == 5)
        sink.lost, sink.dropped = "refused", 3
        status = outlet.status()
        assert (status.state, status.error, status.written, status.dropped) == ("lost", "refused", 2, 3)
        sink.lost = None
        assert outlet.status().state == "working"
    assert outlet.status().dropped == 3
