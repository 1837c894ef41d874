"""A discrete GPU's watts, temperature, clocks and memory through NVML, where `pynvml` happens to be installed."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from pose_runtime.machine.throttling import nvml_reasons

_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
"""One function: CUDA 14 will not have the old name, older drivers have not the new one."""


class Nvml:
    """The driver's management library, for the first GPU; what it does not tell (on a Jetson much) is left out."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._device = library.nvmlDeviceGetHandleByIndex(0)

    def add(self, watts: dict[str, float], celsius: dict[str, float], mhz: dict[str, float]) -> None:
        """Put what it tells beside what is there, as `nvml`, `nvml_sm` and `nvml_memory`."""
        lib, device = self._library, self._device
        with contextlib.suppress(lib.NVMLError):
            watts["nvml"] = round(lib.nvmlDeviceGetPowerUsage(device) / 1e3, 3)
        with contextlib.suppress(lib.NVMLError):
            celsius["nvml"] = float(lib.nvmlDeviceGetTemperature(device, lib.NVML_TEMPERATURE_GPU))
        for name, clock in (("nvml_sm", lib.NVML_CLOCK_SM), ("nvml_memory", lib.NVML_CLOCK_MEM)):
            with contextlib.suppress(lib.NVMLError):
                mhz[name] = float(lib.nvmlDeviceGetClockInfo(device, clock))

    def throttled(self) -> tuple[str, ...] | None:
        """What holds the GPU's clocks down, None where the driver does not tell."""
        for name in _REASONS:
            ask = getattr(self._library, name, None)
            if ask is not None:
                with contextlib.suppress(self._library.NVMLError):
                    return nvml_reasons(int(ask(self._device)))
        return None

    def used_bytes(self) -> int | None:
        """Memory in use on the GPU, by everybody."""
        try:
            return int(self._library.nvmlDeviceGetMemoryInfo(self._device).used)
        except self._library.NVMLError:
            return None

    def close(self) -> None:
        """End the use of the library."""
        with contextlib.suppress(self._library.NVMLError):
            self._library.nvmlShutdown()


def open_nvml() -> Nvml | None:
    """NVML, None where the module, the library or a GPU is missing."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
        return Nvml(library)
    except library.NVMLError:
        return None
