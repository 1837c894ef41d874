"""What pose-run says while it runs and when it ends: a bar, a line a second, a summary; all on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.markup import escape

from pose_runtime.live.status import Status, line
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


class LiveLines:
    """What a live run says of itself, a line a second; on a terminal whose results go elsewhere, always the same line.

    Args:
        show: prints a line.

    Attributes:
        last: newest status.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self.last: Status | None = None

    def __call__(self, status: Status) -> None:
        """To be called every second."""
        if self.last is not None:  # the first comes before any frame
            self._show(line(status))
        self.last = status


@contextmanager
def live_lines(*, has_sinks: bool) -> Iterator[LiveLines]:
    """For people who watch."""
    if not has_sinks:
        yield LiveLines(lambda text: print(text, file=sys.stderr))
    elif not sys.stderr.isatty():
        yield LiveLines(lambda _: None)
    else:
        from rich.console import Console

        with Console(stderr=True).status("") as shown:
            yield LiveLines(lambda text: shown.update(escape(text)))


def live_summary(status: Status | None) -> str:
    """What a live run did."""
    if status is None:
        return "nothing to do"
    dropped = sum(source.dropped for source in status.sources)
    left_out = f", {_count(dropped, 'older frame')} left out for newer ones" if dropped else ""
    return f"{_count(status.frames, 'frame')} in {status.uptime_s:.0f} s{left_out}"


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
