"""A GPU: its context, memory, streams, events and kernels, under one owner. The only module that imports pycuda.

    with Device(0) as device, device.current(), device.resources() as mine:
        stream, address = mine.stream(), mine.memory(1024)

The primary context is retained, so that TensorRT and torch work in the same one. A context is current per thread:
every thread that uses the device does so inside `current()`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ctypes import byref, c_float, c_void_p
from typing import Any

from pose_runtime.arrays import ByteArray
from pose_runtime.errors import EngineError
from pose_runtime.gpu import libcuda
from pose_runtime.gpu.driver import Gpu, find_gpu
from pose_runtime.gpu.launch import Launch

ALIGNMENT = 256
"""Bytes that every address from `Resources` is aligned to."""

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream, on which others may work
_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: inside a capture, a node that records the event at every replay
_MIB = 1 << 20


class Device:
    """One GPU; use it by `with`, or `close()` it. What it gave out is closed before it, in reverse order.

    Args:
        ordinal: CUDA's number of it.

    Attributes:
        ordinal: as given.
        facts: what it is.
        shares_managed: the CPU may touch managed memory while kernels run.

    Raises:
        EngineError: no driver, no such device, no pycuda; the message says what to do.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.facts: Gpu = find_gpu(ordinal)
        self.ordinal = ordinal
        self._cuda = _load_pycuda()
        with self._explained("cuInit", "check the driver with nvidia-smi, on a Jetson that JetPack is complete"):
            self._cuda.init()
        with self._explained(f"opening cuda:{ordinal}", "another process may hold all its memory"):
            gpu = self._cuda.Device(ordinal)
            self.shares_managed = _has(gpu, self._cuda.device_attribute, "CONCURRENT_MANAGED_ACCESS")
            self._context: Any = gpu.retain_primary_context()
        self._resources: list[Resources] = []
        self._module: Any = None
        self._functions: dict[tuple[str, int], Any] = {}

    @property
    def is_closed(self) -> bool:
        """It has been closed."""
        return self._context is None

    @contextmanager
    def current(self) -> Iterator[None]:
        """The device's context is this thread's current one; may be nested."""
        if self._context is None:
            raise EngineError(f"device cuda:{self.ordinal}: it is closed; open a new one")
        with self._explained("making the context current", "start the program again"):
            self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def resources(self) -> Resources:
        """A new owner of memory, streams and events; wants the context current."""
        made = Resources(self)
        self._resources.append(made)
        return made

    def load_kernels(self, image: bytes) -> None:
        """Load the module of the kernels that `launch` takes: a cubin for this GPU, or PTX.

        Raises:
            EngineError: it is for another GPU or a newer driver.
        """
        sm = "".join(map(str, self.facts.sm))
        with self._explained(
            "loading the kernels", f"they must be built for sm_{sm} by a CUDA no newer than the driver"
        ):
            self._module = self._cuda.module_from_buffer(image)
        self._functions.clear()

    def launch(self, launch: Launch, stream: Stream) -> None:
        """Queue a kernel of the loaded module."""
        with self._explained(f"kernel {launch.kernel}", "run pose-doctor"):
            key = (launch.kernel, len(launch.arguments))
            function = self._functions.get(key)
            if function is None:
                if self._module is None:
                    raise EngineError(f"kernel {launch.kernel}: no kernels are loaded")
                # The whole parameter block is one argument: pycuda packs "123s" as it is.
                function = self._module.get_function(launch.kernel).prepare([f"{len(launch.arguments)}s"])
                self._functions[key] = function
            function.prepared_async_call(launch.grid, launch.block, stream.native, launch.arguments)

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes to the device and wait for it: for what is written once."""
        with self._explained("copying to the GPU", "run pose-doctor"):
            self._cuda.memcpy_htod(address, data)
            self._cuda.Context.synchronize()  # the copy returns once the bytes are staged, before they have arrived

    def free_bytes(self) -> int:
        """Memory that nobody uses now; wants the context current."""
        free, _ = self._cuda.mem_get_info()
        return int(free)

    def close(self) -> None:
        """Free everything; a second time does nothing. No work may be under way."""
        if self._context is None:
            return
        self._context.push()
        try:
            while self._resources:
                self._resources[-1].close()
            self._functions.clear()
            self._module = None  # pycuda unloads it here, while the context is current
        finally:
            # Detached while pycuda takes it for current, for else another thread would not release it; and popped by
            # ourselves, for that leaves it on CUDA's stack.
            context, self._context = self._context, None
            libcuda.call("cuCtxPopCurrent_v2", byref(c_void_p()))
            context.detach()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self, doing: str, remedy: str) -> Iterator[None]:
        """CUDA's errors as one line with what to do."""
        try:
            yield
        except self._cuda.MemoryError as error:
            raise EngineError(
                f"CUDA: out of memory, {doing}: {_one_line(error)}; close other programs, or take a smaller batch"
            ) from error
        except self._cuda.Error as error:
            raise EngineError(f"CUDA: {doing} failed: {_one_line(error)}; {remedy}") from error


class Resources:
    """Memory, streams and events of a device, freed in reverse order by `close()` or `with`.

    All methods want the context current. After `close` neither addresses nor arrays may be used.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._cuda = device._cuda
        self._frees = ExitStack()

    def memory(self, size: int) -> int:
        """Device memory: its address."""
        with self._explained(f"{size / _MIB:.1f} MiB of device memory"):
            allocation = self._cuda.mem_alloc(size)
        self._frees.callback(allocation.free)
        return int(allocation)

    def locked(self, size: int) -> ByteArray:
        """Page-locked host memory, which the GPU copies from and to by itself: uint8 (size,)."""
        return self._host(size, 0)

    def mapped(self, size: int) -> tuple[ByteArray, int]:
        """Page-locked host memory that kernels reach too: uint8 (size,), and its device address."""
        array = self._host(size, self._cuda.host_alloc_flags.DEVICEMAP)
        return array, _device_pointer(array)

    def managed(self, size: int) -> tuple[ByteArray, int]:
        """Memory that the driver moves to who touches it: uint8 (size,), and its device address."""
        with self._explained(f"{size / _MIB:.1f} MiB of managed memory"):
            flags = self._cuda.mem_attach_flags.GLOBAL
            array: ByteArray = self._cuda.managed_empty(size, "uint8", mem_flags=flags)
        self._frees.callback(_free_base, array)
        return array, _device_pointer(array)

    def stream(self) -> Stream:
        """A new stream."""
        with self._explained("a stream"):
            stream = Stream(self.device, self._cuda.Stream(_NON_BLOCKING))
        self._frees.callback(stream._release)
        return stream

    def event(self) -> Event:
        """A new event, for waiting and for timing."""
        event = Event(libcuda.new_handle("cuEventCreate", 0))
        self._frees.callback(event._destroy)
        return event

    def on_close(self, function: Callable[[], object]) -> None:
        """Call it in its turn when this closes."""
        self._frees.callback(function)

    def close(self) -> None:
        """Free everything; a second time does nothing."""
        if self in self.device._resources:
            self.device._resources.remove(self)
        self._frees.close()

    def __enter__(self) -> Resources:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _host(self, size: int, flags: int) -> ByteArray:
        with self._explained(f"{size / _MIB:.1f} MiB of page-locked memory"):
            array: ByteArray = self._cuda.pagelocked_empty(size, "uint8", mem_flags=flags)
        self._frees.callback(_free_base, array)
        return array

    def _explained(self, what: str) -> Any:
        return self.device._explained(f"allocating {what}", "run pose-doctor")


class Stream:
    """Work in order, asynchronous to the host.

    Attributes:
        handle: the CUstream, as engines take it.
        native: pycuda's object.
    """

    def __init__(self, device: Device, native: Any) -> None:
        self.device = device
        self.native = native
        self.handle = int(native.handle)

    def upload(self, address: int, host: ByteArray) -> None:
        """Copy a page-locked array to the device; it may not change until the copy is done."""
        with self.device._explained("copying to the GPU", "run pose-doctor"):
            self.device._cuda.memcpy_htod_async(address, host, self.native)

    def download(self, host: ByteArray, address: int) -> None:
        """Copy from the device into a page-locked array; it may be read once the copy is done."""
        with self.device._explained("copying from the GPU", "run pose-doctor"):
            self.device._cuda.memcpy_dtoh_async(host, address, self.native)

    def launch(self, launch: Launch) -> None:
        """Queue a kernel."""
        self.device.launch(launch, self)

    def record(self, event: Event, *, at_replay: bool = False) -> None:
        """The event happens when all work queued so far is done; `at_replay`, in a capture: whenever the graph runs."""
        libcuda.call("cuEventRecordWithFlags", event.handle, self.handle, _EXTERNAL if at_replay else 0)

    def wait(self, event: Event) -> None:
        """What is queued from now on starts after the event's last record."""
        libcuda.call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def synchronize(self) -> None:
        """Wait until all queued work is done; a kernel's fault shows here."""
        with self.device._explained("running", "the program must be started again"):
            self.native.synchronize()

    def _release(self) -> None:
        self.native = None  # pycuda destroys it with the last reference
        self.handle = 0


class Event:
    """A moment in a stream."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def synchronize(self) -> None:
        """Wait for its last record."""
        libcuda.call("cuEventSynchronize", self.handle)

    def seconds_since(self, start: Event) -> float:
        """From another event to this one; both have happened."""
        milliseconds = c_float()
        libcuda.call("cuEventElapsedTime", byref(milliseconds), start.handle, self.handle)
        return milliseconds.value / 1e3

    def _destroy(self) -> None:
        libcuda.call("cuEventDestroy_v2", self.handle)
        self.handle = 0


def _load_pycuda() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as error:
        if "libcuda" in str(error):
            remedy = "no NVIDIA driver here; install it, or use --device cpu"
        else:
            remedy = "pip install 'jetpose[gpu]' (needs CUDA's headers and libcuda), or use --device cpu"
        raise EngineError(f"device cuda: cannot import pycuda ({error}); {remedy}") from error


def _has(gpu: Any, names: Any, name: str) -> bool:
    """A yes or no attribute; older pycuda does not know them all."""
    return hasattr(names, name) and bool(gpu.get_attribute(getattr(names, name)))


def _device_pointer(array: ByteArray) -> int:
    base: Any = array.base
    return int(base.get_device_pointer())


def _free_base(array: ByteArray) -> None:
    base: Any = array.base
    base.free()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
