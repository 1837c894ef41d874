"""Compile the CUDA kernels ahead of time: one cubin per compiler and architecture.

    python deploy/build_kernels.py OUT [--nvcc 87 90 110] [--nvrtc 87]
    python deploy/build_kernels.py --which-nvcc

nvcc is taken from the wheels of deploy/cuda-requirements.txt, PATH or /usr/local/cuda; NVRTC from its wheel. Prints
each cubin with its kernels' names; exits 1 with the compiler's message if one does not compile.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[1] / "runtime" / "native"
SOURCE = NATIVE / "kernels.cu"
FLAGS = ["-std=c++17", "--fmad=false"]  # no contraction, as in the CPU build: the same bits


class BuildError(Exception):
    """A compiler that is missing or that refused the kernels."""


def find_nvcc() -> Path:
    """The nvcc of the wheels, of PATH or of an installed CUDA."""
    wheels = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("cu*/bin/nvcc"))
    on_path = shutil.which("nvcc")
    for candidate in [*wheels, *([Path(on_path)] if on_path else []), Path("/usr/local/cuda/bin/nvcc")]:
        if candidate.exists():
            return candidate
    raise BuildError("no nvcc found; pip install -r deploy/cuda-requirements.txt")


def nvcc(sm: int, out: Path) -> None:
    """Compile for one architecture with nvcc."""
    command = [str(find_nvcc()), *FLAGS, f"-arch=sm_{sm}", "-cubin", "-o", str(out), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"nvcc for sm_{sm}:\n{done.stderr}")


def nvrtc(sm: int, out: Path) -> None:
    """Compile for one architecture with NVRTC, the compiler as a library."""
    found = sorted(Path(sysconfig.get_path("purelib"), "nvidia", "cuda_nvrtc", "lib").glob("libnvrtc.so.*"))
    if not found:
        raise BuildError("no NVRTC found; pip install -r deploy/cuda-requirements.txt")
    library = ctypes.CDLL(str(found[0]))
    options = [*FLAGS, f"--gpu-architecture=sm_{sm}", f"--include-path={NATIVE}"]
    program = ctypes.c_void_p()
    source = SOURCE.read_bytes()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None))
    arguments = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    result = library.nvrtcCompileProgram(program, len(options), arguments)
    if result:
        log = _fetch(library, program, "ProgramLog").decode()
        raise BuildError(f"NVRTC for sm_{sm}:\n{log}")
    out.write_bytes(_fetch(library, program, "CUBIN"))
    library.nvrtcDestroyProgram(ctypes.byref(program))


def _check(library: ctypes.CDLL, result: int) -> None:
    if result:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise BuildError(f"NVRTC: {library.nvrtcGetErrorString(result).decode()}")


def _fetch(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def kernels(cubin: Path) -> list[str]:
    """Names of the entry points in a cubin (an ELF file: its section names)."""
    return sorted({name.decode() for name in re.findall(rb"\.text\.(jetpose_\w+)", cubin.read_bytes())})


def declared() -> list[str]:
    """Names of the entry points in the source."""
    pattern = r"__global__ void (?:__launch_bounds__\(\w+\) )?(jetpose_\w+)"
    return sorted(set(re.findall(pattern, SOURCE.read_text())))


def main() -> int:
    """Parse, compile, print."""
    parser = argparse.ArgumentParser(description="Compile the CUDA kernels ahead of time.")
    parser.add_argument("out", type=Path, nargs="?", help="folder for the cubins")
    parser.add_argument("--which-nvcc", action="store_true", help="print the nvcc that is used, and end")
    parser.add_argument("--nvcc", type=int, nargs="*", default=[87, 90, 110], metavar="SM")
    parser.add_argument("--nvrtc", type=int, nargs="*", default=[87], metavar="SM")
    options = parser.parse_args()
    if options.out is None and not options.which_nvcc:
        parser.error("OUT is missing")
    try:
        if options.which_nvcc:
            print(find_nvcc())
            return 0
        options.out.mkdir(parents=True, exist_ok=True)
        entry_points = declared()
        for compiler, architectures in ((nvcc, options.nvcc), (nvrtc, options.nvrtc)):
            for sm in architectures:
                cubin = options.out / f"kernels.{compiler.__name__}.sm_{sm}.cubin"
                compiler(sm, cubin)
                if kernels(cubin) != entry_points:
                    raise BuildError(f"{cubin.name} holds {kernels(cubin)}, wanted {entry_points}")
                print(f"{cubin.name}: {cubin.stat().st_size} bytes, {', '.join(entry_points)}")
    except BuildError as error:
        print(f"build_kernels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
