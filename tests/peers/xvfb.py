"""A screen that nobody sees: a real X server for windows under test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def screen(width: int, height: int) -> Iterator[str]:
    """Its name, for DISPLAY; one for this process alone, for several suites may run on one machine."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb here")
    read, write = os.pipe()
    name = f":{100 + os.getpid() % 50000}"
    size = f"{width}x{height}x24"
    command = ["Xvfb", name, "-displayfd", str(write), "-screen", "0", size, "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as ready:
            assert ready.readline(), "Xvfb did not start"
        yield name
    finally:
        server.terminate()
        server.wait(10)
