"""A service's words to systemd: the datagrams of sd_notify(3). Without systemd ($NOTIFY_SOCKET) nothing is sent."""

from __future__ import annotations

import logging
import os
import socket
import time

_LOG = logging.getLogger(__name__)

_SEND_S = 1.0  # a manager that does not read must not hold a live run up
_MAX_STATUS = 500  # characters; systemctl shows one line


def ready(status: str = "") -> bool:
    """Started, or done with reloading. Whether it was sent, like all below."""
    return _send("READY=1", *_status(status))


def reloading(status: str = "") -> bool:
    """The configuration is being read anew; `ready` ends it."""
    return _send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", *_status(status))


def stopping(status: str = "") -> bool:
    """On the way out."""
    return _send("STOPPING=1", *_status(status))


def status(text: str) -> bool:
    """A line for `systemctl status`."""
    return _send(*_status(text))


def feed_watchdog() -> bool:
    """Alive: nothing happens for another WatchdogSec."""
    return _send("WATCHDOG=1")


def trigger_watchdog(why: str) -> bool:
    """Stuck: systemd does now what it does when WatchdogSec is over."""
    return _send("WATCHDOG=trigger", *_status(why))


def _status(text: str) -> list[str]:
    line = " ".join(text.split())
    return [f"STATUS={line[:_MAX_STATUS]}"] if line else []


def _send(*assignments: str) -> bool:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    if path[0] not in "/@":
        _LOG.debug("NOTIFY_SOCKET=%s: neither a path nor an abstract name; systemd hears nothing", path)
        return False
    address = b"\0" + os.fsencode(path[1:]) if path[0] == "@" else os.fsencode(path)
    message = "\n".join(assignments).encode("utf-8", "replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_S)
            sender.sendto(message, address)
    except OSError as error:
        _LOG.warning("systemd does not hear %s: %s", assignments[0], error)
        return False
    return True
