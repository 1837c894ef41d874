"""Checks of the way to the GPU: driver, CUDA, TensorRT, pycuda, the kernels of this build."""

from __future__ import annotations

import os
import re

from pose_runtime.doctor.finding import Finding, Status
from pose_runtime.doctor.patient import Patient
from pose_runtime.errors import EngineError
from pose_runtime.gpu.kernels import choose_image, kernel_images
from pose_runtime.machine.gpu import driver_version

_JETPACK = "sudo apt-get update && sudo apt-get install -y nvidia-jetpack"
_NO_GPU = "no NVIDIA GPU in this machine"
_REBUILD = "PATH=/usr/local/cuda/bin:$PATH pip install --force-reinstall --no-deps .  # in a checkout of jetpose"
_REMEDIES = {  # CUresult of cuda.h -> what mends it most often; all others want a reboot
    2: "nvidia-smi",
    34: 'export LD_LIBRARY_PATH="${LD_LIBRARY_PATH//stubs/}"',
    46: "nvidia-smi -q -d COMPUTE",
    100: "unset CUDA_VISIBLE_DEVICES",
    101: "unset CUDA_VISIBLE_DEVICES",
    804: "sudo apt-get remove 'cuda-compat-*'",
}

_FIND_TENSORRT = """
import json
from pose_runtime.engines._tensorrt_library import find_library
from pose_runtime.errors import EngineError
try:
    print(json.dumps({"version": str(find_library()), "problem": ""}))
except EngineError as error:
    print(json.dumps({"version": "", "problem": str(error)}))
"""


def check_driver(patient: Patient) -> Finding:
    """The driver starts and shows a GPU."""
    if not patient.has_gpu:
        return Finding(check="driver", status="not applicable", text=_NO_GPU)
    cuda = patient.cuda
    if cuda.gpus:
        gpus = ", ".join(map(str, cuda.gpus))
        return Finding(
            check="driver", status="ok", text=f"{driver_version(patient.host) or 'of unknown version'}, {gpus}"
        )
    closed = _closed(patient)
    if closed is not None:
        text, remedy = f"{closed} may not be opened", 'sudo usermod -aG video,render "$USER"  # then log in anew'
        return Finding(check="driver", status=patient.without_gpu, text=f"{text}: {cuda.problem}", remedy=remedy)
    code = re.search(r"gave error (\d+)", cuda.problem)
    if code is not None:
        remedy = _REMEDIES.get(int(code[1]), "sudo reboot")
    else:
        remedy = _JETPACK if patient.board else "sudo ubuntu-drivers install && sudo reboot"
    return Finding(check="driver", status=patient.without_gpu, text=cuda.problem, remedy=remedy)


def _closed(patient: Patient) -> str | None:
    """The first device file of the GPU that this user may not open."""
    host = patient.host
    names = host.glob("/dev/nvidia[0-9]*") + host.glob("/dev/nvhost-ctrl-gpu") + host.glob("/dev/nvmap")
    return next((name for name in names if not host.may(name, os.R_OK | os.W_OK)), None)


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
    probe = patient.host.python(_FIND_TENSORRT)
    if probe.facts is not None and probe.facts["version"]:
        return Finding(check="TensorRT", status="ok", text=str(probe.facts["version"]))
    text = f"importing it failed: {probe.problem}" if probe.facts is None else str(probe.facts["problem"])
    remedy = "pip install 'tensorrt>=10.3,<12'"
    if patient.board:
        outside = patient.host.glob("/usr/lib/python3*/dist-packages/tensorrt")
        text += "; JetPack has it, this virtual environment does not see it" if outside else ""
        remedy = "/usr/bin/python3 -m venv --system-site-packages jetpose-venv" if outside else _JETPACK
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
        images = kernel_images()
    except EngineError as error:
        return Finding(check="kernels", status=bad, text=str(error), remedy=_REBUILD)
    if not images:
        text = "none in this build: it was made without a CUDA compiler"
        return Finding(check="kernels", status=bad, text=text, remedy=_REBUILD)
    has = ", ".join(map(str, images))
    for gpu in patient.cuda.gpus[:1]:
        if choose_image(images, gpu.sm, gpu.driver) is None:
            return Finding(check="kernels", status=bad, text=f"{has}: none for {gpu}", remedy=_REBUILD)
    return Finding(check="kernels", status="ok", text=has)
