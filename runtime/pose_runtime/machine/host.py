"""The one way to a machine's files and programs, so that tests can put another machine in its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What a piece of Python code said in a process of its own.

    Attributes:
        facts: the JSON object that it printed, None where it did not get that far.
        problem: why there are no facts: the last line of its errors, the signal that ended it, or that it hung.
    """

    facts: dict[str, Any] | None
    problem: str = ""


class Host:
    """A machine.

    Args:
        root: folder that stands for `/` wherever a file is read.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where an absolute name lies."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """The text of a file, at most 1 MiB, without NULs and white space at its ends; None where it cannot be read."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(_MAX_BYTES).decode(errors="replace").strip("\0 \t\r\n")
        except OSError:  # also what sysfs says of a sensor that is off
            return None

    def number(self, name: str) -> float | None:
        """The number that a file holds, None where there is none."""
        try:
            return float(self.read(name) or "")
        except ValueError:
            return None

    def glob(self, pattern: str) -> list[str]:
        """Absolute names that match, sorted; a folder that may not be entered has none."""
        try:
            return sorted("/" + str(path.relative_to(self.root)) for path in self.root.glob(pattern.lstrip("/")))
        except OSError:
            return []

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.lexists(self.path(name))

    def may(self, name: str, mode: int) -> bool:
        """Whether this process may read, write (os.R_OK, os.W_OK) a file."""
        return os.access(self.path(name), mode)

    def free_bytes(self, name: str) -> int | None:
        """Free space on the file system of the nearest folder above that exists."""
        path = self.path(name)
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

    def run(self, *command: str, timeout_s: float = 10) -> str | None:
        """Standard output of a program, None where there is no such program or it failed."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return None
        return done.stdout if done.returncode == 0 else None

    def python(self, code: str, timeout_s: float = 60) -> Probe:
        """Run code that prints one JSON object, in another process: what it imports may crash or hang."""
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Probe(None, f"no answer within {timeout_s:.0f} s")
        if done.returncode < 0:
            return Probe(None, f"it was ended by signal {-done.returncode}")
        try:
            facts = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            return Probe(None, last[0][:300])
        return Probe(facts) if isinstance(facts, dict) else Probe(None, "it printed no object")

    def python_version(self) -> tuple[int, int]:
        """Of the interpreter that runs: major, minor."""
        return sys.version_info[0], sys.version_info[1]

    def architecture(self) -> str:
        """Such as `x86_64` or `aarch64`."""
        return os.uname().machine
