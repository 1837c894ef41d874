"""Which Jetson this is, if it is one: model, JetPack, power mode."""

from __future__ import annotations

import re

from msgspec import Struct

from pose_runtime.machine.host import Host

_JETPACKS = {
    (35,): "5",
    (36, 3): "6.0",
    (36, 4, 0): "6.1",
    (36, 4, 3): "6.2",
    (36, 4, 4): "6.2.1",
    (36, 4, 7): "6.2.1",
    (36,): "6",
    (38, 2): "7.0",
    (38, 4): "7.1",
    (39, 2): "7.2",
    (39, 2, 1): "7.2.1",
    (39, 2, 2): "7.2.2",
    (38,): "7",
    (39,): "7",
}
"""Jetson Linux (L4T) -> JetPack; a longer key is more exact."""


class Board(Struct, frozen=True, kw_only=True):
    """A Jetson.

    Attributes:
        model: as its device tree says, such as "NVIDIA Jetson Orin Nano Developer Kit"; None where it does not.
        l4t: release of Jetson Linux, such as "36.4.3"; None where nothing tells, as in most containers.
        jetpack: the JetPack of that release, such as "6.2"; only the major number where the release is not known, None
            where not even that.
        power_mode: name of nvpmodel's mode, such as "MAXN_SUPER", or its number; None where nothing tells.
        clocks_fixed: whether jetson_clocks holds CPU and GPU at their highest clock; None where nothing tells.
    """

    model: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    clocks_fixed: bool | None


def read_board(host: Host) -> Board | None:
    """The Jetson that this is, by its device tree or by Jetson Linux's own file; None on any other machine."""
    text = host.read("/etc/nv_tegra_release")
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text or "")
    if found is None and not is_tegra(host):
        return None
    l4t = f"{found[1]}.{found[2]}".rstrip(".") if found else None
    return Board(
        model=host.read("/proc/device-tree/model") or None,
        l4t=l4t,
        jetpack=jetpack_of(l4t or ""),
        power_mode=power_mode(host),
        clocks_fixed=clocks_fixed(host),
    )


def is_tegra(host: Host) -> bool:
    """Whether the device tree names one of NVIDIA's systems on a chip, which a container cannot hide."""
    return "nvidia,tegra" in (host.read("/proc/device-tree/compatible") or "")


def jetpack_of(l4t: str) -> str | None:
    """JetPack of a release of Jetson Linux, by the longest known beginning."""
    parts = tuple(int(part) for part in l4t.split(".") if part)
    for length in range(len(parts), 0, -1):
        if parts[:length] in _JETPACKS:
            return _JETPACKS[parts[:length]]
    return None


def power_mode(host: Host) -> str | None:
    """nvpmodel's mode, by its files, which everybody may read, or by the program.

    /var/lib/nvpmodel/status holds `pmode:0002`, /etc/nvpmodel.conf the names: `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`.
    """
    status = re.search(r"pmode:0*(\d+)", host.read("/var/lib/nvpmodel/status") or "")
    if status is not None:
        names = dict(re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", _modes(host), re.MULTILINE))
        return names.get(status[1], status[1])
    said = re.search(r"NV Power Mode: *(\S+)", host.run("nvpmodel", "-q") or "")
    return said[1] if said else None


def most_power(host: Host) -> tuple[str, str] | None:
    """Number and name of the mode without limits (MAXN_SUPER, else MAXN), None where the board names none."""
    modes = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(MAXN\w*)", _modes(host), re.MULTILINE)
    return max(modes, key=lambda mode: len(mode[1]), default=None)


def clocks_fixed(host: Host) -> bool | None:
    """Whether every CPU and the GPU have their lowest clock set to the highest, which is what jetson_clocks does."""
    ranges = [
        (host.number(f"{name}/{low}"), host.number(f"{name}/{high}"))
        for names, low, high in (
            (host.glob("/sys/devices/system/cpu/cpufreq/policy*"), "scaling_min_freq", "scaling_max_freq"),
            (gpu_clocks(host), "min_freq", "max_freq"),
        )
        for name in names
    ]
    known = [(low, high) for low, high in ranges if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None


def gpu_clocks(host: Host) -> list[str]:
    """The devfreq folders of the board's GPU: `17000000.gpu` (Orin; once `17000000.ga10b`), `gpu-gpc-0` (Thor)."""
    return [
        name for name in host.glob("/sys/class/devfreq/*") if re.search(r"\.(gpu|ga10b|gv11b)$|/gpu-gpc-\d+$", name)
    ]


def _modes(host: Host) -> str:
    return host.read("/etc/nvpmodel.conf") or ""
