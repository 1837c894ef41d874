"""Checks of the way to the GPU: driver, CUDA, TensorRT, pycuda, the kernels of this build."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

from pose_runtime.doctor.finding import Finding, Status
from pose_runtime.doctor.patient import Patient
from pose_runtime.errors import EngineError
from pose_runtime.machine.gpu import driver_version

OLDEST_TENSORRT = (10, 3)
FIRST_UNKNOWN_TENSORRT = (12, 0)

_JETPACK = "sudo apt-get update && sudo apt-get install -y nvidia-jetpack"
_NO_GPU = "no NVIDIA GPU in this machine"
_INIT = {  # CUresult of cuda.h -> what it means, what to do
    3: ("the driver is not initialised", "sudo reboot"),
    34: ("libcuda is a stub for linking", 'export LD_LIBRARY_PATH="${LD_LIBRARY_PATH//stubs/}"'),
    46: ("the GPU is busy or unavailable", "nvidia-smi -q -d COMPUTE"),
    100: ("no GPU is visible", "unset CUDA_VISIBLE_DEVICES"),
    803: ("libcuda and the kernel module are of different versions", "sudo reboot"),
    804: ("the CUDA compatibility package does not fit this GPU", "sudo apt-get remove 'cuda-compat-*'"),
    999: ("unknown error of the driver", "sudo reboot"),
}


def check_driver(patient: Patient) -> Finding:
    """libcuda loads, cuInit works, there is a GPU."""
    if not patient.has_gpu:
        return Finding(check="driver", status="not applicable", text=_NO_GPU)
    cuda = patient.cuda
    if cuda.init is None:
        text = f"libcuda cannot be used: {cuda.problem}"
        remedy = _JETPACK if patient.board else "sudo ubuntu-drivers install && sudo reboot"
        return Finding(check="driver", status=patient.without_gpu, text=text, remedy=remedy)
    if cuda.init != 0:
        return _not_initialised(patient, cuda.init)
    if not cuda.devices:
        text, remedy = "cuInit works, but there is no GPU", "unset CUDA_VISIBLE_DEVICES"
        return Finding(check="driver", status=patient.without_gpu, text=text, remedy=remedy)
    gpus = ", ".join(f"{gpu.name} (SM {gpu.sm[0]}.{gpu.sm[1]})" for gpu in cuda.devices)
    number = driver_version(patient.host)
    return Finding(check="driver", status="ok", text=f"{number or 'version unknown'}, CUDA {cuda.version}, {gpus}")


def _not_initialised(patient: Patient, code: int) -> Finding:
    """Why cuInit failed: often the device files may not be opened."""
    closed = [
        name
        for name in patient.host.glob("/dev/nvidia[0-9]*") + patient.host.glob("/dev/nvhost-ctrl-gpu")
        if not patient.host.may(name, os.R_OK | os.W_OK)
    ]
    meaning, remedy = _INIT.get(code, ("see CUresult in cuda.h", "sudo reboot"))
    if closed:
        meaning, remedy = f"{closed[0]} may not be opened", 'sudo usermod -aG video,render "$USER"  # then log in anew'
    text = f"cuInit gives error {code}: {meaning}"
    return Finding(check="driver", status=patient.without_gpu, text=text, remedy=remedy)


def check_cuda(patient: Patient) -> Finding:
    """nvcc, which only an installation needs: pycuda and, from a checkout, the kernels are compiled with it."""
    if not patient.has_gpu:
        return Finding(check="CUDA toolkit", status="not applicable", text=_NO_GPU)
    for nvcc, note in (("nvcc", ""), ("/usr/local/cuda/bin/nvcc", " in /usr/local/cuda/bin, not on PATH")):
        found = re.search(r"release (\d+\.\d+)", patient.host.run(nvcc, "--version") or "")
        if found:
            return Finding(check="CUDA toolkit", status="ok", text=f"nvcc {found[1]}{note}")
    remedy = _JETPACK if patient.board else "sudo apt-get install -y nvidia-cuda-toolkit"
    text = "no nvcc: pycuda and the kernels cannot be built here"
    return Finding(check="CUDA toolkit", status="warning", text=text, remedy=remedy)


def check_tensorrt(patient: Patient) -> Finding:
    """TensorRT, or TensorRT for RTX, can be imported and is of a version that jetpose knows."""
    if not patient.has_gpu:
        return Finding(check="TensorRT", status="not applicable", text=_NO_GPU)
    probe = patient.version_of("tensorrt")
    if probe.facts is not None:
        return _tensorrt_version(patient, str(probe.facts["version"]))
    rtx = patient.version_of("tensorrt_rtx")
    if rtx.facts is not None:
        return Finding(check="TensorRT", status="ok", text=f"TensorRT for RTX {rtx.facts['version']}")
    text = f"cannot be imported: {probe.problem}"
    remedy = "pip install tensorrt"
    if patient.board:
        outside = patient.host.glob("/usr/lib/python3*/dist-packages/tensorrt")
        text += "; JetPack has it, this virtual environment does not see it" if outside else ""
        remedy = "/usr/bin/python3 -m venv --system-site-packages jetpose-venv" if outside else _JETPACK
    return Finding(check="TensorRT", status=patient.without_gpu, text=text, remedy=remedy)


def _tensorrt_version(patient: Patient, text: str) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", text)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if OLDEST_TENSORRT <= number < FIRST_UNKNOWN_TENSORRT:
        return Finding(check="TensorRT", status="ok", text=text)
    remedy = "flash JetPack 6.1 or newer (docs/jetson.md)" if patient.board else "pip install 'tensorrt>=10.3,<12'"
    text += ", wanted 10.3 or newer, before 12"
    return Finding(check="TensorRT", status=patient.without_gpu, text=text, remedy=remedy)


def check_pycuda(patient: Patient) -> Finding:
    """pycuda's driver module, which is linked to libcuda, can be imported."""
    if not patient.has_gpu:
        return Finding(check="pycuda", status="not applicable", text=_NO_GPU)
    code = "import json, pycuda, pycuda.driver; print(json.dumps({'version': pycuda.VERSION_TEXT}))"
    probe = patient.host.python(code)
    if probe.facts is not None:
        return Finding(check="pycuda", status="ok", text=str(probe.facts["version"]))
    text = f"cannot be imported: {probe.problem}"
    remedy = "PATH=/usr/local/cuda/bin:$PATH pip install 'jetpose[gpu]'"
    return Finding(check="pycuda", status=patient.without_gpu, text=text, remedy=remedy)


def check_kernels(patient: Patient) -> Finding:
    """This build has CUDA kernels that the GPU's driver can load."""
    if not patient.has_gpu:
        return Finding(check="kernels", status="not applicable", text=_NO_GPU)
    bad: Status = patient.without_gpu
    try:
        kernels: Any = importlib.import_module("pose_runtime.gpu.kernels")
        images = kernels.kernel_images()
    except ImportError:
        return Finding(check="kernels", status=bad, text="this version of jetpose has none", remedy=_REBUILD)
    except EngineError as error:
        return Finding(check="kernels", status=bad, text=str(error), remedy=_REBUILD)
    if not images:
        text = "none in this build: it was made without a CUDA compiler"
        return Finding(check="kernels", status=bad, text=text, remedy=_REBUILD)
    has = ", ".join(map(str, images))
    for gpu in patient.cuda.devices[:1]:
        if kernels.choose_image(images, gpu.sm, patient.cuda.cuda) is None:
            text = f"{has}: none for SM {gpu.sm[0]}.{gpu.sm[1]} with a driver for CUDA {patient.cuda.version}"
            return Finding(check="kernels", status=bad, text=text, remedy=_REBUILD)
    return Finding(check="kernels", status="ok", text=has)


_REBUILD = "PATH=/usr/local/cuda/bin:$PATH pip install --force-reinstall --no-deps .  # in a checkout of jetpose"
