from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from machines import FakeHost, gpu_pc, orin_nano, pc, thor
from pose_runtime.machine import nvml
from pose_runtime.machine.board import jetpack_of, read_board
from pose_runtime.machine.facts import Machine, cpu_name, load_average, memory_bytes, peak_rss_bytes, read_machine
from pose_runtime.machine.gpu import ask_cuda, driver_version, has_nvidia_gpu
from pose_runtime.machine.host import Host
from pose_runtime.machine.sensors import Range, Reading, Sensors, sensed
from pose_runtime.machine.throttling import Throttling


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("36.4.3", "6.2"),
        ("36.4.7", "6.2.1"),
        ("36.4.0", "6.1"),
        ("36.9", "6"),
        ("38.2.2", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
        ("39.2.1", "7.2.1"),
        ("39.9", "7"),
        ("35.6.0", "5"),
        ("32.7.1", None),
        ("", None),
    ],
)
def test_jetpack_of_jetson_linux(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


def test_boards(tmp_path: Path) -> None:
    board = read_board(orin_nano(tmp_path / "orin"))
    assert board is not None
    assert (board.l4t, board.jetpack, board.power_mode, board.clocks_fixed) == ("36.4.3", "6.2", "25W", False)
    board = read_board(thor(tmp_path / "thor"))
    assert board is not None
    assert (board.model, board.power_mode, board.clocks_fixed) == ("NVIDIA Jetson AGX Thor Developer Kit", "MAXN", True)
    assert read_board(pc(tmp_path / "pc")) is None
    inside = FakeHost(tmp_path / "container", {"/proc/device-tree/compatible": "nvidia,p3767\0nvidia,tegra234\0"})
    board = read_board(inside)
    assert board is not None
    assert (board.l4t, board.jetpack) == (None, None)
    assert has_nvidia_gpu(inside)
    bare = read_board(FakeHost(tmp_path / "bare", {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3,"}))
    assert bare is not None
    assert (bare.model, bare.power_mode, bare.clocks_fixed) == (None, None, None)
    assert read_board(FakeHost(tmp_path / "odd", {"/etc/nv_tegra_release": "something else"})) is None


def test_sensors_of_a_board(tmp_path: Path) -> None:
    host = orin_nano(tmp_path)
    with Sensors(host, every_s=1e9) as sensors:
        reading = sensors.read()
        assert reading.watts == {"VDD_IN": 7.464, "VDD_CPU_GPU_CV": 1.987}
        assert reading.celsius == {"cpu-thermal": 48.0}  # the other zone is off
        assert reading.mhz == {"cpu0": 1510.4, "17000000.gpu": 306.0}
        sensors.sample()
        sensors.sample()
        assert len(sensors.readings) == 1
        host.path("/sys/class/hwmon/hwmon1/power1_input").write_text("9000000")
        sensors.sample(now=True)
        assert sensors.sensed().watts["VDD_IN"] == Range(min=7.464, mean=8.232, max=9.0)
    with Sensors(pc(tmp_path / "pc")) as sensors:
        assert sensors.read() == Reading(watts={}, celsius={}, mhz={})
    assert sensed([]).readings == 0
    with Sensors(thor(tmp_path / "thor")) as sensors:
        assert sensors.read().mhz == {"cpu0": 2601.0, "gpu-gpc-0": 1575.0}


class FakeNvml(ModuleType):
    """As much of pynvml as is used; what is in `refused` is not supported."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        self.refused, self.open = refused, 0
        for name, value in {
            "nvmlDeviceGetHandleByIndex": "gpu0",
            "nvmlDeviceGetPowerUsage": 71234,
            "nvmlDeviceGetTemperature": 41,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x61,  # idle is no loss
        }.items():
            setattr(self, name, self._function(name, value))

    def _function(self, name: str, value: Any) -> Any:
        def call(*_: object) -> Any:
            if name in self.refused:
                raise self.NVMLError(name)
            return value

        return call

    def nvmlInit(self) -> None:
        if "nvmlInit" in self.refused:
            raise self.NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1


def test_nvml_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    with Sensors(gpu_pc(tmp_path)) as sensors:
        reading = sensors.read()
    assert (reading.watts, reading.celsius) == ({"nvml": 71.234}, {"nvml": 41.0})
    assert reading.mhz == {"nvml_sm": 1980.0, "nvml_memory": 1980.0}
    assert reading.throttled == ("gpu: heat",)
    assert library.open == 0
    library.nvmlDeviceGetCurrentClocksEventReasons = lambda _: 0x84  # its name from CUDA 12 on
    with Sensors(gpu_pc(tmp_path)) as sensors:
        assert sensors.read().throttled == ("gpu: power cap", "gpu: power brake")
    refused = ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo", "nvmlDeviceGetCurrentClocksThrottleReasons")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(refused))
    with Sensors(gpu_pc(tmp_path)) as sensors:
        assert sensors.read() == Reading(watts={}, celsius={"nvml": 41.0}, mhz={})
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(("nvmlInit",)))
    assert nvml.open_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.open_nvml() is None


def test_throttling_of_a_board(tmp_path: Path) -> None:
    device, counters = "/sys/class/thermal/cooling_device", "/sys/class/hwmon/hwmon7"
    host = FakeHost(
        tmp_path / "board",
        {
            f"{device}0/type": "cpu-throttle-alert\n",
            f"{device}0/cur_state": "0\n",
            f"{device}1/type": "devfreq-17000000.gpu\n",
            f"{device}1/cur_state": "0\n",
            f"{device}2/type": "pwm-fan\n",  # it turns, and nothing is slower for that
            f"{device}2/cur_state": "3\n",
            f"{counters}/name": "soctherm_oc\n",
            f"{counters}/oc1_event_cnt": "4\n",  # before we looked
            f"{counters}/oc3_event_cnt": "0\n",
        },
    )
    throttling = Throttling(host)
    assert throttling.read() == ()
    host.path(f"{device}1/cur_state").write_text("2")
    host.path(f"{counters}/oc3_event_cnt").write_text("1")
    assert throttling.read() == ("devfreq-17000000.gpu", "over-current 3")
    assert throttling.read() == ("devfreq-17000000.gpu",)  # the event is over, the heat is not
    assert Throttling(pc(tmp_path / "pc")).read() is None
    fan = {f"{device}0/type": "pwm-fan", f"{device}0/cur_state": "1"}
    assert Throttling(FakeHost(tmp_path / "fan", fan)).read() is None


def test_drivers(tmp_path: Path) -> None:
    host = gpu_pc(tmp_path)
    assert driver_version(host) == "580.95.05"
    assert driver_version(orin_nano(tmp_path / "orin")) == "540.4.0"
    assert driver_version(pc(tmp_path / "pc")) is None
    assert ask_cuda(host).version == "13.0"
    assert ask_cuda(gpu_pc(tmp_path, cuda="no driver")).version is None
    assert ask_cuda(gpu_pc(tmp_path, cuda="!it hung")).problem == "asking the CUDA driver failed: it hung"


def test_libcuda_of_this_machine_is_asked_in_another_process() -> None:
    cuda = ask_cuda(Host())
    assert bool(cuda.gpus) != bool(cuda.problem)
    assert cuda.problem.startswith("CUDA driver: ") or cuda.version


def test_facts_of_machines(tmp_path: Path) -> None:
    machine = read_machine(gpu_pc(tmp_path))
    assert (machine.cpu, machine.driver, machine.cuda) == ("A Processor", "580.95.05", "13.0")
    assert [gpu.name for gpu in machine.gpus] == ["NVIDIA H200"]
    assert msgspec.json.decode(msgspec.json.encode(machine), type=Machine) == machine
    arm = FakeHost(tmp_path / "arm", {"/proc/cpuinfo": "CPU implementer : 0x41\nCPU part\t: 0xd42\n"})
    assert cpu_name(arm) == "CPU implementer 0x41, CPU part 0xd42"
    assert cpu_name(FakeHost(tmp_path / "none")) == "unknown"
    here = read_machine(Host())
    assert here.cores >= 1
    assert here.libraries["numpy"]
    assert os.uname().nodename not in here.system.split()


def test_small_files_of_proc(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {"/proc/loadavg": "0.5 1.25 2 1/99 1234", "/proc/self/status": "VmHWM:\t 2048 kB"})
    assert load_average(host) == (0.5, 1.25, 2.0)
    assert peak_rss_bytes(host) == 2 << 20
    assert memory_bytes(host, "MemTotal") is None
    nothing = FakeHost(tmp_path / "none", {"/proc/loadavg": "a b c"})
    assert (load_average(nothing), peak_rss_bytes(nothing)) == (None, None)
