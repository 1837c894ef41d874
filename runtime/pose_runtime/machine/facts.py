"""Everything about a machine that makes a measured number comparable with one of another machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from msgspec import Struct

from pose_runtime._native import native
from pose_runtime.cpu_features import has_int8_dot
from pose_runtime.gpu.driver import Gpu
from pose_runtime.machine.board import Board, read_board
from pose_runtime.machine.gpu import ask_cuda, driver_version, has_nvidia_gpu
from pose_runtime.machine.host import Host
from pose_runtime.version import version

_LIBRARIES = ("numpy", "opencv-python", "onnxruntime", "tensorrt", "tensorrt-rtx", "pycuda", "msgspec")


class Machine(Struct, frozen=True, kw_only=True):
    """A machine, without anything that tells whose it is.

    Attributes:
        jetpose, python: versions.
        native: instruction set that the native module was built for: `v3` (AVX2) or `base`.
        system: kernel and architecture.
        cpu: its name; cores: those that this process may use; int8_dot: VNNI, AMX or Arm dot product.
        governor: of the first CPU's clock, None where nothing tells.
        memory_bytes: in all.
        board: the Jetson that it is.
        driver, cuda, gpus: NVIDIA's kernel module, the newest CUDA that it runs, the GPUs.
        libraries: installed version by name of the distribution.
    """

    jetpose: str
    python: str
    native: str
    system: str
    cpu: str
    cores: int
    int8_dot: bool
    governor: str | None
    memory_bytes: int | None
    board: Board | None
    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    libraries: dict[str, str]


def read_machine(host: Host) -> Machine:
    """Collect the facts; the driver is asked only where an NVIDIA GPU is built in."""
    cuda = ask_cuda(host) if has_nvidia_gpu(host) else None
    kernel = (host.read("/proc/sys/kernel/osrelease") or platform.release()).split()[0]
    return Machine(
        jetpose=version(),
        python=platform.python_version(),
        native=native_flavour(),
        system=f"Linux {kernel} {host.architecture()}",
        cpu=cpu_name(host),
        cores=len(os.sched_getaffinity(0)),
        int8_dot=has_int8_dot(),
        governor=host.read("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"),
        memory_bytes=memory_bytes(host, "MemTotal"),
        board=read_board(host),
        driver=driver_version(host),
        cuda=cuda.version if cuda else None,
        gpus=cuda.gpus if cuda else (),
        libraries=libraries(),
    )


def native_flavour() -> str:
    """`v3` or `base`: which build of the native module runs here."""
    return str(native.__name__).rpartition("_native_")[2]


def cpu_name(host: Host) -> str:
    """As /proc/cpuinfo calls it, or the board's processor by its parts' numbers (Arm has no names there)."""
    fields: dict[str, str] = {}
    for line in (host.read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    parts = [f"{key} {fields[key]}" for key in ("CPU implementer", "CPU part") if key in fields]
    return ", ".join(parts) or "unknown"


def memory_bytes(host: Host, field: str) -> int | None:
    """A line of /proc/meminfo, in bytes."""
    for line in (host.read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0]) * 1024
    return None


def libraries() -> dict[str, str]:
    """Versions of the libraries that matter to a time, as installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def load_average(host: Host) -> tuple[float, float, float] | None:
    """Processes that wanted to run, over 1, 5 and 15 minutes."""
    words = (host.read("/proc/loadavg") or "").split()[:3]
    try:
        one, five, fifteen = map(float, words)
    except ValueError:
        return None
    return one, five, fifteen


def peak_rss_bytes(host: Host) -> int | None:
    """The most memory that this process ever held, from /proc/self/status."""
    for line in (host.read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
