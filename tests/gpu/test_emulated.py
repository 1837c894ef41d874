"""The emulated launcher itself, and the layout of argument blocks as nvcc has it."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import emulated
from pose_runtime.decode import VectorDecoder
from pose_runtime.gpu.decoders import DeviceMaps, plan_decoder

KERNELS = sorted(set(re.findall(r"\bjetpose_\w+(?=\()", (emulated.NATIVE / "kernels.cuh").read_text())))


def layout(kernel: str) -> list[int]:
    """Where each parameter ends, as g++ lays the argument block out."""
    function = ctypes.CDLL(str(emulated.build_library())).jetpose_emulated_layout
    ends = (ctypes.c_int * 32)()
    return ends[: function(kernel.encode(), ends, 32)]


def test_knows_every_kernel() -> None:
    source = (emulated.NATIVE / "kernels.cu").read_text()
    assert set(KERNELS) == set(re.findall(r"__global__ void (?:__launch_bounds__\(\w+\) )?(jetpose_\w+)", source))
    assert [kernel for kernel in KERNELS if not layout(kernel)] == []
    assert layout("jetpose_nothing") == []


def test_refuses_what_cannot_run(capfd: pytest.CaptureFixture[str]) -> None:
    outputs = {"vector": [DeviceMaps(4096, (8,))]}
    (good,) = plan_decoder(VectorDecoder(origin="corner", grid="corner"), outputs, (64, 48)).launches(4096)
    for launch, message in (
        (good._replace(kernel="jetpose_nothing"), "unknown kernel"),
        (good._replace(arguments=good.arguments[:-1]), "number of argument bytes"),
        (good._replace(arguments=good.arguments + b"\0"), "number of argument bytes"),
        (good._replace(grid=(0, 1, 1)), "failed"),
        (good._replace(block=(2048, 1, 1)), "failed"),
    ):
        with pytest.raises(RuntimeError, match=message):
            emulated.run(launch)
    assert "launch of 0 x 1 x 1 blocks" in capfd.readouterr().err


def sections(cubin: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a 64-bit ELF file's sections."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
    for name, _, _, _, offset, length in heads:
        start = heads[names][4] + name
        yield cubin[start : cubin.index(b"\0", start)].decode(), cubin[offset : offset + length]


def parameter_ends(info: bytes) -> list[int]:
    """Where each parameter of a kernel ends, from its .nv.info section: EIATTR_KPARAM_INFO entries."""
    ends, at = {}, 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == 4:  # the value follows
            if attribute == 0x17:
                _, ordinal, offset, bits = struct.unpack_from("<IHHI", info, at)
                ends[ordinal] = offset + (bits >> 18)
            at += size
    return [ends[i] for i in sorted(ends)]


@pytest.mark.slow
def test_argument_blocks_are_laid_out_as_nvcc_does(tmp_path: Path) -> None:
    script = emulated.ROOT / "deploy" / "build_kernels.py"
    if subprocess.run([sys.executable, str(script), "--which-nvcc"], capture_output=True, check=False).returncode:
        pytest.skip("no nvcc on this machine")
    command = [sys.executable, str(script), str(tmp_path), "--nvcc", "87", "--nvrtc"]
    subprocess.run(command, capture_output=True, check=False)  # NVRTC may be missing
    found = dict(sections(next(tmp_path.glob("nvcc-*.sm_87.cubin")).read_bytes()))
    for kernel in KERNELS:
        assert layout(kernel) == parameter_ends(found[f".nv.info.{kernel}"]), kernel
