"""What a service tells systemd, and its log; against sockets that play systemd and journald."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_runtime.service import journal, notify
from pose_runtime.service.watchdog import Watchdog, watchdog_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with _bound(str(tmp_path / "notify")) as heard:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def _bound(address: str | bytes) -> socket.socket:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(address)
    heard.settimeout(10.0)
    return heard


def test_words_to_systemd(manager: socket.socket) -> None:
    assert notify.ready("3 sources\nno camera")
    assert manager.recv(4096) == b"READY=1\nSTATUS=3 sources no camera"
    before = time.monotonic_ns() // 1000
    assert notify.reloading()
    word, moment = manager.recv(4096).decode().split("\n")
    assert word == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert notify.stopping("bye")
    assert manager.recv(4096) == b"STOPPING=1\nSTATUS=bye"
    assert notify.status("x" * 10_000)
    assert len(manager.recv(65536)) < 1000


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"jetpose-test-{os.getpid()}"
    with _bound(b"\0" + name.encode()) as heard:
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify.ready()
        assert heard.recv(4096) == b"READY=1"


@pytest.mark.parametrize("path", ["", "vsock:2:1234", "/nowhere/notify"])
def test_nobody_hears(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert not notify.ready()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    start = time.monotonic()
    while notify.status("x" * 400):  # until its queue is full
        assert time.monotonic() - start < 10.0
    assert time.monotonic() - start < 10.0


def test_whose_watchdog() -> None:
    assert watchdog_s({}) is None
    assert watchdog_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}) == 3.0
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}) is None
    assert watchdog_s({"WATCHDOG_USEC": "soon"}) is None


def test_fed_while_alive_and_triggered_when_stuck(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "90000")
    alive = threading.Event()
    alive.set()
    with Watchdog(alive.is_set, lambda: "the engine is"):
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        alive.clear()
        while (word := manager.recv(4096)) == b"WATCHDOG=1":
            pass
        assert word == b"WATCHDOG=trigger\nSTATUS=stuck: the engine is"
        alive.set()  # too late
        manager.settimeout(0.2)
        with pytest.raises(TimeoutError):
            manager.recv(4096)


def test_a_question_that_fails_is_no_sign_of_life(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "90000")

    def alive() -> bool:
        raise ValueError("no idea")

    with Watchdog(alive):
        word = manager.recv(4096)
    assert word.startswith(b"WATCHDOG=trigger\nSTATUS=stuck: ")
    assert word.endswith(b"ValueError: no idea")


def test_nobody_watches(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    with Watchdog(lambda: False):
        manager.settimeout(0.1)
        with pytest.raises(TimeoutError):
            manager.recv(4096)


def _fields(datagram: bytes) -> dict[str, str]:
    """Reads the journal's protocol, as its description says."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, datagram = rest[8 : 8 + length], rest[8 + length + 1 :]
            assert rest[8 + length : 8 + length + 1] == b"\n"
        else:
            datagram = rest
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[tuple[socket.socket, logging.Logger]]:
    logger = logging.getLogger("test-of-the-journal")
    logger.propagate = False
    with _bound(str(tmp_path / "journal")) as heard:
        handler = journal.JournalHandler(str(tmp_path / "journal"))
        logger.addHandler(handler)
        yield heard, logger
        logger.removeHandler(handler)
        handler.close()


def test_a_record_has_fields(journald: tuple[socket.socket, logging.Logger]) -> None:
    heard, logger = journald
    logger.warning("%s is lost", "camera", extra={"source": "door", "bad name": 1, "tries": 3})
    fields = _fields(heard.recv(1 << 20))
    assert fields["MESSAGE"] == "camera is lost"
    assert fields["PRIORITY"] == "4"
    assert fields["LOGGER"] == logger.name
    assert fields["CODE_FILE"] == __file__
    assert fields["CODE_FUNC"] == "test_a_record_has_fields"
    assert int(fields["CODE_LINE"]) > 0
    assert {name: value for name, value in fields.items() if name.startswith("JETPOSE_")} == {
        "JETPOSE_SOURCE": "door",
        "JETPOSE_TRIES": "3",
    }


def test_no_field_is_forged_and_tracebacks_are_one_record(journald: tuple[socket.socket, logging.Logger]) -> None:
    heard, logger = journald
    try:
        raise ValueError("a\nPRIORITY=0")
    except ValueError:
        logger.exception("it broke:\nUNIT=other", extra={"source": "x\nPRIORITY=1"})
    fields = _fields(heard.recv(1 << 20))
    assert fields["PRIORITY"] == "3"
    assert "UNIT" not in fields
    assert fields["MESSAGE"].startswith("it broke:\nUNIT=other\nTraceback")
    assert fields["JETPOSE_SOURCE"] == "x\nPRIORITY=1"


def test_long_messages_lose_their_middle(journald: tuple[socket.socket, logging.Logger]) -> None:
    heard, logger = journald
    logger.error("begin " + "ü" * 1_000_000 + " end")
    message = _fields(heard.recv(1 << 22))["MESSAGE"]
    assert message.startswith("begin ")
    assert message.endswith(" end")
    assert "characters left out" in message
    assert len(message.encode()) < 50_000


def test_a_journal_that_does_not_read_holds_nobody_up(
    journald: tuple[socket.socket, logging.Logger],
) -> None:
    heard, logger = journald
    start = time.monotonic()
    for _ in range(2000):
        logger.error("x" * 1000)
    assert time.monotonic() - start < 10.0
    heard.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while heard.recv(1 << 20):
            pass
    heard.settimeout(10.0)
    logger.error("again")
    assert 0 < int(_fields(heard.recv(1 << 20))["JETPOSE_LOST"]) < 2000


def test_standard_error_is_the_journal_only_if_it_is_that_file() -> None:
    there = os.fstat(sys.__stderr__.fileno())
    code = "from pose_runtime.service import journal; print(journal.stderr_is_journal())"
    right = {**os.environ, "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
    args = [sys.executable, "-c", code]
    stderr = sys.__stderr__.fileno()
    assert subprocess.run(args, env=right, stdout=-1, stderr=stderr, text=True, check=True).stdout == "True\n"
    assert subprocess.run(args, env=right, stdout=-1, stderr=-1, text=True, check=True).stdout == "False\n"
    assert not journal.stderr_is_journal({})
    assert not journal.stderr_is_journal({"JOURNAL_STREAM": "x:y"})


def test_plain_lines_without_a_journal() -> None:
    code = (
        "import logging; from pose_runtime.service import journal; journal.setup_logging();"
        "logging.getLogger('a').info('started'); logging.getLogger('a').warning('lost', extra={'source': 'door'})"
    )
    env = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == "started\nwarning: lost\n"
