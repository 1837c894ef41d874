"""Ctrl-C and SIGTERM as a wish to stop, so that a run ends after a step and not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether to stop.

    Attributes:
        wanted: name of the signal that came, or empty.
    """

    wanted = ""


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block the first signal is only noted; a second one acts as it does outside."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in no other
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        interrupt.wanted = signal.Signals(number).name
        restore()

    try:
        for number in before:
            signal.signal(number, note)
        yield interrupt
    finally:
        restore()
