"""The log of a service: journald's own protocol with fields where standard error is the journal, else plain lines.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a datagram of fields, `NAME=value\\n`; a value with line breaks is
`NAME\\n`, its length in bytes as uint64 little endian, the value, `\\n`.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = "/run/systemd/journal/socket"

_MOST = 16 * 1024  # characters of a message; far below what a datagram holds, so none is refused for its size
_MOST_FIELDS, _MOST_EXTRA = 16, 1024  # from `extra=`, and characters of each
_NAME = re.compile(r"[A-Z0-9_]{1,56}")  # 64 with the prefix, journald's bound
_PREFIX = "JETPOSE_"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup_logging(level: int = logging.INFO) -> None:
    """Let every logger of this process write to the journal with fields if standard error goes there, else plain lines
    to standard error."""
    handler: logging.Handler
    if stderr_is_journal():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether $JOURNAL_STREAM (device:inode) names what standard error is; a child with a redirected one differs."""
    try:
        device, inode = environ.get("JOURNAL_STREAM", "").split(":")
        there = os.fstat(sys.stderr.fileno())
        return (there.st_dev, there.st_ino) == (int(device), int(inode))
    except (ValueError, OSError, AttributeError):  # not set, no number, closed, or no file
        return False


class PlainFormatter(logging.Formatter):
    """`message`, or `warning: message` where there is something to say of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text


class JournalHandler(logging.Handler):
    """Sends records with fields: MESSAGE, PRIORITY, LOGGER, THREAD, CODE_FILE, CODE_LINE, CODE_FUNC, SYSLOG_IDENTIFIER,
    and what a caller gives in `extra=`: {"source": "door"} becomes JETPOSE_SOURCE=door.

    Never waits: where journald does not read, records are lost and counted, and the count is told with the next one.

    Args:
        path: of journald's socket.
    """

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter())
        self._path = path
        self._identifier = Path(sys.argv[0]).name or "jetpose"
        self._lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """One datagram."""
        try:
            fields = self._fields(record)
        except Exception:  # a message that does not fit its arguments; logging says so
            self.handleError(record)
            return
        try:
            self._socket.sendto(b"".join(_encoded(name, value) for name, value in fields.items()), self._path)
            self._lost = 0
        except OSError:
            self._lost += 1

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            "THREAD": record.threadName or "",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        if self._lost:
            fields[f"{_PREFIX}LOST"] = str(self._lost)
        extra = ((name.upper(), value) for name, value in vars(record).items() if name not in _STANDARD)
        named = [(name, value) for name, value in extra if _NAME.fullmatch(name)]
        return fields | {_PREFIX + name: str(value)[:_MOST_EXTRA] for name, value in named[:_MOST_FIELDS]}


def _priority(level: int) -> int:
    """syslog's: 2 critical, 3 error, 4 warning, 6 information, 7 debugging."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((priority for least, priority in steps if level >= least), 7)


def _encoded(name: str, value: str) -> bytes:
    data = _bounded(value).encode("utf-8", "replace")
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _bounded(text: str) -> str:
    """The beginning and the end of what is too long: a traceback says most there."""
    if len(text) <= _MOST:
        return text
    half = _MOST // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"
