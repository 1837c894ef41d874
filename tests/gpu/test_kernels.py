"""Kernels against their CPU build: on this machine's GPU, and emulated on the CPU. `run_all.sh` does the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("test_*.cu"))


def run_all(*options: str) -> subprocess.CompletedProcess[str]:
    command = ["env", f"PYTHON={sys.executable}", str(FOLDER / "run_all.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.gpu
def test_every_kernel_equals_its_cpu_build() -> None:
    if shutil.which("nvidia-smi") is None and not Path("/dev/nvhost-gpu").exists():
        pytest.skip("no NVIDIA GPU on this machine")
    done = run_all()
    if done.returncode in (2, 77):
        pytest.skip(f"no nvcc or no usable GPU: {done.stderr.strip() or done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_launches_equal_the_cpu_build_when_emulated(name: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    done = run_all("--emulate", name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_resumed_run_leaves_out_what_passed_and_stops_in_time(tmp_path: Path) -> None:
    """Over a copy of the sources, so that no other run's results count."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    root = FOLDER.parents[1]
    shutil.copytree(root / "runtime" / "native", tmp_path / "runtime" / "native")
    shutil.copytree(FOLDER, tmp_path / "tests" / "gpu")

    def run(limit_s: int) -> tuple[int, str]:
        command = ["env", f"LIMIT_S={limit_s}", f"PYTHON={sys.executable}", str(tmp_path / "tests/gpu/run_all.sh")]
        command += ["--emulate", "--resume", "test_vector"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    code, said = run(1)
    assert (code, "test_vector: left for the next call" in said) == (75, True), said
    code, said = run(600)
    assert (code, "test_vector: passed, " in said) == (0, True), said
    code, said = run(600)
    assert (code, "test_vector: passed before" in said) == (0, True), said
    with (tmp_path / "tests/gpu/test_vector.cu").open("a") as file:
        file.write("static_assert(false);\n")
    code, said = run(600)
    assert (code, "test_vector: does not compile" in said) == (1, True), said


def test_every_kernel_has_a_test() -> None:
    source = (FOLDER.parents[1] / "runtime" / "native" / "kernels.cu").read_text()
    kernels = {word.split("(")[0] for word in source.split() if word.startswith("jetpose_")}
    tests = "".join((FOLDER / f"{name}.cu").read_text() for name in NAMES)
    assert kernels
    assert [kernel for kernel in sorted(kernels) if kernel not in tests] == []
