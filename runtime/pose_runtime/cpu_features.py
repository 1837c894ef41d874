"""What this processor can do, as Linux tells it in /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

_LISTS = ("flags", "Features")  # x86's and Arm's name for the line
_INT8_DOT = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def has_int8_dot() -> bool:
    """Whether it sums products of 8-bit integers in 32 bits at once: VNNI or AMX of x86, the dot product of Arm.

    Without that INT8 is no faster than FP32, and x86 sums pairs of products in 16 bits, where they saturate: the same
    graph gives other results.
    """
    try:
        text = CPUINFO.read_text(errors="replace")
    except OSError:  # no Linux: nothing is known
        return False
    return not _INT8_DOT.isdisjoint(features(text))


def features(cpuinfo: str) -> frozenset[str]:
    """The features that every processor of a /proc/cpuinfo has: a thread may run on any of them."""
    of_each = [
        frozenset(values.split())
        for name, _, values in (line.partition(":") for line in cpuinfo.splitlines())
        if name.strip() in _LISTS
    ]
    return frozenset.intersection(*of_each) if of_each else frozenset()
