"""What a run did over time: a CSV file, and a picture of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pose_export.files import write_file
from pose_runtime.errors import ExportError

STEP, LR, LOSS, AP, RATE, WALL = "step", "lr", "loss", "ap", "images_per_s", "wall_s"


class Curves:
    """Rows of step, learning rate, loss and its terms, AP (points, empty where not measured), images/s, seconds.

    Args:
        path: of the CSV file.
        terms: names of the loss terms.
        step: rows after this step are left out: they come from steps that were done again.
    """

    def __init__(self, path: Path, terms: Sequence[str], step: int) -> None:
        self.path = path
        self._columns = [STEP, LR, LOSS, *(f"loss_{term}" for term in terms), AP, RATE, WALL]
        self.rows: list[dict[str, str]] = []
        if step and path.exists():
            self.rows = [row for row in _read(path) if int(row[STEP]) <= step]

    def add(self, **values: float) -> None:
        """One row; columns that are not given stay empty."""
        self.rows.append({name: f"{values[name]:.6g}" if name in values else "" for name in self._columns})
        self.rows[-1][STEP] = str(int(values[STEP]))

    def write(self) -> None:
        """The whole file, in one step."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._columns, extrasaction="ignore", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.path, buffer.getvalue().encode())


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row[STEP])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ExportError(f"{path}: no curves of a run ({error}); move it away") from error
    return rows


def plot(rows: Sequence[Mapping[str, str]], path: Path, title: str) -> None:
    """Losses (logarithmic), AP and learning rate over steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    losses = [name for name in (rows[0] if rows else {}) if name.startswith(LOSS)]
    for axis, names in zip(axes, (losses, [AP], [LR]), strict=True):
        for name in names:
            points = [(int(row[STEP]), float(row[name])) for row in rows if row.get(name)]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, marker="." if name == AP else "")
        axis.grid(visible=True, alpha=0.3)
        axis.set_ylabel(" ".join(names[:1]))
    axes[0].set_yscale("log")
    if losses:
        axes[0].legend()
    axes[0].set_title(title)
    axes[-1].set_xlabel(STEP)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_file(path, buffer.getvalue())
