"""CUDA without a GPU: pycuda.driver and the calls of libcuda that the frame path makes, strict, over host memory.

Device memory is host memory whose address is the device address, and kernels are the real ones, emulated on the CPU.
What is strict:

streams    nothing runs before somebody waits for it, and then only what it depends on: a missing wait or synchronise
           shows as a stale result
memory     every copy is checked against the live allocations when it is queued and when it runs; what is freed is
           overwritten; guard bytes around each allocation are looked at when it is freed
copies     asynchronous ones take page-locked host memory only
capture    records instead of running; allocation, waiting and outside events in it are errors and spoil it; streams
           that wait for an event of it join it, and must be joined back; a replay runs the branches' work in another
           order than it was queued in
contexts   everything wants a current context of this thread
"""

from __future__ import annotations

import gc
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from emulated import FAULTS, emulated_launch
from pose_runtime.gpu import libcuda, outputs
from pose_runtime.gpu.driver import Gpu

GUARD = 512
POISON = 0xCD
ORIN = Gpu(name="Orin", sm=(8, 7), processors=16, driver=12060, integrated=True, memory_bytes=8 << 30)
H200 = Gpu(name="NVIDIA H200", sm=(9, 0), processors=132, driver=13000, integrated=False, memory_bytes=139 << 30)

SUCCESS, INVALID_VALUE, UNSUPPORTED, INVALIDATED, UNJOINED, ISOLATION, INVALID_HANDLE = 0, 1, 900, 901, 904, 905, 400


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001
    pass


class LogicError(Error):
    pass


class RuntimeError(Error):  # noqa: A001
    pass


@dataclass(eq=False)
class Operation:
    """One piece of queued work."""

    what: str
    run: Callable[[], None]
    after: Operation | None = None  # that of another stream which it waits for
    stream: FakeStream | None = None
    capture: Capture | None = None
    done: bool = False


@dataclass(eq=False)
class Capture:
    """What streams record instead of running."""

    origin: FakeStream
    operations: list[Operation] = field(default_factory=list)
    is_spoilt: bool = False

    def streams(self) -> list[FakeStream]:
        return [stream for stream in self.origin.cuda.streams.values() if stream.capture is self]

    def is_joined(self) -> bool:
        """Every operation comes before the end of the origin's own."""
        mine = [operation for operation in self.operations if operation.stream is self.origin]
        reached: set[Operation] = set()
        todo = mine[-1:]
        while todo:
            operation = todo.pop()
            if operation not in reached:
                reached.add(operation)
                todo += before(self.operations, operation)
        return len(reached) == len(self.operations)


def before(operations: list[Operation], operation: Operation) -> list[Operation]:
    """What an operation of a graph waits for: the one ahead of it on its stream, and another stream's."""
    index = operations.index(operation)
    ahead = [other for other in operations[:index] if other.stream is operation.stream][-1:]
    return ahead + [other for other in (operation.after,) if other in operations]


def replay_order(operations: list[Operation]) -> list[Operation]:
    """All of a graph, the last queued of those that may run first."""
    order: list[Operation] = []
    left = list(operations)
    while left:
        ready = [each for each in left if all(other not in left for other in before(operations, each))]
        order.append(ready[-1])
        left.remove(ready[-1])
    return order


@dataclass(eq=False)
class FakeEvent:
    handle: int
    last: Operation | None = None
    time_s: float | None = None


@dataclass(eq=False)
class Allocation:
    """Memory of one kind: device, locked, mapped or managed."""

    cuda: FakeCuda
    kind: str
    size: int
    all: np.ndarray = field(init=False)
    start: int = field(init=False)
    live: bool = True

    def __post_init__(self) -> None:
        self.all = np.full(self.size + 2 * GUARD + 256, 0xA5, np.uint8)
        self.start = GUARD + -(self.all.ctypes.data + GUARD) % 256
        self.bytes[:] = POISON

    @property
    def bytes(self) -> np.ndarray:
        return self.all[self.start : self.start + self.size]

    @property
    def address(self) -> int:
        return int(self.all.ctypes.data) + self.start

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": (self.size,), "typestr": "|u1", "data": (self.address, False)}

    def __int__(self) -> int:
        return self.address

    def get_device_pointer(self) -> int:
        assert self.kind in ("mapped", "managed"), f"{self.kind} memory has no device address"
        return self.address

    def free(self) -> None:
        self.cuda.need_context("free")
        if not self.live:
            raise LogicError("freed twice")
        assert (self.all[: self.start] == 0xA5).all(), "written before the memory"
        assert (self.all[self.start + self.size :] == 0xA5).all(), "written behind the memory"
        self.live = False
        self.bytes[:] = POISON
        self.cuda.log.append(f"free {self.kind} {self.address:x}")


class FakeStream:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.handle = cuda.new_handle(None)
        cuda.streams[self.handle] = self  # pycuda destroys it with its last reference
        self.queue: list[Operation] = []
        self.capture: Capture | None = None

    def push(self, what: str, run: Callable[[], None], after: Operation | None = None) -> Operation:
        operation = Operation(what, run, after, self, self.capture)
        (self.capture.operations if self.capture else self.queue).append(operation)
        return operation

    def run_until(self, last: Operation | None = None) -> None:
        """Run what is queued, up to an operation or all of it."""
        while self.queue and not (last and last.done):
            operation = self.queue.pop(0)
            if operation.after and not operation.after.done:
                assert operation.after.stream
                operation.after.stream.run_until(operation.after)
            operation.run()
            operation.done = True

    def synchronize(self) -> None:
        self.cuda.need_context("synchronize")
        if self.capture:
            self.capture.is_spoilt = True
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        self.run_until()


class FakeFunction:
    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda, self.name, self.format = cuda, name, ""

    def prepare(self, formats: list[str]) -> FakeFunction:
        self.format = "".join(formats)
        return self

    def prepared_async_call(self, grid: Any, block: Any, stream: FakeStream, *arguments: bytes) -> None:
        self.cuda.need_context("cuLaunchKernel")
        (block_of_bytes,) = arguments
        assert self.format == f"{len(block_of_bytes)}s", "pycuda would pad or cut the arguments"
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        self.cuda.check_usable(f"launch {self.name}")

        def run() -> None:
            fault = emulated_launch()(self.name, grid, block, block_of_bytes)
            if fault:
                raise Error(f"{self.name}: {FAULTS[fault]}")

        stream.push(self.name, run)


class FakeContext:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.is_valid, self.thread = cuda, True, threading.get_ident()

    def push(self) -> None:
        if not self.is_valid:
            raise LogicError("context is destroyed")
        self.cuda.stack.append(self)
        self.cuda.own_stack.append(self)

    def pop(self) -> None:
        if not self.cuda.own_stack:
            raise LogicError("cannot pop context from empty stack")
        self.cuda.own_stack.pop()
        self.cuda.stack.pop()

    def detach(self) -> None:
        """As pycuda 2026.1: where it is not current, it is pushed and left there, or on another thread not released."""
        self.is_valid = False
        if self.cuda.own_stack[-1:] == [self]:
            self.cuda.own_stack.pop()
        elif threading.get_ident() == self.thread:
            self.cuda.stack.append(self)
        else:
            return
        self.cuda.log.append("detach")


class FakeCuda:
    """One GPU and its driver.

    Attributes:
        log: allocations and frees, in order.
        fails: names of libcuda's functions that refuse, or "mem_alloc" for no memory.
        shares_managed: attribute CONCURRENT_MANAGED_ACCESS.
    """

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.log: list[str] = []
        self.fails: set[str] = set()
        self.shares_managed = False
        self.devices = 1
        self.allocations: list[Allocation] = []
        self.handles: dict[int, Any] = {}
        self.launched_graphs = 0
        self.staged: list[Callable[[], None]] = []
        self.streams: weakref.WeakValueDictionary[int, FakeStream] = weakref.WeakValueDictionary()
        self._next_handle = 0x1000
        self._local = threading.local()

    @property
    def stack(self) -> list[FakeContext]:
        """CUDA's, of this thread."""
        return self._of_thread("stack")

    @property
    def own_stack(self) -> list[FakeContext]:
        """What pycuda takes for it."""
        return self._of_thread("own_stack")

    def _of_thread(self, name: str) -> list[FakeContext]:
        if not hasattr(self._local, name):
            setattr(self._local, name, [])
        stack: list[FakeContext] = getattr(self._local, name)
        return stack

    def need_context(self, what: str) -> None:
        if not self.stack or not self.stack[-1].is_valid:
            raise LogicError(f"{what} failed: invalid device context")

    def check_usable(self, what: str) -> None:
        if what in self.fails:
            raise LogicError(f"{what} failed: refused")

    def new_handle(self, thing: Any) -> int:
        self._next_handle += 0x10
        if thing is not None:
            self.handles[self._next_handle] = thing
        return self._next_handle

    def capturing(self) -> Capture | None:
        captures = [stream.capture for stream in self.streams.values() if stream.capture]
        return captures[0] if captures else None

    def allocate(self, kind: str, size: int) -> Allocation:
        self.need_context("allocate")
        if "mem_alloc" in self.fails and kind == "device":
            raise MemoryError("cuMemAlloc failed: out of memory")
        capturing = self.capturing()
        if capturing:
            capturing.is_spoilt = True
            raise LogicError("cuMemAlloc failed: operation not permitted when stream is capturing")
        assert size > 0
        made = Allocation(self, kind, int(size))
        self.allocations.append(made)
        self.log.append(f"new {kind} {made.address:x}")
        return made

    def live(self) -> list[str]:
        """What nobody has freed."""
        kinds = [f"{a.kind} memory" for a in self.allocations if a.live]
        return kinds + [type(thing).__name__ for thing in (*self.handles.values(), *self.streams.values())]

    def memory_at(self, address: int, size: int, kinds: tuple[str, ...]) -> np.ndarray:
        """The bytes of a live allocation."""
        for each in self.allocations:
            if (
                each.live
                and each.kind in kinds
                and each.address <= address
                and address + size <= each.address + each.size
            ):
                start = address - each.address
                return each.bytes[start : start + size]
        raise LogicError(f"no live {' or '.join(kinds)} memory of {size} bytes at {address:x}")

    # ---- pycuda.driver ---------------------------------------------------------------------------------------

    def module(self) -> types.ModuleType:
        """What `import pycuda.driver` gives."""
        made = types.ModuleType("pycuda.driver")
        made.__dict__.update(
            Error=Error,
            MemoryError=MemoryError,
            LogicError=LogicError,
            RuntimeError=RuntimeError,
            init=lambda: self.check_usable("cuInit"),
            Device=self._device_class(),
            device_attribute=types.SimpleNamespace(CONCURRENT_MANAGED_ACCESS=89),
            host_alloc_flags=types.SimpleNamespace(DEVICEMAP=2),
            mem_attach_flags=types.SimpleNamespace(GLOBAL=1),
            Context=types.SimpleNamespace(synchronize=self._synchronize),
            Stream=self._stream,
            mem_alloc=lambda size: self.allocate("device", size),
            mem_get_info=lambda: (1 << 30, self.gpu.memory_bytes),
            pagelocked_empty=self._pagelocked,
            managed_empty=self._managed,
            memcpy_htod=self._htod,
            memcpy_htod_async=self._htod_async,
            memcpy_dtoh_async=self._dtoh_async,
            module_from_buffer=self._module,
        )
        return made

    def _device_class(self) -> Any:
        cuda = self

        class Device:
            def __init__(self, ordinal: int) -> None:
                assert 0 <= ordinal < cuda.devices

            def get_attribute(self, number: int) -> int:
                assert number == 89
                return int(cuda.shares_managed)

            def retain_primary_context(self) -> FakeContext:
                cuda.log.append("retain")
                return FakeContext(cuda)

        return Device

    def _stream(self, flags: int) -> FakeStream:
        self.need_context("cuStreamCreate")
        assert flags == 1, "a blocking stream waits for the default one"
        return FakeStream(self)

    def _pagelocked(self, size: int, dtype: str, mem_flags: int = 0) -> np.ndarray:
        assert dtype == "uint8"
        return np.asarray(self.allocate("mapped" if mem_flags == 2 else "locked", size))

    def _managed(self, size: int, dtype: str, mem_flags: int = 0) -> np.ndarray:
        assert mem_flags == 1
        return np.asarray(self.allocate("managed", size))

    def _htod(self, address: int, data: bytes) -> None:
        """Staged: it arrives when the default stream's turn comes, for which streams of ours do not wait."""
        self.need_context("cuMemcpyHtoD")
        self.memory_at(address, len(data), ("device",))

        def run() -> None:
            self.memory_at(address, len(data), ("device",))[:] = np.frombuffer(data, np.uint8)

        self.staged.append(run)

    def _synchronize(self) -> None:
        self.need_context("cuCtxSynchronize")
        for run in self.staged:
            run()
        self.staged.clear()
        for stream in list(self.streams.values()):
            stream.synchronize()

    def _htod_async(self, address: int, host: np.ndarray, stream: FakeStream) -> None:
        self.need_context("cuMemcpyHtoDAsync")
        self._copy(stream, "upload", address, ("device",), int(host.ctypes.data), ("locked", "mapped"), host.nbytes)

    def _dtoh_async(self, host: np.ndarray, address: int, stream: FakeStream) -> None:
        self.need_context("cuMemcpyDtoHAsync")
        self._copy(stream, "download", int(host.ctypes.data), ("locked", "mapped"), address, ("device",), host.nbytes)

    def _copy(
        self, stream: FakeStream, what: str, to: int, to_kinds: Any, start: int, start_kinds: Any, size: int
    ) -> None:
        def run() -> None:
            self.memory_at(to, size, to_kinds)[:] = self.memory_at(start, size, start_kinds)

        self.memory_at(to, size, to_kinds), self.memory_at(start, size, start_kinds)
        stream.push(what, run)

    def _module(self, image: bytes) -> Any:
        self.need_context("cuModuleLoadDataEx")
        self.check_usable("cuModuleLoadDataEx")
        assert isinstance(image, bytes)
        return types.SimpleNamespace(get_function=lambda name: FakeFunction(self, name))

    # ---- libcuda ---------------------------------------------------------------------------------------------

    def library(self) -> Any:
        """What ctypes.CDLL gives; every function is a plain one, so that its signature can be set on it."""
        names = [name for name in dir(self) if name.startswith("cu")]
        return types.SimpleNamespace(**{name: self._guarded(name) for name in names})

    def _guarded(self, name: str) -> Callable[..., int]:
        def function(*arguments: Any) -> int:
            if name == "cuGetErrorString":
                return self.cuGetErrorString(*arguments)
            if not self.stack:
                return 201
            if name in self.fails:
                return INVALID_VALUE
            return int(getattr(self, name)(*arguments))

        return function

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = f"fake error {code}".encode()
        return SUCCESS

    def cuCtxPopCurrent_v2(self, out: Any) -> int:
        self.stack.pop()
        return SUCCESS

    def cuEventCreate(self, out: Any, flags: int) -> int:
        event = FakeEvent(0)
        event.handle = out._obj.value = self.new_handle(event)
        return SUCCESS

    def cuEventDestroy_v2(self, event: int) -> int:
        return SUCCESS if isinstance(self.handles.pop(event, None), FakeEvent) else INVALID_HANDLE

    def cuEventRecordWithFlags(self, event_handle: int, stream_handle: int, flags: int) -> int:
        event, stream = self._event(event_handle), self._live_stream(stream_handle)
        is_external = flags == 1
        if is_external and not stream.capture:
            return INVALID_VALUE
        tells_time = is_external or not stream.capture  # else it is an edge of the graph

        def run() -> None:
            event.time_s = perf_counter() if tells_time else None

        event.time_s = None
        event.last = stream.push("record", run)
        return SUCCESS

    def cuEventSynchronize(self, event_handle: int) -> int:
        event = self._event(event_handle)
        capture = self.capturing()
        if capture:
            capture.is_spoilt = True
            return UNSUPPORTED
        if event.last and event.last.capture and not event.last.done:
            return INVALID_VALUE
        if event.last and event.last.stream:
            event.last.stream.run_until(event.last)
        return SUCCESS

    def cuEventElapsedTime(self, out: Any, start_handle: int, end_handle: int) -> int:
        start, end = self._event(start_handle), self._event(end_handle)
        if start.time_s is None or end.time_s is None:
            return 600  # not ready
        out._obj.value = (end.time_s - start.time_s) * 1e3
        return SUCCESS

    def cuStreamWaitEvent(self, stream_handle: int, event_handle: int, flags: int) -> int:
        stream, event = self._live_stream(stream_handle), self._event(event_handle)
        of = event.last.capture if event.last else None
        if of and of.origin.capture is of and not stream.capture:
            stream.capture = of  # it joins
        if stream.capture is not of and (stream.capture or (of and of.origin.capture is of)):
            self.capturing().is_spoilt = True  # type: ignore[union-attr]
            return ISOLATION
        stream.push("wait", lambda: None, after=event.last)
        return SUCCESS

    def cuStreamBeginCapture_v2(self, stream_handle: int, mode: int) -> int:
        stream = self._live_stream(stream_handle)
        assert mode == 1, "thread-local"
        if stream.capture:
            return INVALID_VALUE
        stream.capture = Capture(stream)
        return SUCCESS

    def cuStreamEndCapture(self, stream_handle: int, out: Any) -> int:
        stream = self._live_stream(stream_handle)
        capture = stream.capture
        if not capture or capture.origin is not stream:
            return INVALID_VALUE
        is_joined = capture.is_joined()
        for each in capture.streams():
            each.capture = None
        if capture.is_spoilt or not is_joined:
            out._obj.value = 0
            return INVALIDATED if capture.is_spoilt else UNJOINED
        out._obj.value = self.new_handle(FakeGraph(capture.operations))
        return SUCCESS

    def cuGraphInstantiateWithFlags(self, out: Any, graph: int, flags: int) -> int:
        out._obj.value = self.new_handle(FakeExecutable(replay_order(self.handles[graph].operations)))
        return SUCCESS

    def cuGraphLaunch(self, executable: int, stream_handle: int) -> int:
        stream, made = self._live_stream(stream_handle), self.handles.get(executable)
        if not isinstance(made, FakeExecutable):
            return INVALID_HANDLE
        assert not stream.capture
        self.launched_graphs += 1
        for operation in made.operations:
            stream.push(operation.what, self._of_live(executable, operation))
        return SUCCESS

    def _of_live(self, executable: int, operation: Operation) -> Callable[[], None]:
        def run() -> None:
            assert executable in self.handles, "the graph was destroyed while it ran"
            operation.run()

        return run

    def cuGraphDestroy(self, graph: int) -> int:
        return SUCCESS if isinstance(self.handles.pop(graph, None), FakeGraph) else INVALID_HANDLE

    def cuGraphExecDestroy(self, executable: int) -> int:
        return SUCCESS if isinstance(self.handles.pop(executable, None), FakeExecutable) else INVALID_HANDLE

    def _event(self, handle: int) -> FakeEvent:
        event = self.handles[handle]
        assert isinstance(event, FakeEvent)
        return event

    def _live_stream(self, handle: int) -> FakeStream:
        return self.streams[handle]


@dataclass(eq=False)
class FakeGraph:
    operations: list[Operation]


@dataclass(eq=False)
class FakeExecutable:
    operations: list[Operation]


@contextmanager
def installed(gpu: Gpu = H200, **attributes: Any) -> Iterator[FakeCuda]:
    """The fake in place of pycuda and the driver; everything must be freed and popped at the end."""
    cuda = FakeCuda(gpu)
    for name, value in attributes.items():
        assert hasattr(cuda, name)
        setattr(cuda, name, value)
    with pytest.MonkeyPatch.context() as patch:
        package = types.ModuleType("pycuda")
        module = cuda.module()
        patch.setitem(__import__("sys").modules, "pycuda", package)
        patch.setitem(__import__("sys").modules, "pycuda.driver", module)
        patch.setattr("pose_runtime.gpu.device.find_gpu", lambda ordinal: gpu)
        patch.setattr("pose_runtime.gpu.pipeline.find_kernels", lambda sm, driver: b"a cubin")
        # No result depends on the block; emulated threads cost time, and tests of the kernels take others too.
        patch.setattr("pose_runtime.gpu.outputs.plan_decoder", partial(outputs.plan_decoder, block=32))
        patch.setattr(libcuda, "load_library", cuda.library)
        libcuda._function.cache_clear()
        yield cuda
        libcuda._function.cache_clear()
    gc.collect()  # work that never ran refers to its stream and back
    left = cuda.live()
    assert left == [], left
    assert cuda.stack == cuda.own_stack == []
    assert cuda.log.count("detach") == cuda.log.count("retain")
