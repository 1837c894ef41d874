"""Checks of what a machine has left: memory, swap, disk, the cache folder, cameras."""

from __future__ import annotations

import os

from pose_runtime.doctor.finding import Finding
from pose_runtime.doctor.patient import Patient
from pose_runtime.machine.facts import memory_bytes
from pose_runtime.plan_cache import SYSTEM_FOLDER

_CACHE = str(SYSTEM_FOLDER)
_GIB = 2**30
_LEAST_MEMORY = 1 * _GIB  # free, for a full-size network in FP32
_LEAST_TO_BUILD = 10 * _GIB  # memory and swap, for TensorRT to build a full-size network
_LEAST_DISK = 1 * _GIB


def check_memory(patient: Patient) -> Finding:
    """Memory that is free now."""
    free, total = (memory_bytes(patient.host, field) for field in ("MemAvailable", "MemTotal"))
    if free is None or total is None:
        return Finding(check="memory", status="warning", text="nothing tells it", remedy="free -h")
    text = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free >= _LEAST_MEMORY:
        return Finding(check="memory", status="ok", text=text)
    desktop = "sudo systemctl isolate multi-user.target  # ends the desktop"
    remedy = desktop if patient.board else "ps aux --sort=-rss | head"
    return Finding(check="memory", status="warning", text=f"{text}, wanted 1 GiB", remedy=remedy)


def check_swap(patient: Patient) -> Finding:
    """Enough memory and swap for TensorRT to build a plan; only where it would."""
    if not patient.has_gpu:
        return Finding(check="swap", status="not applicable", text="only building plans for a GPU needs it")
    total, (swap, zram) = memory_bytes(patient.host, "MemTotal") or 0, _swaps(patient)
    text = f"{swap / _GIB:.1f} GiB beside {total / _GIB:.1f} GiB of memory"
    if zram:
        text += f"; {zram / _GIB:.1f} GiB of zram do not count, for they are memory"
    if total + swap >= _LEAST_TO_BUILD:
        return Finding(check="swap", status="ok", text=text)
    remedy = (
        "sudo fallocate -l 8G /var/jetpose.swap && sudo chmod 600 /var/jetpose.swap && "
        "sudo mkswap /var/jetpose.swap && sudo swapon /var/jetpose.swap"
    )
    text += ": building a plan of a large network may run out of memory"
    return Finding(check="swap", status="warning", text=text, remedy=remedy)


def _swaps(patient: Patient) -> tuple[int, int]:
    """Bytes of swap on disks, and of swap that is compressed memory."""
    sizes = {True: 0, False: 0}
    for line in (patient.host.read("/proc/swaps") or "").splitlines()[1:]:
        name, _, size = [*line.split(), "", "", "0"][:3]
        sizes["zram" in name] += int(size) * 1024 if size.isdigit() else 0
    return sizes[False], sizes[True]


def check_disk(patient: Patient) -> Finding:
    """Room for plans and results."""
    free = patient.host.free_bytes(_CACHE)
    if free is None:
        return Finding(check="disk", status="warning", text="nothing tells it", remedy="df -h /var")
    text = f"{free / _GIB:.1f} GiB free in /var"
    if free >= _LEAST_DISK:
        return Finding(check="disk", status="ok", text=text)
    return Finding(check="disk", status="warning", text=f"{text}, wanted 1 GiB", remedy="sudo apt-get clean")


def check_cache(patient: Patient) -> Finding:
    """The folder of plans that a service and the command line share."""
    if not patient.has_gpu:
        return Finding(check="cache", status="not applicable", text="only plans for a GPU are kept")
    host = patient.host
    if host.may(_CACHE if host.has(_CACHE) else _CACHE.rpartition("/")[0], os.W_OK | os.X_OK):
        return Finding(check="cache", status="ok", text=f"{_CACHE} is writable")
    text = f"{_CACHE} is not writable: plans go to ~/.cache/jetpose, where a service does not find them"
    remedy = f'sudo install -d -o "$USER" {_CACHE}'
    return Finding(check="cache", status="warning", text=text, remedy=remedy)


def check_cameras(patient: Patient) -> Finding:
    """Video devices, and whether this user may open them."""
    devices = patient.host.glob("/dev/video*")
    if not devices:
        return Finding(check="cameras", status="not applicable", text="none in /dev/video*")
    closed = [name for name in devices if not patient.host.may(name, os.R_OK | os.W_OK)]
    if not closed:
        return Finding(check="cameras", status="ok", text=", ".join(devices))
    remedy = 'sudo usermod -aG video "$USER"  # then log in anew'
    return Finding(check="cameras", status="warning", text=f"{', '.join(closed)} may not be opened", remedy=remedy)
