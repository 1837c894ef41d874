"""What pose-build shows while TensorRT builds: the phase and its steps; on stderr, for people who watch a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def build_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Something to tell a phase's name, its steps done and in all; phases nest, and the last one told is shown."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("building", total=None)
        yield lambda phase, done, total: progress.update(task, description=phase, completed=done, total=total)
