"""Machines that are not here: a folder that stands for `/`, and what programs and modules would say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pose_runtime.gpu.driver import Gpu
from pose_runtime.machine.host import Host, Probe

ORIN = Gpu(name="Orin", sm=(8, 7), processors=8, driver=12060, integrated=True, memory_bytes=8 << 30)
THOR = Gpu(name="NVIDIA Thor", sm=(11, 0), processors=20, driver=13020, integrated=True, memory_bytes=128 << 30)
H200 = Gpu(name="NVIDIA H200", sm=(9, 0), processors=132, driver=13000, integrated=False, memory_bytes=139 << 30)
MODULES = {"onnxruntime": "1.23.0", "cv2": "4.12.0", "av": "17.0.0"}


class FakeHost(Host):
    """A machine of files, texts of programs, and modules.

    modules: name -> version, or an exception's last line after `!`; one that is not there cannot be imported.
    cuda: the GPUs; a str for what the driver says instead, after `!` for how asking it ended.
    closed: names that this user may not open.
    """

    def __init__(
        self,
        root: Path,
        files: Mapping[str, str] = {},
        programs: Mapping[str, str] = {},
        modules: Mapping[str, str] = MODULES,
        cuda: Sequence[Gpu] | str = "CUDA driver: cannot load libcuda.so.1",
        closed: tuple[str, ...] = (),
        python: tuple[int, int] = (3, 12),
        gstreamer: bool = False,
        free: int | None = 100 << 30,
    ) -> None:
        super().__init__(root)
        for name, text in files.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.programs, self.modules, self.cuda, self.closed = dict(programs), dict(modules), cuda, closed
        self._python, self.gstreamer, self.free = python, gstreamer, free

    def run(self, *command: str, timeout_s: float = 10) -> str | None:
        return self.programs.get(" ".join(command))

    def python(self, code: str, timeout_s: float = 60) -> Probe:
        if "find_gpu" in code:
            if isinstance(self.cuda, str):
                return _said(self.cuda, {"gpus": [], "problem": self.cuda})
            return Probe({"gpus": msgspec.to_builtins(self.cuda), "problem": ""})
        if "find_library" in code:
            said = self.modules.get("tensorrt", "TensorRT is not installed")
            is_there = said.startswith("TensorRT ") and "not" not in said
            return _said(said, {"version": said} if is_there else {"version": "", "problem": said})
        names = re.findall(r"import (.+?)(?:;|\n|$)", code.strip())[0].split(", ")
        name = next(n for n in names if n != "json").partition(".")[0]
        said = self.modules.get(name, f"!ModuleNotFoundError: No module named '{name}'")
        return _said(said, {"version": said, "gstreamer": self.gstreamer})

    def python_version(self) -> tuple[int, int]:
        return self._python

    def may(self, name: str, mode: int) -> bool:
        return self.has(name) and name not in self.closed

    def free_bytes(self, name: str) -> int | None:
        return self.free


def meminfo(total_gib: float, free_gib: float) -> str:
    kib = {"MemTotal": total_gib, "MemAvailable": free_gib}
    return "\n".join(f"{name}: {int(gib * 2**20)} kB" for name, gib in kib.items())


def _said(text: str, facts: dict[str, Any]) -> Probe:
    return Probe(None, text[1:]) if text.startswith("!") else Probe(facts)


def _clocks(cpu: tuple[int, int], gpu: tuple[int, int], gpu_name: str) -> dict[str, str]:
    policy, devfreq = "/sys/devices/system/cpu/cpufreq/policy0", f"/sys/class/devfreq/{gpu_name}"
    return {
        f"{policy}/scaling_min_freq": str(cpu[0]),
        f"{policy}/scaling_max_freq": str(cpu[1]),
        f"{policy}/scaling_cur_freq": str(cpu[1]),
        f"{policy}/scaling_governor": "schedutil\n",
        f"{devfreq}/min_freq": str(gpu[0]),
        f"{devfreq}/max_freq": str(gpu[1]),
        f"{devfreq}/cur_freq": str(gpu[0]),
    }


def orin_nano(root: Path, **options: Any) -> FakeHost:
    """JetPack 6.2 as it is after flashing: 25 W, clocks free, jetpose's environment complete."""
    files = {
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release\n",
        "/var/lib/nvpmodel/status": "pmode:0001\n",
        "/etc/nvpmodel.conf": "# < POWER_MODEL ID=9 NAME=MAXN_OLD >\n< POWER_MODEL ID=0 NAME=15W >\n"
        "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
        "/proc/meminfo": meminfo(7.4, 5.2),
        "/proc/swaps": "Filename Type Size Used Priority\n/dev/zram0 partition 3900000 0 5\n",
        "/sys/class/hwmon/hwmon1/name": "ina3221\n",
        "/sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
        "/sys/class/hwmon/hwmon1/in1_input": "4976\n",
        "/sys/class/hwmon/hwmon1/curr1_input": "1500\n",
        "/sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
        "/sys/class/hwmon/hwmon1/in2_input": "4968\n",
        "/sys/class/hwmon/hwmon1/curr2_input": "400\n",
        "/sys/class/hwmon/hwmon0/name": "pwmfan\n",
        "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "/sys/class/thermal/thermal_zone0/temp": "48031\n",
        "/sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
        "/sys/class/thermal/thermal_zone1/temp": "-256000\n",
        "/dev/video0": "",
        "/var/lib/jetpose/x": "",
        **_clocks((729600, 1510400), (306000000, 918000000), "17000000.gpu"),
    }
    modules = {**MODULES, "tensorrt": "TensorRT 10.3.0", "pycuda": "2026.1"}
    given = {"python": (3, 10), "cuda": [ORIN], "modules": modules, "gstreamer": True}
    programs = {"/usr/local/cuda/bin/nvcc --version": "Cuda compilation tools, release 12.6, V12.6.68\n"}
    return FakeHost(root, files | options.pop("files", {}), **({"programs": programs} | given | options))


def thor(root: Path, **options: Any) -> FakeHost:
    """JetPack 7.2, with everything as it should be."""
    files = {
        "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64\n",
        "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  595.78  Release\n",
        "/var/lib/nvpmodel/status": "pmode:0000\n",
        "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
        "/proc/meminfo": meminfo(122, 100),
        "/proc/swaps": "Filename Type Size Used Priority\n",
        "/var/lib/jetpose/x": "",
        **_clocks((2601000, 2601000), (1575000000, 1575000000), "gpu-gpc-0"),
        "/sys/class/devfreq/gpu-nvd-0/min_freq": "1",
        "/sys/class/devfreq/gpu-nvd-0/max_freq": "2",
    }
    modules = {**MODULES, "tensorrt": "TensorRT 10.16.2.10", "pycuda": "2026.1"}
    given = {"cuda": [THOR], "modules": modules, "gstreamer": True}
    programs = {"nvcc --version": "Cuda compilation tools, release 13.2, V13.2.1\n"}
    return FakeHost(root, files | options.pop("files", {}), **({"programs": programs} | given | options))


def pc(root: Path, **options: Any) -> FakeHost:
    """A workstation without an NVIDIA GPU."""
    files = {
        "/proc/meminfo": meminfo(31, 20),
        "/proc/cpuinfo": "model name : A Processor\nflags : fpu avx2 avx512_vnni\n",
        "/sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
        "/sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n",
    }
    return FakeHost(root, files | options.pop("files", {}), **options)


def gpu_pc(root: Path, **options: Any) -> FakeHost:
    """The same with an NVIDIA GPU whose driver works, and TensorRT."""
    files = {
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\n",
        "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
        "/var/lib/jetpose/x": "",
        "/dev/nvidia0": "",
    }
    modules = {**MODULES, "tensorrt": "TensorRT 11.4.0.106", "pycuda": "2026.1"}
    given = {"cuda": [H200], "modules": modules}
    programs = {"nvcc --version": "Cuda compilation tools, release 13.0, V13.0.88\n"}
    return pc(root, files=files | options.pop("files", {}), **({"programs": programs} | given | options))
