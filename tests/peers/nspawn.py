"""A real systemd: a Debian or Ubuntu like this machine's, booted in systemd-nspawn, with this checkout as its jetpose.

It needs root. The root file system is made once by debootstrap and kept in $XDG_CACHE_HOME/jetpose-tests.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
COMMANDS = {name: f"pose_runtime.cli.{name[5:]}" for name in ("pose-run", "pose-build", "pose-bundle")}

_PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "libgl1", "libglib2.0-0")
# Of a Python that may lie anywhere here, with a libpython or without.
_LAUNCHER = """\
#!/bin/sh
home=/opt/jetpose
LD_LIBRARY_PATH=$home/python/lib exec $home/python/bin/python{version} -s $home/main/{command} "$@"
"""
_MAIN = """\
import sys
sys.path[:0] = ["/opt/jetpose/source", "/opt/jetpose/packages"]
{trick}
from {module} import main
main()
"""


def base_root() -> Path:
    """The root file system to copy; skips the test where there can be none."""
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    if os.geteuid() != 0:
        pytest.skip("systemd-nspawn needs root")
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jetpose-tests"
    root = cache / f"root-{codename}"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        half = cache / f"half-{os.getpid()}"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", codename, half],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            pytest.skip(f"debootstrap cannot make a root file system here: {made.stdout.strip().splitlines()[-1:]}")
        half.rename(root)
    return root


def copy_root(folder: Path) -> Path:
    """A root file system of one's own."""
    root = folder / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", base_root(), root], check=True)
    return root


def stage_jetpose(root: Path, trick: str = "") -> list[str]:
    """Units and user by install.sh, and /opt/jetpose of this checkout, its packages and this Python.

    Args:
        root: a root file system.
        trick: Python that every command runs first.

    Returns:
        Options for systemd-nspawn: the folders that are shown there instead of copied.
    """
    subprocess.run(
        [DEPLOY / "install.sh", "--skip", "environment"], env={**os.environ, "DESTDIR": str(root)}, check=True
    )
    there = root / "opt/jetpose"
    spec = importlib.util.find_spec("pose_runtime")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, there / "source/pose_runtime")
    for module in ("_native_base", "_native_v3"):  # an editable installation has them elsewhere
        native = importlib.util.find_spec(f"pose_runtime.{module}")
        if native is not None and native.origin is not None:
            shutil.copy2(native.origin, there / "source/pose_runtime")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("bin", "main"):
        (there / folder).mkdir()
    for command, module in COMMANDS.items():
        (there / "main" / command).write_text(_MAIN.format(module=module, trick=trick))
        (there / "bin" / command).write_text(_LAUNCHER.format(version=version, command=command))
        (there / "bin" / command).chmod(0o755)
    shown = {"python": sys.base_prefix, "packages": sysconfig.get_path("purelib")}
    for name in shown:
        (there / name).mkdir()
    return [f"--bind-ro={path}:/opt/jetpose/{name}" for name, path in shown.items()]


class Machine:
    """A booted root file system; use it by `with`."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Machine:
        fixed = ("--quiet", "--register=no", "--keep-unit", "--private-network", "--machine=jetpose-test")
        with (self.root.parent / "console").open("wb") as console:
            self._process = subprocess.Popen(
                ["systemd-nspawn", *fixed, *self._options, "-D", self.root, "-b"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: self._first_process() and self.state("multi-user.target") == "active", 60.0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._pid:
            with_it = Path(f"/proc/{self._pid}")
            if with_it.exists():
                os.kill(self._pid, 9)  # its pid 1: all its processes end with it
        else:
            self._process.kill()
        self._process.wait(30.0)

    def _first_process(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.skip(f"systemd-nspawn does not run here: {(self.root.parent / 'console').read_text()[-300:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._pid = int(children[0]) if children else 0
        return bool(children)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command inside prints."""
        done = subprocess.run(
            ["nsenter", f"--target={self._pid}", "--all", "--", *command], capture_output=True, text=True, timeout=60.0
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A unit's property."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit, check=False)

    def state(self, unit: str) -> str:
        """active, activating, …"""
        return self.show(unit, "ActiveState")

    def log(self, unit: str, output: str = "cat") -> str:
        """All that a unit wrote."""
        return self.run("journalctl", f"--unit={unit}", "--no-pager", f"--output={output}", check=False)


def until(true: Callable[[], object], within_s: float) -> float:
    """Seconds until it was."""
    start_s = time.monotonic()
    while not true():
        assert time.monotonic() - start_s < within_s, "it did not come true in time"
        time.sleep(0.1)
    return time.monotonic() - start_s
