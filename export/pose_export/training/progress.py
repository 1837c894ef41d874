"""How a run shows where it is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Shown:
    """Use it by `with`.

    Args:
        steps: of the whole run.
        console: where to write; None is standard output.
    """

    def __init__(self, steps: int, console: Console | None = None) -> None:
        self._console = console or Console()
        self._steps = steps
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}", markup=False), console=self._console)
            self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Shown:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int) -> None:
        """One more is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def row(self, step: int, text: str) -> None:
        """The figures of the last steps."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        else:
            self._console.print(f"step {step}/{self._steps}  {text}", markup=False, highlight=False, soft_wrap=True)
