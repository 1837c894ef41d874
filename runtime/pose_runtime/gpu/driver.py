"""The CUDA driver by ctypes: is there a GPU that works, and which one.

Asked before TensorRT is touched: its Runtime can crash the process where the driver does not work. Needs no pycuda.
"""

from __future__ import annotations

import ctypes
from typing import Any

from msgspec import Struct

from pose_runtime.errors import EngineError

LIBRARY = "libcuda.so.1"
"""The driver's library; on a Jetson it belongs to JetPack."""

_MULTIPROCESSORS, _INTEGRATED, _SM_MAJOR, _SM_MINOR = 16, 18, 75, 76  # CUdevice_attribute of cuda.h
_NAME_BYTES = 256

_REMEDIES = {  # CUresult of cuda.h -> what to do
    2: "the GPU's memory is full; close other programs",
    3: "the process was forked after CUDA started; start it afresh",
    34: "the driver is a stub for linking; install the NVIDIA driver, or run on the device",
    46: "the GPU is busy or unavailable; look at its compute mode (nvidia-smi -q)",
    100: "no GPU is visible; look at nvidia-smi, CUDA_VISIBLE_DEVICES and, in a container, --gpus or --runtime nvidia",
    101: "there is no such device; count them with nvidia-smi -L",
    803: "the driver's library and its kernel module differ; reboot",
    804: "the driver is too old for this CUDA compatibility package; remove the package or update the driver",
}


class Gpu(Struct, frozen=True, kw_only=True):
    """What a compiled plan depends on, and what a person wants to know of a GPU.

    Attributes:
        name: such as "Orin", which all Orin modules share, or "NVIDIA H200".
        sm: compute capability, major and minor.
        processors: streaming multiprocessors; they tell apart modules of one name.
        driver: newest CUDA version of the driver, 1000 * major + 10 * minor.
        integrated: whether it shares its memory with the CPU.
        memory_bytes: in all.
    """

    name: str
    sm: tuple[int, int]
    processors: int
    driver: int
    integrated: bool
    memory_bytes: int

    def __str__(self) -> str:
        cuda = f"{self.driver // 1000}.{self.driver % 1000 // 10}"
        return f"{self.name} (SM {self.sm[0]}.{self.sm[1]}, {self.processors} multiprocessors, CUDA {cuda})"


def find_gpu(device: int = 0) -> Gpu:
    """Start the driver and describe a device, by its number.

    Raises:
        EngineError: no driver, no GPU or no such GPU, with what to do.
    """
    driver = _load()
    _check(driver, "cuInit", driver.cuInit(0))
    handle = ctypes.c_int()
    _check(driver, f"device {device}", driver.cuDeviceGet(ctypes.byref(handle), device))
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(driver, "cuDeviceGetName", driver.cuDeviceGetName(name, _NAME_BYTES, handle))
    memory = ctypes.c_size_t()
    _check(driver, "cuDeviceTotalMem", driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle))
    version = ctypes.c_int()
    _check(driver, "cuDriverGetVersion", driver.cuDriverGetVersion(ctypes.byref(version)))
    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=(_attribute(driver, _SM_MAJOR, handle), _attribute(driver, _SM_MINOR, handle)),
        processors=_attribute(driver, _MULTIPROCESSORS, handle),
        driver=version.value,
        integrated=bool(_attribute(driver, _INTEGRATED, handle)),
        memory_bytes=memory.value,
    )


def _load() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise EngineError(
            f"CUDA driver: cannot load {LIBRARY} ({error}); on a Jetson it comes with JetPack, elsewhere install the "
            "NVIDIA driver; without a GPU use --device cpu"
        ) from error


def _attribute(driver: Any, number: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _check(driver, "cuDeviceGetAttribute", driver.cuDeviceGetAttribute(ctypes.byref(value), number, handle))
    return value.value


def _check(driver: Any, what: str, code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        reason = (text.value or b"unknown error").decode(errors="replace")
        remedy = _REMEDIES.get(code, "look at dmesg and nvidia-smi")
        raise EngineError(f"CUDA driver: {what} gave error {code} ({reason}); {remedy}")
