"""The table of what each kernel needs: read from the assembler's words, judged, compared, shown on the page."""

from __future__ import annotations

import json
from pathlib import Path

import build_kernels
import kernel_table
import pytest
from kernel_table import Needs

NVCC = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'jetpose_plain' for 'sm_87'
ptxas info    : Function properties for jetpose_plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 26 registers, used 1 barriers, 384 bytes cmem[0]
ptxas info    : Compile time = 22.269 ms
ptxas info    : Compiling entry function 'jetpose_calling' for 'sm_87'
ptxas info    : Function properties for _Z5innerv
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for jetpose_calling
    48 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 130 registers, used 1 barriers, 64 bytes cumulative stack size, 384 bytes smem, 8 bytes cmem[2]
"""
NVRTC = NVCC.replace("    0 bytes", "ptxas         .     0 bytes")
PLAIN, CALLING = Needs(26, 0, 0, 0), Needs(130, 64, 384, 12)


@pytest.mark.parametrize("log", [NVCC, NVRTC])
def test_the_assemblers_words_are_read(log: str) -> None:
    assert kernel_table.parse(log) == {"jetpose_calling": CALLING, "jetpose_plain": PLAIN}


def test_words_that_are_not_understood_are_an_error() -> None:
    with pytest.raises(build_kernels.BuildError, match="jetpose_plain: the assembler's words"):
        kernel_table.parse(NVCC.replace("registers", "Register"))


def test_spills_and_blocks_that_do_not_fit_are_faults() -> None:
    def faults(needs: Needs) -> list[str]:
        return kernel_table.faults({"sm_87": {"jetpose_plain": needs}})

    assert faults(PLAIN) == faults(Needs(128, 999, 48 << 10, 0)) == []
    assert faults(Needs(26, 0, 0, 4)) == ["jetpose_plain, sm_87: spills 4 bytes of registers"]
    assert faults(Needs(129, 0, 0, 0)) == ["jetpose_plain, sm_87: 129 registers, wanted at most 128"]
    assert faults(Needs(26, 0, 49153, 0)) == [
        "jetpose_plain, sm_87: 49153 bytes of shared memory, wanted at most 49152"
    ]
    assert len(faults(CALLING)) == 2


def test_every_difference_is_named() -> None:
    committed = {"sm_87": {"jetpose_a": PLAIN, "jetpose_b": PLAIN}, "sm_90": {"jetpose_a": PLAIN}}
    assert kernel_table.differences(committed, committed) == []
    got = {"sm_87": {"jetpose_a": PLAIN._replace(registers=27), "jetpose_c": PLAIN}}
    changed = [line.partition(":")[0] for line in kernel_table.differences(got, committed)]
    assert changed == ["jetpose_a, sm_87", "jetpose_b, sm_87", "jetpose_c, sm_87", "jetpose_a, sm_90"]


def test_the_committed_table_holds_every_kernel_and_image_without_faults() -> None:
    table = kernel_table.load()
    images = {key.split(" by ")[0] for key in table}
    assert images == {f"sm_{sm}" for sm in (*kernel_table.NVCC, *kernel_table.NVRTC)}
    assert len(table) == len(kernel_table.NVCC) + len(kernel_table.NVRTC)
    for kernels in table.values():
        assert list(kernels) == build_kernels.declared()
    assert kernel_table.faults(table) == []
    assert json.loads(kernel_table.dump(table)) == json.loads(kernel_table.TABLE.read_text())


def test_the_page_shows_the_committed_table() -> None:
    assert kernel_table.on_page(kernel_table.PAGE.read_text()) == kernel_table.markdown(kernel_table.load())


def test_a_page_without_its_marks_is_not_written(tmp_path: Path) -> None:
    page = f"before\n{kernel_table.BEGIN}\nold\n{kernel_table.END}\nafter\n"
    assert kernel_table.put_on_page(page, "new") == page.replace("old", "new")
    with pytest.raises(build_kernels.BuildError, match="lacks"):
        kernel_table.put_on_page("no marks", "new")
