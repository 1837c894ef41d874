"""Compile every CUDA kernel for every board and hold the table of what each needs: registers, stack, shared memory.

    python deploy/kernel_table.py OUT [--update]

Needs the compilers of deploy/cuda-requirements.txt. Exits 1 if a kernel spills registers to memory, if a block of 512
threads of it does not fit an SM, or if tests/gpu/kernel_table.json or docs/gpu.md differ; --update writes both.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import build_kernels

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "gpu" / "kernel_table.json"
PAGE = ROOT / "docs" / "gpu.md"
BEGIN, END = "<!-- kernel table, by make kernels -->", "<!-- end of the kernel table -->"
NVCC, NVRTC = (87, 90, 110), (87,)

LARGEST_BLOCK = 512
REGISTERS = 65536  # of an SM, from sm_75 to sm_110; a warp takes them in units of 256, 8 per thread
SHARED = 48 << 10  # bytes that a block has without asking


class Needs(NamedTuple):
    """Of one kernel: registers and bytes of stack per thread, bytes of shared memory per block, bytes spilled."""

    registers: int
    stack: int
    shared: int
    spilled: int


Table = Mapping[str, Mapping[str, Needs]]
"""Image ("sm_87 by nvcc 13.0.88") -> kernel -> needs."""


def parse(log: str) -> dict[str, Needs]:
    """What the assembler said of each kernel (-Xptxas -v); functions that were not inlined count with their caller."""
    found: dict[str, Needs] = {}
    for text in log.split("Compiling entry function '")[1:]:
        name = text.partition("'")[0]
        stacks = [int(n) for n in re.findall(r"(\d+) bytes (?:stack frame|cumulative stack size)", text)]
        spilled = [int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", text)]
        registers = re.search(r"Used (\d+) registers", text)
        shared = re.search(r"(\d+) bytes smem", text)
        if registers is None or not stacks or not spilled:
            raise build_kernels.BuildError(f"{name}: the assembler's words are not understood:\n{text}")
        found[name] = Needs(int(registers[1]), max(stacks), int(shared[1]) if shared else 0, sum(spilled))
    return dict(sorted(found.items()))


def faults(table: Table) -> list[str]:
    """Kernels that spill, or of which the largest block does not fit."""
    found = []
    for image, kernels in table.items():
        for name, needs in kernels.items():
            if needs.spilled:
                found.append(f"{name}, {image}: spills {needs.spilled} bytes of registers")
            if -(-needs.registers // 8) * 8 * LARGEST_BLOCK > REGISTERS:
                most = REGISTERS // LARGEST_BLOCK
                found.append(f"{name}, {image}: {needs.registers} registers, wanted at most {most}")
            if needs.shared > SHARED:
                found.append(f"{name}, {image}: {needs.shared} bytes of shared memory, wanted at most {SHARED}")
    return found


def differences(got: Table, committed: Table) -> list[str]:
    """A line for each kernel whose needs are not the committed ones."""
    found = []
    for image in sorted({*got, *committed}):
        mine, theirs = got.get(image, {}), committed.get(image, {})
        for name in sorted({*mine, *theirs}):
            if mine.get(name) != theirs.get(name):
                found.append(f"{name}, {image}: {mine.get(name)}, the table says {theirs.get(name)}")
    return found


def load() -> dict[str, dict[str, Needs]]:
    """The committed table."""
    tree = json.loads(TABLE.read_text())
    return {image: {name: Needs(**needs) for name, needs in kernels.items()} for image, kernels in tree.items()}


def dump(table: Table) -> str:
    """As JSON, a kernel a line."""
    images = []
    for image, kernels in table.items():
        rows = [f"  {json.dumps(name)}: {json.dumps(needs._asdict())}" for name, needs in kernels.items()]
        images.append(f" {json.dumps(image)}: {{\n" + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(images) + "\n}\n"


def markdown(table: Table) -> str:
    """Registers by image; of stack and shared memory the most of any image."""
    lines = [f"| kernel | {' | '.join(table)} | stack | shared |", "|---" * (len(table) + 3) + "|"]
    for name in next(iter(table.values())):
        needs = [kernels[name] for kernels in table.values()]
        registers = " | ".join(str(one.registers) for one in needs)
        lines.append(f"| `{name}` | {registers} | {max(n.stack for n in needs)} | {max(n.shared for n in needs)} |")
    return "\n".join(lines)


def on_page(page: str) -> str:
    """The table that a page holds."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def put_on_page(page: str, table: str) -> str:
    """The page with this table."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise build_kernels.BuildError(f"{PAGE}: lacks {BEGIN} or {END}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> int:
    """Compile, compare, print."""
    parser = argparse.ArgumentParser(description="Compile every CUDA kernel and check what each needs.")
    parser.add_argument("out", type=Path, help="folder for the images")
    parser.add_argument("--update", action="store_true", help="write the table and the page instead of comparing")
    options = parser.parse_args()
    try:
        images = build_kernels.build(NVCC, NVRTC)
        build_kernels.write(images, options.out)
        cubins = [image for image in images if image.kind == "cubin"]
        table = {f"sm_{image.sm} by {image.compiler}": parse(image.compiled.log) for image in cubins}
        wrong = faults(table)
        if options.update:
            TABLE.write_text(dump(table))
            PAGE.write_text(put_on_page(PAGE.read_text(), markdown(table)))
        elif changed := differences(table, load()):
            wrong += [*changed, f"the table is out of date: python deploy/kernel_table.py {options.out} --update"]
        elif on_page(PAGE.read_text()) != markdown(table):
            wrong.append(f"{PAGE.name}: the table is out of date: python deploy/kernel_table.py {options.out} --update")
    except build_kernels.BuildError as error:
        wrong = [str(error)]
    for line in wrong:
        print(f"kernel_table: {line}", file=sys.stderr)
    if not wrong:
        sizes = ", ".join(f"{image.file} {len(image.compiled.data) / 1e6:.1f} MB" for image in images)
        print(f"{len(next(iter(table.values())))} kernels compile and spill nothing: {sizes}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
