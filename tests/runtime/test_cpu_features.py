"""What /proc/cpuinfo says of integer dot products, on x86 and Arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from pose_runtime import cpu_features

SAPPHIRE_RAPIDS = """processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse4_2 avx2 avx512f avx512bw {vnni}amx_tile
vmx flags\t: vnmi preemption_timer
bugs\t\t: spectre_v1

"""
ORIN = """processor\t: {n}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes atomics fphp asimdhp {dot}
CPU implementer\t: 0x41
CPU part\t: 0xd42

"""


def x86(*vnni: str) -> str:
    return "".join(SAPPHIRE_RAPIDS.format(n=n, vnni=f"{flags} " if flags else "") for n, flags in enumerate(vnni))


def arm(*dot: str) -> str:
    return "".join(ORIN.format(n=n, dot=flags) for n, flags in enumerate(dot))


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (x86("avx512_vnni", "avx512_vnni"), True),
        (x86("avx_vnni"), True),
        (x86("amx_int8"), True),
        (x86("avx512_vnni", ""), False),  # a thread may land on the second
        (x86("", ""), False),
        (x86("avx512_vnni_not"), False),
        (arm("asimddp", "asimddp"), True),
        (arm("i8mm"), True),
        (arm("asimddp", ""), False),
        (arm(""), False),
        ("processor\t: 0\nisa\t\t: rv64imafdc\n", False),
        ("model name\t: flags avx512_vnni\n", False),
        ("", False),
        ("\x00\xff:::\n:", False),
    ],
)
def test_integer_dot_products(cpuinfo: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo, encoding="latin-1")
    monkeypatch.setattr(cpu_features, "CPUINFO", path)
    assert cpu_features.has_int8_dot() is expected


def test_nothing_is_known_without_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "CPUINFO", tmp_path / "none")
    assert not cpu_features.has_int8_dot()


def test_this_machine() -> None:
    if not cpu_features.CPUINFO.exists():
        pytest.skip("no /proc/cpuinfo")
    found = cpu_features.features(cpu_features.CPUINFO.read_text())
    assert {"fpu", "fp"} & found
