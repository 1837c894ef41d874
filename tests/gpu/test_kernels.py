"""Kernels against their CPU build on this machine's GPU; `tests/gpu/run_all.sh` does the work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run_all.sh")
NVCC = shutil.which("nvcc") or ("/usr/local/cuda/bin/nvcc" if Path("/usr/local/cuda/bin/nvcc").exists() else None)


@pytest.mark.gpu
def test_every_kernel_equals_its_cpu_build() -> None:
    if NVCC is None:
        pytest.skip("no nvcc on this machine")
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no usable GPU on this machine")
    assert done.returncode == 0, done.stdout + done.stderr
