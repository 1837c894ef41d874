"""The small parts of a live run: mailbox, pulse, back-off."""

from __future__ import annotations

import threading
from random import Random

import pytest

from pose_runtime.live.backoff import Backoff
from pose_runtime.live.mailbox import Closed, Mailbox
from pose_runtime.live.pulse import Pulse


def test_a_mailbox_keeps_the_newest() -> None:
    box: Mailbox[int] = Mailbox()
    for value in range(5):
        box.put(value)
    assert (box.take(), box.dropped, box.take(0.0)) == (4, 4, None)


def test_a_queue_drops_nothing() -> None:
    box: Mailbox[int] = Mailbox(2, drops=False)

    def fill() -> None:
        for value in range(100):
            box.put(value)
        box.close()

    writer = threading.Thread(target=fill)
    writer.start()
    assert [box.take(10.0) for _ in range(100)] == list(range(100))
    writer.join(10.0)
    with pytest.raises(Closed):
        box.take()
    assert box.dropped == 0


def test_closing_frees_who_waits() -> None:
    box: Mailbox[int] = Mailbox(1, drops=False)
    box.put(1)
    ended = []

    def wait() -> None:
        with pytest.raises(Closed):
            box.put(2)
        ended.append(True)

    writer = threading.Thread(target=wait)
    writer.start()
    box.close()
    writer.join(5)
    assert ended == [True]
    assert box.take() == 1
    with pytest.raises(Closed):
        box.take()


def test_only_work_can_be_stuck() -> None:
    now_s = [0.0]
    pulse = Pulse("engine", 2.0, lambda: now_s[0])
    now_s[0] = 100.0
    assert pulse.alive
    with pulse.working():
        now_s[0] = 102.0
        assert pulse.alive
        now_s[0] = 102.1
        assert not pulse.alive
        assert pulse.busy_s == pytest.approx(2.1)
    assert pulse.alive


def test_back_off_doubles_up_to_its_bound() -> None:
    backoff = Backoff(1.0, 8.0, Random(1))
    waits = [backoff.next_s() for _ in range(6)]
    for wait_s, bound_s in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert bound_s / 2 <= wait_s <= bound_s
    backoff.reset()
    assert backoff.next_s() <= 1.0
