"""Checks of what is installed: Python, jetpose's own build, ONNX Runtime, OpenCV, PyAV."""

from __future__ import annotations

from pose_runtime.cpu_features import features
from pose_runtime.doctor.finding import Finding, Status
from pose_runtime.doctor.patient import Patient
from pose_runtime.machine.facts import native_flavour
from pose_runtime.version import version

OLDEST_PYTHON = (3, 10)
_PYTHON_OF = {"6": (3, 10), "7": (3, 12)}  # JetPack -> the Python that its TensorRT is built for

_GSTREAMER = """
import cv2, json
lines = [line.split() for line in cv2.getBuildInformation().splitlines() if "GStreamer" in line]
print(json.dumps({"version": cv2.__version__, "gstreamer": bool(lines) and "YES" in lines[0]}))
"""


def check_python(patient: Patient) -> Finding:
    """A version that jetpose runs on, and on a Jetson the one that JetPack's TensorRT is built for."""
    number = patient.host.python_version()
    text = f"{number[0]}.{number[1]}"
    if number < OLDEST_PYTHON:
        return Finding(check="Python", status="fault", text=f"{text}, wanted 3.10 or newer", remedy=_NEW_VENV)
    jetpack = patient.board.jetpack if patient.board else None
    wanted = _PYTHON_OF.get((jetpack or "").partition(".")[0])
    if wanted not in (None, number):
        told = f"{text}, but the TensorRT of JetPack {jetpack} is for {wanted[0]}.{wanted[1]}" if wanted else text
        return Finding(check="Python", status="fault", text=told, remedy=_NEW_VENV)
    return Finding(check="Python", status="ok", text=text)


_NEW_VENV = "/usr/bin/python3 -m venv --system-site-packages jetpose-venv"


def check_build(patient: Patient) -> Finding:
    """The native module's instruction set is the best that this processor has."""
    flavour = native_flavour()
    text = f"jetpose {version()}, native module {flavour}"
    has_avx2 = "avx2" in features(patient.host.read("/proc/cpuinfo") or "")
    if has_avx2 and flavour == "base":
        text += ", but this processor has AVX2"
        return Finding(
            check="build", status="warning", text=text, remedy="pip install --force-reinstall --no-deps jetpose"
        )
    return Finding(check="build", status="ok", text=text)


def check_onnxruntime(patient: Patient) -> Finding:
    """The engine on the CPU."""
    probe = patient.onnxruntime
    if probe.facts is not None:
        return Finding(check="ONNX Runtime", status="ok", text=str(probe.facts["version"]))
    status: Status = "warning" if patient.has_gpu else "fault"
    text = f"cannot be imported: {probe.problem}"
    return Finding(check="ONNX Runtime", status=status, text=text, remedy="pip install 'jetpose[cpu]'")


def check_opencv(patient: Patient) -> Finding:
    """OpenCV, and whether it was built with GStreamer, which a Jetson's CSI cameras need."""
    probe = patient.host.python(_GSTREAMER)
    if probe.facts is None:
        return Finding(
            check="OpenCV",
            status="fault",
            text=f"cannot be imported: {probe.problem}",
            remedy="sudo apt-get install -y libgl1 libglib2.0-0",
        )
    with_it = bool(probe.facts["gstreamer"])
    text = f"{probe.facts['version']}, {'with' if with_it else 'without'} GStreamer"
    if with_it or patient.board is None:
        return Finding(check="OpenCV", status="ok", text=text)
    text += ": no CSI camera through OpenCV; files and USB cameras do not need it"
    return Finding(check="OpenCV", status="warning", text=text, remedy="sudo apt-get install -y python3-opencv")


def check_av(patient: Patient) -> Finding:
    """PyAV, which reads and writes video."""
    probe = patient.version_of("av")
    if probe.facts is not None:
        return Finding(check="PyAV", status="ok", text=str(probe.facts["version"]))
    text = f"cannot be imported, so pose-run takes no videos: {probe.problem}"
    return Finding(check="PyAV", status="warning", text=text, remedy="pip install 'jetpose[live]'")
