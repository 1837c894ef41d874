"""TensorRT as it is installed: which one, whether its version will do, and where its log goes."""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections import deque
from typing import Any, NamedTuple

from pose_runtime.errors import EngineError

LOGGER = logging.getLogger("pose_runtime.tensorrt")
"""Everything that TensorRT says. Silent until an application handles it: what fails comes as an EngineError."""

LOGGER.addHandler(logging.NullHandler())

_MODULES = {  # module -> versions: oldest, first that is too new, how to get one
    "tensorrt": ((10, 3), (12, 0), "JetPack 6.1 and newer have it"),
    "tensorrt_rtx": ((1, 7), (2, 0), "pip install tensorrt-rtx"),
}
_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)  # by TensorRT's severity
_ERROR = 1
_KEPT = 20

_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|insufficient memory|memory ?allocation|requested amount of memory", re.I)
_FREE_MEMORY = "memory is full: close other programs, add swap, or build with less --workspace and --tactic-memory"


class Library(NamedTuple):
    """TensorRT.

    Attributes:
        trt: the module.
        name: of the module: tensorrt, or tensorrt_rtx (TensorRT for RTX).
        version: such as 10.3.0.
        log: the logger of every TensorRT object in this process.
    """

    trt: Any
    name: str
    version: str
    log: Any

    def __str__(self) -> str:
        return f"{'TensorRT for RTX' if self.name == 'tensorrt_rtx' else 'TensorRT'} {self.version}"


@functools.cache
def find_library() -> Library:
    """The installed TensorRT, else TensorRT for RTX. Look for a GPU first (`gpu.driver`).

    Raises:
        EngineError: neither is installed, or its version is not one of those that jetpose knows.
    """
    problems = []
    for name in _MODULES:
        try:
            trt = importlib.import_module(name)
            _check_version(name, str(getattr(trt, "__version__", "unknown")))
        except (ImportError, OSError) as error:
            problems.append(f"{name}: {error}")
        else:
            return Library(trt, name, str(trt.__version__), _new_log(trt))
    raise EngineError(
        f"TensorRT is not installed ({'; '.join(problems)}); on a Jetson it comes with JetPack: make the virtual "
        "environment with --system-site-packages; elsewhere pip install tensorrt"
    )


def raise_pending(holder: Any) -> None:
    """Raise, once, what a callback kept as its `interrupt`, such as Ctrl-C: TensorRT would have lost it."""
    if holder.interrupt is not None:
        interrupt, holder.interrupt = holder.interrupt, None
        try:
            raise interrupt
        finally:
            del interrupt  # or its traceback would keep itself, and all that the frames hold, alive


def _check_version(name: str, version: str) -> None:
    oldest, end, source = _MODULES[name]
    match = re.match(r"(\d+)\.(\d+)", version)
    number = (int(match[1]), int(match[2])) if match else (0, 0)
    if not oldest <= number < end:
        wanted = f"{oldest[0]}.{oldest[1]} or newer, before {end[0]}"
        raise EngineError(f"{name}: got version {version}, wanted {wanted}; {source}")


def _new_log(trt: Any) -> Any:
    """A logger object of this TensorRT; there is one per process, for TensorRT keeps the first that it is given."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Passes messages on; keeps the last errors, and what must not be raised through TensorRT's frames."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT)
            self.interrupt: BaseException | None = None

        def log(self, severity: Any, text: str) -> None:
            """Called by TensorRT from any thread; whatever it raised would be lost there."""
            try:
                level = int(severity)
                if level <= _ERROR:
                    self.errors.append(" ".join(text.split()))
                LOGGER.log(_LEVELS[min(level, len(_LEVELS) - 1)], "%s", text)
            except BaseException as error:  # such as Ctrl-C, which Python raises wherever it is
                self.interrupt = error

        def begin(self) -> None:
            """Forget what earlier work said."""
            self.errors.clear()
            self.interrupt = None

        @property
        def is_out_of_memory(self) -> bool:
            """Whether one of the errors is about memory."""
            return any(_OUT_OF_MEMORY.search(error) for error in self.errors)

        def failure(self, what: str, remedy: str = "") -> BaseException:
            """The error to raise after something failed: what TensorRT said of it, and what to do."""
            if self.interrupt is not None:
                return self.interrupt
            said = self.errors[0][:300] if self.errors else "it gives no reason"
            remedy = _FREE_MEMORY if self.is_out_of_memory else remedy
            return EngineError(f"TensorRT: {what}: {said}" + f"; {remedy}" * bool(remedy))

    return Log()
