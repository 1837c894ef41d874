"""A window of a live run, on a real X server: opened and driven by its outlet's thread."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pose_runtime
from peers.xvfb import screen

CODE = """
import time
from live_items import ONE, live_item
from peers.mosquitto import until
from pose_runtime.live.outlet import Outlet
from pose_runtime.sinks.window import Window
outlet = Outlet("window", lambda: Window(sources=["door", "yard"]), live=True)
for i in range(20):
    outlet.put(live_item(i, name="door"), ONE)
    outlet.put(live_item(i, name="yard", size_wh=(640, 360)), ONE)
    time.sleep(0.02)
until(lambda: outlet.status().written >= 10)
print("shown", flush=True)
input()
assert outlet.stop(5)
outlet.raise_if_failed()
print("ended", flush=True)
"""


@pytest.fixture
def display() -> Iterator[str]:
    with screen(1600, 1000) as name:
        yield name


def test_windows_of_two_sources(display: str) -> None:
    """Both appear, and go with the run."""
    if shutil.which("xwininfo") is None:
        pytest.skip("no xwininfo here")
    folders = (Path(pose_runtime.__file__).parents[1], Path(__file__).parents[1])
    environment = os.environ | {"DISPLAY": display, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "shown\n"
        command = ["xwininfo", "-display", display, "-root", "-tree"]
        tree = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for title in ("jetpose: door", "jetpose: yard"):
            assert f'"{title}"' in tree
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ended\n"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()
