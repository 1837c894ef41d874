"""Which compiler builds the kernels, what it builds, and what is said where there is none: with nvcc acted out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import build_kernels
import pytest
from build_kernels import BuildError

from pose_runtime.gpu.kernels import find_kernels, kernel_images

NATIVE = build_kernels.NATIVE
NVCC = """#!/bin/sh
case "$*" in
  --version) echo "Cuda compilation tools, release {release}, V{release}.85"; exit ;;
  --list-gpu-code) echo "sm_75\nsm_87\nsm_90"; exit ;;
esac
{fault}
out=; kind=
for word; do
  case $word in -cubin) kind=.text. ;; -ptx) kind='.entry ' ;; esac
  [ "$last" != -o ] || out=$word
  last=$word
done
for kernel in {kernels}; do printf '%s%s\\n' "$kind" "$kernel"; done > "$out"
"""


def make_nvcc(folder: Path, release: str = "12.6", fault: str = "", kernels: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvcc"
    if kernels is None:
        kernels = " ".join(build_kernels.declared())
    program.write_text(NVCC.format(release=release, fault=fault, kernels=kernels))
    program.chmod(0o755)
    return program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without CUDA and without NVIDIA's wheels."""
    folders = [folder for folder in os.environ["PATH"].split(":") if not Path(folder, "nvcc").exists()]
    monkeypatch.setenv("PATH", ":".join([str(Path(sys.executable).parent), *folders]))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setattr(build_kernels, "_in_wheels", lambda pattern: sorted(tmp_path.glob(f"site/nvidia/{pattern}")))
    return tmp_path


def test_nvcc_is_of_the_wheels_then_path_then_cuda(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match=r"no nvcc on PATH nor at .*/cuda/bin/nvcc; install CUDA"):
        build_kernels.find_nvcc("machine")
    with pytest.raises(BuildError, match=r"pip install -r deploy/cuda-requirements\.txt"):
        build_kernels.find_nvcc()
    installed = make_nvcc(machine / "cuda" / "bin")
    with pytest.raises(BuildError, match="no nvcc found; pip install"):
        build_kernels.find_nvcc("wheels")
    assert build_kernels.find_nvcc() == build_kernels.find_nvcc("machine") == installed
    on_path = make_nvcc(machine / "bin")
    monkeypatch.setenv("PATH", f"{machine}/bin:{os.environ['PATH']}")
    assert build_kernels.find_nvcc() == build_kernels.find_nvcc("machine") == on_path
    of_wheels = make_nvcc(machine / "site" / "nvidia" / "cu13" / "bin")
    assert build_kernels.find_nvcc() == build_kernels.find_nvcc("wheels") == of_wheels
    assert build_kernels.find_nvcc("machine") == on_path


def test_what_this_machines_nvcc_knows_is_built(machine: Path) -> None:
    make_nvcc(machine / "cuda" / "bin")
    images = build_kernels.build([87, 90, 110], [], "machine")
    out = machine / "out"
    out.mkdir()
    (out / "old.cubin").write_text("of an earlier build")
    build_kernels.write(images, out)
    assert [str(image) for image in kernel_images(out)] == [
        "sm_87 (CUDA 12.6)",
        "sm_90 (CUDA 12.6)",
        "PTX from sm_75 on (CUDA 12.6)",
    ]
    assert {path.name for path in out.iterdir()} == {
        "index.json",
        "nvcc-12.6.85.sm_87.cubin",
        "nvcc-12.6.85.sm_90.cubin",
        "nvcc-12.6.85.sm_75.ptx",
    }
    assert find_kernels((8, 7), 12060, out).startswith(b".text.jetpose_")
    assert find_kernels((8, 9), 12060, out).startswith(b".entry jetpose_")


def test_faults_of_a_compiler_are_told(machine: Path) -> None:
    program = make_nvcc(machine / "cuda" / "bin", fault="echo 'kernels.cu(7): error: no' >&2; exit 1")
    with pytest.raises(BuildError, match=r"-arch=sm_87 [^\n]*\n.*error: no"):
        build_kernels.build([87], [])
    make_nvcc(machine / "cuda" / "bin", release="11.8")
    with pytest.raises(BuildError, match=r"is nvcc 11\.8\.85, wanted at least 12"):
        build_kernels.build([87], [])
    program.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(BuildError, match="does not tell its version"):
        build_kernels.build([87], [])
    first, *rest = build_kernels.declared()
    make_nvcc(machine / "cuda" / "bin", kernels=" ".join(rest))
    with pytest.raises(BuildError, match=f"lacks, or alone has, {first}"):
        build_kernels.build([87], [])
    with pytest.raises(BuildError, match="no NVRTC found; pip install"):
        build_kernels.build([], [87])


def configure(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("g++") is None:
        pytest.skip("no cmake or no g++ on this machine")
    pytest.importorskip("nanobind")
    command = [cmake, "-S", str(NATIVE), "-B", str(out), f"-DPython_EXECUTABLE={sys.executable}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def words(text: str) -> str:
    """CMake breaks lines where it likes."""
    return " ".join(text.split())


def test_the_package_build_takes_this_machines_nvcc(machine: Path) -> None:
    make_nvcc(machine / "cuda" / "bin", release="13.0")
    done = configure(machine / "build")
    assert done.returncode == 0, done.stderr
    assert "LEFT OUT" not in done.stderr
    command = ["cmake", "--build", str(machine / "build"), "--target", "jetpose_kernels"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = kernel_images(machine / "build" / "kernels-auto")
    assert [image.sm for image in made] == [(8, 7), (9, 0), (7, 5)]


def test_the_package_build_says_when_kernels_are_left_out(machine: Path) -> None:
    done = configure(machine / "build")
    assert done.returncode == 0, done.stderr
    assert "jetpose: CUDA KERNELS LEFT OUT OF THIS BUILD: build_kernels: no nvcc on PATH" in words(done.stderr)
    done = configure(machine / "build", "-DJETPOSE_KERNELS=off")
    assert done.returncode == 0, done.stderr
    assert "LEFT OUT OF THIS BUILD: JETPOSE_KERNELS is off" in words(done.stderr)
    done = configure(machine / "build", "-DJETPOSE_KERNELS=perhaps")
    assert done.returncode != 0
    assert "JETPOSE_KERNELS: got perhaps, wanted auto, release or off" in words(done.stderr)


def test_a_release_takes_the_pinned_compilers_only(machine: Path) -> None:
    make_nvcc(machine / "cuda" / "bin", release="13.1")
    if any(Path(folder, "nvidia", "cuda_nvrtc").exists() for folder in sys.path):
        pytest.skip("this interpreter has the wheels of deploy/cuda-requirements.txt")
    done = configure(machine / "build", "-DJETPOSE_KERNELS=release")
    assert done.returncode != 0
    assert "JETPOSE_KERNELS=release: build_kernels: no nvcc found; pip install -r" in words(done.stderr)


def test_the_terminal_hears_it_even_where_pip_hides_the_build(machine: Path) -> None:
    """The build's own output is thrown away, as pip does; the terminal is a pseudo-terminal."""
    main, terminal = os.openpty()
    try:
        os.set_blocking(main, False)
        become = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execvp(sys.argv[2], sys.argv[2:])"
        cmake = ["cmake", "-S", str(NATIVE), "-B", str(machine / "build"), f"-DPython_EXECUTABLE={sys.executable}"]
        if shutil.which("cmake") is None:
            pytest.skip("no cmake on this machine")
        command = [sys.executable, "-c", become, os.ttyname(terminal), *cmake]
        subprocess.run(command, capture_output=True, check=True)
        assert b"CUDA KERNELS LEFT OUT OF THIS BUILD" in os.read(main, 4096)
    finally:
        os.close(main)
        os.close(terminal)
