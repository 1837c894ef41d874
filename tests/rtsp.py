"""A real RTSP server for tests, in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"  # for which Debian and Ubuntu package PyGObject
SCRIPT = Path(__file__).parent / "peers" / "rtsp_server.py"
NEEDED = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class RtspServer:
    """Skips the test where there is no GStreamer RTSP server."""

    def __init__(self, login: str | None = None) -> None:
        self.port = free_port()
        self._more = [login] if login else []
        self._process: subprocess.Popen[str] | None = None
        if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", NEEDED], capture_output=True).returncode:
            pytest.skip("no RTSP server: gir1.2-gst-rtsp-server-1.0 and python3-gi are not installed")

    def url(self, path: str = "/small") -> str:
        return f"rtsp://127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SCRIPT, str(self.port), *self._more], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def pause(self) -> None:
        """The connection stays, nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
