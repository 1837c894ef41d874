"""What pose-run says while it runs and when it ends: a bar, a line a second, a summary; all on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pose_runtime.runner import Summary

_EVERY_S = 1.0
_STAGES = ("read", "pre", "network", "decode", "write")

OnFrame = Callable[[Summary], None]


@contextmanager
def bar(count: int | None) -> Iterator[OnFrame]:
    """A bar for people who watch a terminal; it shows frames, and people and frames per second so far."""
    if count == 1 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=count)
        yield lambda so_far: progress.update(
            task, completed=so_far.frames, description=f"{so_far.people} people, {so_far.fps:.1f} frames/s"
        )


class StatusLines:
    """A line a second on the frames since the line before; for a run whose results nobody keeps or sees otherwise."""

    def __init__(self) -> None:
        self._last = Summary()

    def __call__(self, so_far: Summary) -> None:
        """Print a line if it is time; to be called after every frame."""
        if so_far.wall_s - self._last.wall_s >= _EVERY_S:
            new = so_far.since(self._last)
            mean = f"{new.fps:.1f} frames/s, {new.people / new.frames:.1f} people per frame"
            print(f"{_count(so_far.frames, 'frame')}, {mean}, {_stages(new)}", file=sys.stderr)
            self._last = replace(so_far)


def lines(summary: Summary) -> Iterator[str]:
    """The summary of a whole run."""
    skipped = f", {_count(summary.skipped, 'image')} skipped" if summary.skipped else ""
    speed = f"{summary.fps:.1f} frames/s" if summary.frames else "nothing to do"
    yield f"{_count(summary.frames, 'frame')}, {_count(summary.people, 'person', 'people')}, {speed}{skipped}"
    if summary.frames:
        yield f"per frame: {_stages(summary)}"


def _stages(summary: Summary) -> str:
    return ", ".join(f"{stage} {1e3 * getattr(summary, stage + '_s') / summary.frames:.1f} ms" for stage in _STAGES)


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
