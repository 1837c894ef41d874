"""Kernel launches without a GPU: kernels.cu built with g++ over gpu/emulate.hpp. Device memory is NumPy's.

The library is built once for each state of the sources, into build/gpu.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pose_runtime.gpu.launch import Launch

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "gpu"
NATIVE = ROOT / "runtime" / "native"
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-shared", "-fPIC"]
FAULTS = {1: "unknown kernel", 2: "another number of argument bytes", 3: "failed, see stderr"}


def build_library() -> Path:
    """Build the library, unless it is there; a pytest skip where there is no g++."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    sources = [FOLDER / "emulated.cpp", FOLDER / "emulate.hpp", NATIVE / "kernels.cu", *sorted(NATIVE.glob("*.cuh"))]
    state = hashlib.sha256(" ".join([compiler, *FLAGS]).encode())
    for source in sources:
        state.update(source.read_bytes())
    library = ROOT / "build" / "gpu" / f"emulated-{state.hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(f".{os.getpid()}.part")
        subprocess.run([compiler, *FLAGS, "-o", str(part), str(sources[0])], check=True)
        part.replace(library)
    return library


@cache
def emulated_launch() -> Callable[[str, tuple[int, int, int], tuple[int, int, int], bytes], int]:
    """The library's one function, of kernel, grid, block and arguments; 0 or a key of FAULTS."""
    function = ctypes.CDLL(str(build_library())).jetpose_emulated_launch
    three = ctypes.c_int * 3
    function.argtypes = [ctypes.c_char_p, three, three, ctypes.c_char_p, ctypes.c_size_t]
    function.restype = ctypes.c_int

    def launch(kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: bytes) -> int:
        return int(function(kernel.encode(), three(*grid), three(*block), arguments, len(arguments)))

    return launch


def run(*launches: Launch) -> None:
    """Run launches one after another; RuntimeError where one does not run."""
    for launch in launches:
        fault = emulated_launch()(launch.kernel, launch.grid, launch.block, launch.arguments)
        if fault:
            raise RuntimeError(f"{launch.kernel}: {FAULTS[fault]}")


class DeviceMemory:
    """Memory as a device gives it: aligned to 256 bytes, with guard bytes on both sides."""

    GUARD = 512

    def __init__(self, size: int, fill: int = 0xFF) -> None:
        self._all = np.full(size + 2 * self.GUARD + 256, 0xA5, np.uint8)
        start = self.GUARD + -(self._all.ctypes.data + self.GUARD) % 256
        self.bytes: NDArray[np.uint8] = self._all[start : start + size]
        self.bytes[:] = fill
        self.address: int = self._all.ctypes.data + start
        self._start = start

    def check_guards(self) -> None:
        """AssertionError where something was written outside."""
        assert (self._all[: self._start] == 0xA5).all()
        assert (self._all[self._start + len(self.bytes) :] == 0xA5).all()
