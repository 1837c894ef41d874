"""All checks of a machine, in the order in which one should mend what they find."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pose_runtime.doctor.board import check_clocks, check_jetpack, check_power_mode
from pose_runtime.doctor.finding import Finding
from pose_runtime.doctor.gpu import check_cuda, check_driver, check_kernels, check_pycuda, check_tensorrt
from pose_runtime.doctor.patient import Patient
from pose_runtime.doctor.resources import check_cache, check_cameras, check_disk, check_memory, check_swap
from pose_runtime.doctor.software import check_av, check_build, check_onnxruntime, check_opencv, check_python
from pose_runtime.machine.host import Host

CHECKS: tuple[Callable[[Patient], Finding], ...] = (
    check_jetpack,
    check_python,
    check_build,
    check_onnxruntime,
    check_opencv,
    check_av,
    check_driver,
    check_cuda,
    check_tensorrt,
    check_pycuda,
    check_kernels,
    check_cameras,
    check_power_mode,
    check_clocks,
    check_memory,
    check_swap,
    check_disk,
    check_cache,
)


def examine(host: Host) -> tuple[Finding, ...]:
    """What every check finds."""
    patient = Patient(host)
    return tuple(check(patient) for check in CHECKS)


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether pose-run works here: no check found a fault."""
    return all(finding.status != "fault" for finding in findings)
