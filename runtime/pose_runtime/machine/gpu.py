"""The NVIDIA driver and its GPUs, asked in a process of its own: starting a broken driver can crash."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from pose_runtime.gpu.driver import Gpu
from pose_runtime.machine.board import is_tegra
from pose_runtime.machine.host import Host

_ASK = """
import json, msgspec
from pose_runtime.errors import EngineError
from pose_runtime.gpu.driver import find_gpu
gpus, problem = [], ""
try:
    while True:
        gpus.append(msgspec.to_builtins(find_gpu(len(gpus))))
except EngineError as error:
    problem = "" if gpus else str(error)
print(json.dumps({"gpus": gpus, "problem": problem}))
"""


class Cuda(Struct, frozen=True, kw_only=True):
    """What the driver says of itself.

    Attributes:
        gpus: all that it shows.
        problem: why there are none; empty where there are.
    """

    gpus: tuple[Gpu, ...]
    problem: str

    @property
    def version(self) -> str | None:
        """The newest CUDA that the driver runs, such as "12.6"; None without a GPU."""
        return f"{self.gpus[0].driver // 1000}.{self.gpus[0].driver % 1000 // 10}" if self.gpus else None


def ask_cuda(host: Host) -> Cuda:
    """Start the driver and list the GPUs."""
    probe = host.python(_ASK)
    if probe.facts is None:
        return Cuda(gpus=(), problem=f"asking the CUDA driver failed: {probe.problem}")
    return msgspec.convert(probe.facts, Cuda)


def has_nvidia_gpu(host: Host) -> bool:
    """Whether an NVIDIA GPU is built in, working or not: a Jetson, a loaded driver, or a display controller on PCI."""
    if host.has("/etc/nv_tegra_release") or host.has("/proc/driver/nvidia/version") or is_tegra(host):
        return True
    devices = host.glob("/sys/bus/pci/devices/*")
    return any(
        host.read(f"{name}/vendor") == "0x10de" and (host.read(f"{name}/class") or "").startswith("0x03")
        for name in devices
    )


def driver_version(host: Host) -> str | None:
    """The kernel module's, such as "580.95.05" or "540.4.0"; None where it does not tell."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+\.[\d.]+)", host.read("/proc/driver/nvidia/version") or "")
    return found[1] if found else None
