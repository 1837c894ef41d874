"""The NVIDIA driver and its GPUs, asked in a process of its own: cuInit of a broken driver can crash."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from pose_runtime.machine.host import Host

# Numbers are CUdevice_attribute of cuda.h: compute capability 75 and 76, integrated 18.
_ASK = """
import ctypes, json
lib = ctypes.CDLL("libcuda.so.1")
facts = {"init": lib.cuInit(0), "cuda": 0, "devices": []}
def get(function, *arguments):
    value = ctypes.c_int()
    return value.value if getattr(lib, function)(ctypes.byref(value), *arguments) == 0 else 0
if facts["init"] == 0:
    facts["cuda"] = get("cuDriverGetVersion")
    for i in range(get("cuDeviceGetCount")):
        name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
        lib.cuDeviceGetName(name, 256, i)
        lib.cuDeviceTotalMem_v2(ctypes.byref(memory), i)
        facts["devices"].append({
            "name": name.value.decode(errors="replace"), "sm": [get("cuDeviceGetAttribute", a, i) for a in (75, 76)],
            "memory_bytes": memory.value, "integrated": bool(get("cuDeviceGetAttribute", 18, i))})
print(json.dumps(facts))
"""


class Gpu(Struct, frozen=True, kw_only=True):
    """A GPU: its name, compute capability, memory, and whether it shares the CPU's memory."""

    name: str
    sm: tuple[int, int]
    memory_bytes: int
    integrated: bool


class Cuda(Struct, frozen=True, kw_only=True):
    """What the driver says of itself.

    Attributes:
        init: cuInit's result, 0 where it works; None where libcuda cannot be loaded or crashed.
        problem: why `init` is None.
        cuda: the newest CUDA that the driver runs, 1000 · major + 10 · minor, 0 where nothing tells.
        devices: the GPUs.
    """

    init: int | None
    problem: str
    cuda: int
    devices: tuple[Gpu, ...]

    @property
    def version(self) -> str | None:
        """Such as "12.6"."""
        return f"{self.cuda // 1000}.{self.cuda % 1000 // 10}" if self.cuda else None


def ask_cuda(host: Host) -> Cuda:
    """Load libcuda, initialise it and list the GPUs."""
    probe = host.python(_ASK)
    if probe.facts is None:
        return Cuda(init=None, problem=probe.problem, cuda=0, devices=())
    devices = msgspec.convert(probe.facts["devices"], tuple[Gpu, ...])
    return Cuda(init=int(probe.facts["init"]), problem="", cuda=int(probe.facts["cuda"]), devices=devices)


def has_nvidia_gpu(host: Host) -> bool:
    """Whether an NVIDIA GPU is built in, working or not: a Jetson, a loaded driver, or a display controller on PCI."""
    if host.has("/etc/nv_tegra_release") or host.has("/proc/driver/nvidia/version"):
        return True
    devices = host.glob("/sys/bus/pci/devices/*")
    return any(
        host.read(f"{name}/vendor") == "0x10de" and (host.read(f"{name}/class") or "").startswith("0x03")
        for name in devices
    )


def driver_version(host: Host) -> str | None:
    """The kernel module's, such as "580.95.05" or "540.4.0"."""
    text = host.read("/proc/driver/nvidia/version") or ""
    found = re.search(r"(?:Kernel Module(?: for \S+)?\s+)(\d+\.[\d.]+)", text)
    return found[1] if found else None
