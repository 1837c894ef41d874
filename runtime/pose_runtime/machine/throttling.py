"""What holds a machine's clocks down right now: heat, or too little current."""

from __future__ import annotations

import re

from pose_runtime.machine.host import Host

# By their kernel names: ACPI's processors, clocks of processors and devices, and the alerts of NVIDIA's boards. Fans
# are cooling devices too, and no loss.
_CLOCKS = re.compile(r"Processor$|(thermal-)?(cpufreq|devfreq)-|[\w-]+-throttle-alert$")

_NVML_REASONS = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x20, "heat"),
    (0x40, "heat"),
    (0x80, "power brake"),
)
"""Bits of nvmlDeviceGetCurrentClocksThrottleReasons that mean less speed than the GPU could give."""


class Throttling:
    """Looks for reasons. Over-current is an event, so a look tells what has happened since the one before.

    Args:
        host: the machine.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._events: dict[str, float] = {}

    def read(self) -> tuple[str, ...] | None:
        """The reasons, sorted, such as `cpu-throttle-alert` or `over-current 1`; None where the machine tells none."""
        heat, current = self._heat(), self._over_current()
        if heat is None and current is None:
            return None
        return tuple(sorted({*(heat or ()), *(current or ())}))

    def _heat(self) -> list[str] | None:
        """Cooling devices that slow something down, and do."""
        found: list[str] | None = None
        for folder in self._host.glob("/sys/class/thermal/cooling_device*"):
            kind, state = self._host.read(f"{folder}/type") or "", self._host.number(f"{folder}/cur_state")
            if state is None or not _CLOCKS.match(kind):
                continue
            found = found or []
            if state > 0:
                found.append(kind)
        return found

    def _over_current(self) -> list[str] | None:
        """Counters of Tegra's `soctherm_oc` that have risen."""
        found: list[str] | None = None
        for folder in self._host.glob("/sys/class/hwmon/hwmon*"):
            if self._host.read(f"{folder}/name") != "soctherm_oc":
                continue
            found = found or []
            for name in self._host.glob(f"{folder}/oc*_event_cnt"):
                count = self._host.number(name)
                if count is None:
                    continue
                if count > self._events.get(name, count):
                    found.append(f"over-current {name.rpartition('/oc')[2].removesuffix('_event_cnt')}")
                self._events[name] = count
        return found


def nvml_reasons(mask: int) -> tuple[str, ...]:
    """The reasons that NVML's bits stand for."""
    return tuple(dict.fromkeys(f"gpu: {reason}" for bit, reason in _NVML_REASONS if mask & bit))
