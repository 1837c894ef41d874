"""One kernel launch, as plain data: made by the native module, run by a device, captured into a graph."""

from __future__ import annotations

from typing import NamedTuple


class Launch(NamedTuple):
    """A kernel of the package, its grid and block, and its parameters.

    Attributes:
        kernel: name of an entry point of `runtime/native/kernels.cu`.
        grid, block: blocks, and threads of each, along x, y, z.
        arguments: the parameter block, laid out as the kernel's parameters are (each at its own alignment); what
            cuLaunchKernel takes as CU_LAUNCH_PARAM_BUFFER_POINTER. Device addresses are in it.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: bytes
