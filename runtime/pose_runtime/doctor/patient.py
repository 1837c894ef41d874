"""A machine, with the facts that several checks need, each asked for once."""

from __future__ import annotations

from functools import cached_property

from pose_runtime.doctor.finding import Status
from pose_runtime.machine.board import Board, read_board
from pose_runtime.machine.gpu import Cuda, ask_cuda, has_nvidia_gpu
from pose_runtime.machine.host import Host, Probe

_VERSION_OF = "import json, {0}; print(json.dumps({{'version': str({0}.__version__)}}))"


class Patient:
    """A machine that is looked at.

    Args:
        host: the way to it.
    """

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def board(self) -> Board | None:
        """The Jetson that it is."""
        return read_board(self.host)

    @cached_property
    def has_gpu(self) -> bool:
        """Whether an NVIDIA GPU is built in."""
        return has_nvidia_gpu(self.host)

    @cached_property
    def cuda(self) -> Cuda:
        """What the driver says."""
        return ask_cuda(self.host)

    @cached_property
    def onnxruntime(self) -> Probe:
        """The engine on the CPU: its version, or why it cannot be imported."""
        return self.version_of("onnxruntime")

    @property
    def without_gpu(self) -> Status:
        """How bad it is that the GPU cannot be used: a Jetson is there for it, a PC has its processor."""
        return "fault" if self.board is not None or self.onnxruntime.facts is None else "warning"

    def version_of(self, module: str) -> Probe:
        """The `version` of a Python module, imported in a process of its own."""
        return self.host.python(_VERSION_OF.format(module))
