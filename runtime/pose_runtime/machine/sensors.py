"""Watts, temperatures and clocks, where the board's kernel (sysfs) or the driver (NVML) tells them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from time import perf_counter

from msgspec import Struct

from pose_runtime.machine.board import gpu_clocks
from pose_runtime.machine.host import Host
from pose_runtime.machine.nvml import Nvml, open_nvml
from pose_runtime.machine.throttling import Throttling

_EVERY_S = 0.5


class Reading(Struct, frozen=True, kw_only=True):
    """One look at the sensors; what the machine does not tell is not there.

    Attributes:
        watts: by rail, such as VDD_IN.
        celsius: by zone, such as gpu-thermal.
        mhz: clocks: `cpu0`, `cpu4`, … by the first processor of each cluster, and the GPU's.
        throttled: what holds clocks down, empty for nothing; None where the machine does not tell.
    """

    watts: dict[str, float]
    celsius: dict[str, float]
    mhz: dict[str, float]
    throttled: tuple[str, ...] | None = None


class Range(Struct, frozen=True, kw_only=True):
    """Smallest, mean and largest value of a sensor over a run."""

    min: float
    mean: float
    max: float


class Sensed(Struct, frozen=True, kw_only=True):
    """The readings of a run: how many, and the range of each sensor."""

    readings: int
    watts: dict[str, Range]
    celsius: dict[str, Range]
    mhz: dict[str, Range]


class Sensors:
    """A machine's sensors, looked at between frames and never while one is timed; use it by `with`.

    Args:
        host: the machine.
        every_s: shortest time between two looks of `sample`, seconds; a look takes a few file reads.
    """

    def __init__(self, host: Host, every_s: float = _EVERY_S) -> None:
        self._host = host
        self._every_s = every_s
        self._nvml: Nvml | None = open_nvml()
        self._throttling, self._lock = Throttling(host), Lock()
        self._last_s = -float("inf")
        self._readings: list[Reading] = []

    def __enter__(self) -> Sensors:
        return self

    def __exit__(self, *_: object) -> None:
        if self._nvml is not None:
            self._nvml.close()

    def read(self) -> Reading:
        """Look now; from any thread."""
        host = self._host
        watts, celsius, mhz = _watts(host), _celsius(host), _mhz(host)
        with self._lock:
            throttled = self._throttling.read()
            if self._nvml is not None:
                self._nvml.add(watts, celsius, mhz)
                gpu = self._nvml.throttled()
                throttled = throttled if gpu is None else (*(throttled or ()), *gpu)
        return Reading(watts=watts, celsius=celsius, mhz=mhz, throttled=throttled)

    def sample(self, *, now: bool = False) -> None:
        """Keep a reading if the last one is old enough, or in any case."""
        if now or perf_counter() - self._last_s >= self._every_s:
            self._readings.append(self.read())
            self._last_s = perf_counter()

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All that were kept, in order."""
        return tuple(self._readings)

    def sensed(self) -> Sensed:
        """What the kept readings say."""
        return sensed(self._readings)


def sensed(readings: Sequence[Reading]) -> Sensed:
    """The range of every sensor over some readings."""
    return Sensed(
        readings=len(readings),
        watts=_ranges([one.watts for one in readings]),
        celsius=_ranges([one.celsius for one in readings]),
        mhz=_ranges([one.mhz for one in readings]),
    )


def _ranges(readings: Sequence[dict[str, float]]) -> dict[str, Range]:
    values: dict[str, list[float]] = {}
    for one in readings:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {
        name: Range(min=min(all_), mean=round(sum(all_) / len(all_), 3), max=max(all_)) for name, all_ in values.items()
    }


def _watts(host: Host) -> dict[str, float]:
    """Rails of INA3221 and INA238 chips: microwatts where the driver gives them, else millivolts times milliamperes."""
    watts = {}
    for folder in host.glob("/sys/class/hwmon/hwmon*"):
        chip = host.read(f"{folder}/name") or ""
        if not chip.startswith("ina"):
            continue
        for n in range(1, 4):
            label = host.read(f"{folder}/in{n}_label") or f"{chip}_{n}"
            millivolts, milliamperes = host.number(f"{folder}/in{n}_input"), host.number(f"{folder}/curr{n}_input")
            microwatts = host.number(f"{folder}/power{n}_input")
            if microwatts is not None:
                watts[label] = round(microwatts / 1e6, 3)
            elif millivolts is not None and milliamperes is not None:
                watts[label] = round(millivolts * milliamperes / 1e6, 3)
    return watts


def _celsius(host: Host) -> dict[str, float]:
    """Thermal zones; one that is switched off gives an error or nonsense far below freezing."""
    celsius = {}
    for folder in host.glob("/sys/class/thermal/thermal_zone*"):
        degrees = host.number(f"{folder}/temp")
        if degrees is not None and degrees > -100_000:
            celsius[host.read(f"{folder}/type") or folder.rpartition("/")[2]] = round(degrees / 1e3, 1)
    return celsius


def _mhz(host: Host) -> dict[str, float]:
    mhz = {}
    for folder in host.glob("/sys/devices/system/cpu/cpufreq/policy*"):
        kilohertz = host.number(f"{folder}/scaling_cur_freq")
        if kilohertz is not None:
            mhz[f"cpu{folder.rpartition('policy')[2]}"] = round(kilohertz / 1e3, 1)
    for folder in gpu_clocks(host):
        hertz = host.number(f"{folder}/cur_freq")
        if hertz is not None:
            mhz[folder.rpartition("/")[2]] = round(hertz / 1e6, 1)
    return mhz
