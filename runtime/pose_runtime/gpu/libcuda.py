"""The driver calls that pycuda lacks, by ctypes: graphs, events that can be recorded inside one, popping a context."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any

from pose_runtime.errors import EngineError
from pose_runtime.gpu.driver import LIBRARY

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventRecordWithFlags": (c_void_p, c_void_p, c_uint),
    "cuEventSynchronize": (c_void_p,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
}


def call(name: str, *arguments: Any) -> None:
    """One driver call; the context must be current to this thread.

    Raises:
        EngineError: the driver is missing or too old, or refused; the message has CUDA's own words.
    """
    code = _function(name)(*arguments)
    if code:
        raise EngineError(f"CUDA: {name} failed: {_words(code)}; if it comes back, see pose-doctor")


def new_handle(name: str, *arguments: Any) -> int:
    """A driver call whose first parameter is where it writes a handle."""
    handle = c_void_p()
    call(name, byref(handle), *arguments)
    return handle.value or 0


def load_library() -> Any:
    """The driver's library; tests put their own in its place.

    Raises:
        EngineError: there is none.
    """
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise EngineError(f"CUDA: no driver ({error}); install NVIDIA's, on a Jetson JetPack 6 or newer") from error


@cache
def _function(name: str) -> Any:
    try:
        function = getattr(load_library(), name)
    except AttributeError:
        raise EngineError(f"CUDA: this driver has no {name}; install one of CUDA 11.4 or newer") from None
    function.argtypes, function.restype = _SIGNATURES[name], c_int
    return function


def _words(code: int) -> str:
    text = c_char_p()
    if _function("cuGetErrorString")(code, byref(text)) or not text.value:
        return f"error {code}"
    return f"{text.value.decode()} ({code})"
