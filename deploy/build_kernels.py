"""Compile the CUDA kernels ahead of time: a cubin per compiler and architecture, PTX for all others, and an index.

    python deploy/build_kernels.py OUT [--from any|wheels|machine] [--nvcc 87 90 110] [--nvrtc 87]
    python deploy/build_kernels.py --which-nvcc [--from any|wheels|machine]

NVRTC comes from the wheels of deploy/cuda-requirements.txt; nvcc from them, or from this machine: PATH, $CUDA_HOME/bin
or /usr/local/cuda/bin. No GPU is needed. `pose_runtime/gpu/kernels.py` reads the index. Prints a line per image; exits
1 with the compiler's message if one does not compile.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

NATIVE = Path(__file__).resolve().parents[1] / "runtime" / "native"
SOURCE = NATIVE / "kernels.cu"
FLAGS = ["-std=c++17", "--fmad=false"]  # no contraction, as in the CPU build: the same bits
OLDEST_CUDA = 12000
WHEELS = "pip install -r deploy/cuda-requirements.txt (and build the package with --no-build-isolation)"
PTX_SM = 75  # the oldest that CUDA 13 and TensorRT 10 know; the driver makes any newer GPU's code from it


Place = Literal["any", "wheels", "machine"]
"""Where nvcc is looked for; any: in the wheels first."""


class BuildError(Exception):
    """A compiler that is missing or that refused the kernels."""


class Compiled(NamedTuple):
    """What a compiler made of the kernels, and what its assembler said of them."""

    data: bytes
    log: str


class Image(NamedTuple):
    """The kernels for one architecture, or as PTX for all from `sm` on; `cuda` as drivers count: 12060 is 12.6."""

    kind: str
    compiler: str
    cuda: int
    sm: int
    compiled: Compiled

    @property
    def file(self) -> str:
        """Its name in the folder, such as nvrtc-12.6.sm_87.cubin."""
        return f"{self.compiler.lower().replace(' ', '-')}.sm_{self.sm}.{self.kind}"


class Compiler(Protocol):
    """nvcc or NVRTC."""

    name: str
    cuda: int

    def knows(self, sm: int) -> bool:
        """Whether it compiles for an architecture."""

    def cubin(self, sm: int) -> Compiled:
        """Machine code for one architecture."""

    def ptx(self, sm: int) -> Compiled:
        """Assembler text for this architecture and all newer ones."""


class Nvcc:
    """The compiler as a program."""

    def __init__(self, program: Path) -> None:
        self.program = program
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"V(\d+)\.(\d+)\.(\d+)", said)
        if version is None:
            raise BuildError(f"{program}: no nvcc: it does not tell its version")
        major, minor, _ = map(int, version.groups())
        self.name = f"nvcc {version[0][1:]}"
        self.cuda = 1000 * major + 10 * minor
        if self.cuda < OLDEST_CUDA:
            raise BuildError(f"{program}: is {self.name}, wanted at least {OLDEST_CUDA // 1000}")

    def knows(self, sm: int) -> bool:
        """Whether it compiles for an architecture."""
        listed = subprocess.run([self.program, "--list-gpu-code"], capture_output=True, text=True, check=False)
        return f"sm_{sm}" in listed.stdout.split()

    def cubin(self, sm: int) -> Compiled:
        """Machine code for one architecture."""
        return self._run(f"-arch=sm_{sm}", "-cubin", "-Xptxas=-v")

    def ptx(self, sm: int) -> Compiled:
        """Assembler text for this architecture and all newer ones."""
        return self._run(f"-arch=compute_{sm}", "-ptx")

    def _run(self, *options: str) -> Compiled:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "kernels")
            command = [str(self.program), *FLAGS, *options, "-o", str(out), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BuildError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
            return Compiled(out.read_bytes(), done.stdout + done.stderr)


class Nvrtc:
    """The compiler as a library: the one of CUDA 12 that PyPI has."""

    def __init__(self) -> None:
        found = _in_wheels("cuda_nvrtc/lib/libnvrtc.so.*")
        if not found:
            raise BuildError(f"no NVRTC found; {WHEELS}")
        self._library = ctypes.CDLL(str(found[0]))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.name = f"NVRTC {major.value}.{minor.value}"
        self.cuda = 1000 * major.value + 10 * minor.value

    def knows(self, sm: int) -> bool:
        """Whether it compiles for an architecture."""
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        listed = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(listed))
        return sm in listed

    def cubin(self, sm: int) -> Compiled:
        """Machine code for one architecture."""
        return self._compile("CUBIN", f"--gpu-architecture=sm_{sm}", "--ptxas-options=-v")

    def ptx(self, sm: int) -> Compiled:
        """Assembler text for this architecture and all newer ones."""
        data, log = self._compile("PTX", f"--gpu-architecture=compute_{sm}")
        return Compiled(data.rstrip(b"\0"), log)

    def _compile(self, what: str, *options: str) -> Compiled:
        library, program = self._library, ctypes.c_void_p()
        source = SOURCE.read_bytes()
        self._check(library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None))
        words = [*FLAGS, *options, f"--include-path={NATIVE}"]
        result = library.nvrtcCompileProgram(
            program, len(words), (ctypes.c_char_p * len(words))(*[word.encode() for word in words])
        )
        log = self._fetch(program, "ProgramLog").decode()
        if result:
            raise BuildError(f"{self.name} {' '.join(words)}\n{log}")
        data = self._fetch(program, what)
        library.nvrtcDestroyProgram(ctypes.byref(program))
        return Compiled(data, log)

    def _fetch(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, result: int) -> None:
        if result:
            raise BuildError(f"NVRTC: {self._library.nvrtcGetErrorString(result).decode()}")


def _in_wheels(pattern: str) -> list[Path]:
    """Files of NVIDIA's wheels, wherever this interpreter looks for packages (pip builds in a folder of its own)."""
    return [path for folder in sys.path for path in sorted(Path(folder, "nvidia").glob(pattern))]


def find_nvcc(place: Place = "any") -> Path:
    """The nvcc of the wheels, of PATH, of $CUDA_HOME or of /usr/local/cuda, in this order."""
    on_path = shutil.which("nvcc")
    installed = Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda", "bin", "nvcc")
    wheels = [] if place == "machine" else _in_wheels("cu*/bin/nvcc")
    machine = [] if place == "wheels" else [*([Path(on_path)] if on_path else []), installed]
    for candidate in [*wheels, *machine]:
        if candidate.exists():
            return candidate
    if place == "machine":
        raise BuildError(f"no nvcc on PATH nor at {installed}; install CUDA")
    raise BuildError(f"no nvcc found; {WHEELS}")


def build(nvcc: Sequence[int], nvrtc: Sequence[int], place: Place = "any") -> list[Image]:
    """Compile for these architectures; PTX comes from the older compiler, for an older driver takes it.

    Args:
        nvcc, nvrtc: architectures, such as 87, for each of the compilers; none leaves the compiler out.
        place: where nvcc is looked for; architectures that this machine's own does not know are left out.

    Raises:
        BuildError: a compiler is missing, too old or fails, or an image lacks a kernel.
    """
    chosen: list[tuple[Compiler, Sequence[int]]] = []
    if nvrtc:
        chosen.append((Nvrtc(), nvrtc))
    if nvcc:
        found = Nvcc(find_nvcc(place))
        chosen.append((found, [sm for sm in nvcc if place != "machine" or found.knows(sm)]))
    oldest = min((compiler for compiler, _ in chosen), key=lambda compiler: compiler.cuda)
    jobs = [partial(_image, "cubin", compiler, sm) for compiler, sms in chosen for sm in sms]
    jobs.append(partial(_image, "ptx", oldest, PTX_SM))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda job: job(), jobs))
    wanted = set(declared()) | set(kernels(images[0]))
    for image in images:
        if missing := sorted(wanted ^ set(kernels(image))):
            raise BuildError(f"{image.file}: lacks, or alone has, {', '.join(missing)}")
    return images


def _image(kind: str, compiler: Compiler, sm: int) -> Image:
    return Image(kind, compiler.name, compiler.cuda, sm, getattr(compiler, kind)(sm))


def kernels(image: Image) -> list[str]:
    """Names of the entry points: a cubin is an ELF file with a section of each; PTX is text."""
    pattern = rb"\.text\.(jetpose_\w+)" if image.kind == "cubin" else rb"\.entry (jetpose_\w+)"
    return sorted({name.decode() for name in re.findall(pattern, image.compiled.data)})


def declared() -> list[str]:
    """Names of the entry points in the source."""
    pattern = r"__global__ void (?:__launch_bounds__\([^)]*\) )?(jetpose_\w+)"
    return sorted(set(re.findall(pattern, SOURCE.read_text())))


def write(images: Sequence[Image], out: Path) -> None:
    """Put images into a folder, and then the index that makes them valid; images of an earlier build go."""
    out.mkdir(parents=True, exist_ok=True)
    index = out / "index.json"
    index.unlink(missing_ok=True)
    for old in [*out.glob("*.cubin"), *out.glob("*.ptx")]:
        old.unlink()
    listed = []
    for image in images:
        data = image.compiled.data
        (out / image.file).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        sm = divmod(image.sm, 10)
        listed.append({"file": image.file, "kind": image.kind, "sm": sm, "cuda": image.cuda, "sha256": digest})
    index.write_text(json.dumps({"version": 1, "images": listed}, indent=1) + "\n")


def main() -> int:
    """Parse, compile, write, print."""
    parser = argparse.ArgumentParser(description="Compile the CUDA kernels ahead of time.")
    parser.add_argument("out", type=Path, nargs="?", help="folder for the images and index.json")
    parser.add_argument("--which-nvcc", action="store_true", help="print the nvcc that is used, and end")
    parser.add_argument("--from", choices=["any", "wheels", "machine"], default="any", dest="place", help="whose nvcc")
    parser.add_argument("--nvcc", type=int, nargs="*", default=[87, 90, 110], metavar="SM")
    parser.add_argument("--nvrtc", type=int, nargs="*", default=[87], metavar="SM")
    options = parser.parse_args()
    if options.out is None and not options.which_nvcc:
        parser.error("OUT is missing")
    if not options.nvcc and not options.nvrtc:
        parser.error("--nvcc and --nvrtc are both empty")
    try:
        if options.which_nvcc:
            print(Nvcc(find_nvcc(options.place)).program)
            return 0
        images = build(options.nvcc, options.nvrtc, options.place)
        write(images, options.out)
    except BuildError as error:
        print(f"build_kernels: {error}", file=sys.stderr)
        return 1
    for image in images:
        size = len(image.compiled.data)
        print(f"{image.file}: {size} bytes by {image.compiler}, {len(kernels(image))} kernels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
