"""The units under a real systemd, with the pose-run of this checkout and no camera; see tests/peers/nspawn.py."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from peers.nspawn import DEPLOY, Machine, copy_root, stage_jetpose, until

pytestmark = pytest.mark.slow

NETWORK = "lightweight-tiny.pose"
BUNDLE = "/opt/jetpose/bin/pose-bundle"
STORED = "pose-run@store.service"
RUN, BUILD = "pose-run@test.service", "pose-build@test.service"
RESTART_S = 5.0
WATCHDOG_S = 4.0

# Of pose-run, while there is a file of that name: the network never ends and all else of the process goes on, or an
# engine that was opened meanwhile fails, or takes the process with it.
TRICK = """\
import os, pathlib, time
from pose_runtime.engines import Engine
from pose_runtime.errors import EngineError
infer = Engine.infer
def told(what):
    return pathlib.Path(sys.argv[0]).name == "pose-run" and pathlib.Path("/run/jetpose-" + what).exists()
def tricked(self, inputs):
    if not hasattr(self, "fault"):
        self.fault = "dies" if told("dies") else "fails" if told("fails") else None
    if self.fault == "dies":
        os._exit(1)
    if self.fault == "fails":
        raise EngineError("the engine fails")
    while told("hang"):
        time.sleep(0.01)
    return infer(self, inputs)
Engine.infer = tricked
"""

# A camera and a broker that are not there, a page, and a clip that ends.
SETTINGS = """\
bundle = "{bundle}"
stuck_s = 3.0
[[source]]
address = "camera:7"
[[source]]
address = "/opt/jetpose/people.mp4"
[mqtt]
host = "127.0.0.1"
[serve]
address = "127.0.0.1:8080"
"""
STORE = "/var/lib/jetpose/bundles"
LATER = "/var/lib/jetpose/later.pose"  # a bundle that is not there yet
DAEMON = r"""
[Service]
ExecStart=python3 -c 'import os, socket, time; path = "/tmp/argus_socket"; time.sleep(1); \
  os.path.exists(path) and os.unlink(path); own = socket.socket(1); own.bind(path); own.listen(); time.sleep(1e9)'
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = copy_root(tmp_path_factory.mktemp("systemd"))
    shown = stage_jetpose(root, TRICK)
    shutil.copy2(DEPLOY.parent / "docs/demo/people.mp4", root / "opt/jetpose")
    (root / "etc/jetpose/test.toml").write_text(SETTINGS.format(bundle="lightweight-tiny"))
    (root / "etc/jetpose/later.toml").write_text(SETTINGS.format(bundle=LATER))
    (root / "etc/jetpose/store.toml").write_text('graph = "reference"\n' + SETTINGS.format(bundle=f"{STORE}/current"))
    (root / "etc/systemd/system/nvargus-daemon.service").write_text(DAEMON)
    shorter = root / "etc/systemd/system/pose-run@test.service.d/shorter.conf"
    shorter.parent.mkdir(parents=True)
    shorter.write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
    with Machine(root, *shown) as machine:
        yield machine


@pytest.fixture
def running(machine: Machine) -> Iterator[Machine]:
    machine.run("systemctl", "reset-failed", check=False)
    machine.run("systemctl", "start", RUN)
    yield machine
    machine.run("systemctl", "stop", RUN)


def pid(machine: Machine) -> str:
    """Of the service; empty while there is none."""
    return machine.show(RUN, "MainPID").removeprefix("0")


def seconds_to_restart(machine: Machine, before: str, within_s: float) -> float:
    """Until another process runs."""
    return until(lambda: (now := pid(machine)) and now != before, within_s)


def is_ready(machine: Machine) -> bool:
    return machine.state(RUN) == "active"


def test_ready_without_camera_and_broker_which_restart_nothing(running: Machine) -> None:
    assert is_ready(running)
    assert "reference on onnxruntime: passed" in running.log(BUILD)
    until(lambda: "camera7 lost" in running.show(RUN, "StatusText"), 10.0)
    assert "mqtt 127.0.0.1:1883 lost" in running.show(RUN, "StatusText")
    before = pid(running)
    time.sleep(2 * WATCHDOG_S)
    assert (pid(running), running.show(RUN, "NRestarts")) == (before, "0")
    records = [json.loads(line) for line in running.log(RUN, "json").splitlines()]
    lost = next(record for record in records if "camera7: lost" in record["MESSAGE"])
    assert lost["LOGGER"].startswith("pose_runtime.")
    assert lost["PRIORITY"] == "4"


def test_comes_back_after_sigkill_without_another_build(running: Machine) -> None:
    before, built = pid(running), running.show(BUILD, "ExecMainStartTimestampMonotonic")
    running.run("systemctl", "kill", "--signal=KILL", RUN)
    assert seconds_to_restart(running, before, RESTART_S + 7.0) < RESTART_S + 2.0
    until(lambda: is_ready(running), 20.0)
    assert running.show(BUILD, "ExecMainStartTimestampMonotonic") == built


def test_a_network_that_hangs(running: Machine) -> None:
    before = pid(running)
    running.run("touch", "/run/jetpose-hang")  # while the clip plays
    try:
        took_s = seconds_to_restart(running, before, WATCHDOG_S + 12.0)
    finally:
        running.run("rm", "/run/jetpose-hang")
    assert took_s < WATCHDOG_S + 7.0
    log = running.log(RUN)
    assert "the watchdog is fed no more: " in log
    assert "Thread 0x" in log  # where each was
    until(lambda: is_ready(running), 20.0)


def test_a_process_that_freezes(running: Machine) -> None:
    before = pid(running)
    running.run("systemctl", "kill", "--signal=STOP", RUN)
    assert seconds_to_restart(running, before, WATCHDOG_S + 12.0) < WATCHDOG_S + 7.5
    until(lambda: is_ready(running), 20.0)


def test_stops_in_time_by_itself(running: Machine) -> None:
    start_s = time.monotonic()
    running.run("systemctl", "stop", RUN)
    assert time.monotonic() - start_s < 5.0
    assert running.show(RUN, "Result") == "success"
    until(lambda: running.state(BUILD) == "inactive", 5.0)  # the next start proves again


def test_reload_keeps_the_process(running: Machine) -> None:
    before = pid(running)
    running.run("systemctl", "reload", RUN)
    until(lambda: "serves already" in running.log(RUN), 20.0)
    assert (pid(running), is_ready(running)) == (before, True)


def test_a_bundle_that_comes_later(machine: Machine) -> None:
    """A build that fails leaves nothing down for ever."""
    unit = RUN.replace("test", "later")
    machine.run("systemctl", "start", unit, check=False)
    assert machine.state(unit) != "active"
    machine.run("cp", "-r", f"/opt/jetpose/source/pose_runtime/networks/{NETWORK}", LATER)
    until(lambda: machine.state(unit) == "active", 60.0)
    machine.run("systemctl", "stop", unit)


@pytest.fixture(scope="module")
def stored(machine: Machine) -> Iterator[tuple[str, str]]:
    """Two bundles in a store, of which a service serves the first."""
    for network in ("lightweight-tiny", "higherhrnet-tiny"):
        machine.run(BUNDLE, "install", f"/opt/jetpose/source/pose_runtime/networks/{network}.pose")
    names = [one["name"] for one in json.loads(machine.run(BUNDLE, "list", "--json"))["bundles"]]
    first, second = sorted(names, reverse=True)
    machine.run(BUNDLE, "activate", first)
    machine.run("systemctl", "start", STORED)
    yield first, second
    machine.run("systemctl", "stop", STORED)


def serving(machine: Machine) -> str:
    """The bundle that starts next."""
    return machine.run("readlink", f"{STORE}/current").removesuffix(".pose")


def test_an_update_and_one_that_fails(machine: Machine, stored: tuple[str, str]) -> None:
    first, second = stored
    until(lambda: "frames/s" in machine.show(STORED, "StatusText"), 20.0)
    before = machine.show(STORED, "MainPID")
    machine.run(BUNDLE, "activate", second, "--reload", STORED)
    until(lambda: f"{second}.pose serves from now on" in machine.log(STORED), 60.0)
    machine.run("touch", "/run/jetpose-fails")
    machine.run(BUNDLE, "activate", first, "--reload", STORED)
    until(lambda: "the new bundle does not serve: the engine fails" in machine.log(STORED), 30.0)
    machine.run("rm", "/run/jetpose-fails")
    assert serving(machine) == second
    assert (machine.show(STORED, "MainPID"), machine.state(STORED)) == (before, "active")


def test_an_update_that_kills_the_service(machine: Machine, stored: tuple[str, str]) -> None:
    former = serving(machine)
    (other,) = set(stored) - {former}
    before = machine.show(STORED, "MainPID")
    machine.run("touch", "/run/jetpose-dies")
    machine.run(BUNDLE, "activate", other, "--reload", STORED, check=False)
    until(lambda: machine.show(STORED, "MainPID") not in (before, "0"), 30.0)
    machine.run("rm", "/run/jetpose-dies")
    until(lambda: machine.state(STORED) == "active", 30.0)
    assert serving(machine) == former


def test_the_socket_of_csi_cameras(machine: Machine) -> None:
    """It is seen under PrivateTmp, and still after the daemon made another."""
    machine.run("systemctl", "start", "nvargus-daemon")
    until(lambda: machine.run("ls", "/tmp/argus_socket", check=False), 10.0)
    machine.run("systemctl", "start", RUN)

    def seen() -> bool:
        inode = ("stat", "--format=%i", "/tmp/argus_socket")
        there = machine.run("nsenter", f"--target={pid(machine) or 1}", "--mount", *inode, check=False)
        return is_ready(machine) and pid(machine) != "" and there == machine.run(*inode, check=False)

    assert seen()
    machine.run("systemctl", "restart", "nvargus-daemon")
    until(seen, 30.0)
    machine.run("systemctl", "stop", RUN, "nvargus-daemon")
