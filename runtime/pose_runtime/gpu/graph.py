"""A CUDA graph: work that is captured from a stream once and replayed by one call."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_void_p

from pose_runtime.errors import EngineError
from pose_runtime.gpu import libcuda
from pose_runtime.gpu.device import Stream

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do is no business of this capture


class Graph:
    """Captured work, ready to run; `close()` it while the context is current."""

    def __init__(self, executable: int) -> None:
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Queue it on a stream; only one launch of a graph runs at a time."""
        if not self._executable:
            raise EngineError("CUDA graph: it is closed; capture a new one")
        libcuda.call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Free it; a second time does nothing."""
        executable, self._executable = self._executable, 0
        if executable:
            libcuda.call("cuGraphExecDestroy", executable)


def capture(stream: Stream, enqueue: Callable[[], None]) -> Graph:
    """Record what `enqueue` queues on a stream, without running it.

    The same work must have run on the stream once before: libraries allocate and load at their first run, which a
    capture forbids.

    Args:
        stream: not captured already.
        enqueue: queues the work, on this stream and on streams that wait for it; may not wait for the GPU.

    Raises:
        EngineError: something in it cannot be captured; the stream is usable again.
    """
    libcuda.call("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
    try:
        enqueue()
    except BaseException:
        _abandon(stream)
        raise
    graph = _end(stream)
    try:
        return Graph(libcuda.new_handle("cuGraphInstantiateWithFlags", graph, 0))
    finally:
        libcuda.call("cuGraphDestroy", graph)


def _abandon(stream: Stream) -> None:
    """Leave a capture whose error is already on its way."""
    try:
        graph = _end(stream)
    except EngineError:
        return  # CUDA says that the capture is invalid, which it is
    libcuda.call("cuGraphDestroy", graph)


def _end(stream: Stream) -> int:
    graph = c_void_p()
    libcuda.call("cuStreamEndCapture", stream.handle, byref(graph))
    if not graph.value:
        raise EngineError("CUDA graph: the capture gave none")
    return graph.value
