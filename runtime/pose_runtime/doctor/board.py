"""Checks of a Jetson: JetPack, power mode, clocks."""

from __future__ import annotations

from pose_runtime.doctor.finding import Finding
from pose_runtime.doctor.patient import Patient
from pose_runtime.machine.board import most_power

OLDEST_L4T = (36, 4)
_NO_JETSON = "no Jetson"
_RELEASE = "/etc/nv_tegra_release"


def check_jetpack(patient: Patient) -> Finding:
    """JetPack 6.1 or newer, the first with TensorRT 10.3."""
    board = patient.board
    if board is None:
        return Finding(check="JetPack", status="not applicable", text=_NO_JETSON)
    if board.l4t is None:
        text, remedy = (
            "/etc/nv_tegra_release is missing, as in a container",
            f"docker run -v {_RELEASE}:{_RELEASE}:ro …",
        )
        return Finding(check="JetPack", status="warning", text=text, remedy=remedy)
    text = f"{board.jetpack or 'unknown'} (Jetson Linux {board.l4t}) on {board.model or 'an unnamed board'}"
    release = tuple(int(part) for part in board.l4t.split(".") if part)
    if release < OLDEST_L4T:
        text += ": its TensorRT is older than 10.3"
        remedy = "flash JetPack 6.1 or newer (docs/jetson.md)"
        return Finding(check="JetPack", status="fault", text=text, remedy=remedy)
    return Finding(check="JetPack", status="ok", text=text)


def check_power_mode(patient: Patient) -> Finding:
    """The mode without limits, where the board has one."""
    if patient.board is None:
        return Finding(check="power mode", status="not applicable", text=_NO_JETSON)
    mode, most = patient.board.power_mode, most_power(patient.host)
    if mode is None:
        text, remedy = "nothing tells it", "sudo nvpmodel -q"
        return Finding(check="power mode", status="warning", text=text, remedy=remedy)
    if most is None or mode == most[1]:
        return Finding(check="power mode", status="ok", text=mode)
    text = f"{mode}: the board is slower than in {most[1]}"
    return Finding(check="power mode", status="warning", text=text, remedy=f"sudo nvpmodel -m {most[0]}")


def check_clocks(patient: Patient) -> Finding:
    """Clocks that do not wait for load."""
    if patient.board is None:
        return Finding(check="clocks", status="not applicable", text=_NO_JETSON)
    fixed = patient.board.clocks_fixed
    if fixed:
        return Finding(check="clocks", status="ok", text="held at their highest")
    text = "nothing tells them" if fixed is None else "follow the load: the first frames after a pause take longer"
    return Finding(check="clocks", status="warning", text=text, remedy="sudo jetson_clocks")
