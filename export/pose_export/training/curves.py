"""What a run did over time: a CSV file, and a picture of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pose_export.files import write_file
from pose_runtime.errors import ExportError

Row = dict[str, str]


class Curves:
    """Rows of step, learning rate, loss, AP (points, empty where not measured), images/s, seconds, terms of the loss.

    Args:
        path: of the CSV file.

    Attributes:
        rows: by column, as written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []

    def read(self, step: int) -> None:
        """Take over the file's rows up to `step`; those after it come from steps that will be done again."""
        if not self.path.exists():
            return
        try:
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            self.rows = [row for row in rows if int(row["step"]) <= step]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise ExportError(f"{self.path}: no curves of a run ({error}); move the file away") from error

    def add(
        self, step: int, lr: float, loss: float, terms: Mapping[str, float], images_per_s: float, wall_s: float
    ) -> None:
        """The means since the last row."""
        numbers = {"lr": lr, "loss": loss, "ap": None, "images_per_s": images_per_s, "wall_s": wall_s}
        numbers |= {f"loss_{name}": value for name, value in terms.items()}
        self.rows.append({"step": str(step), **{name: _text(value) for name, value in numbers.items()}})

    def measured(self, ap: float) -> None:
        """AP at the last row's step."""
        self.rows[-1]["ap"] = _text(ap)

    def write(self) -> None:
        """The whole file, in one step."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.path, buffer.getvalue().encode())


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def plot(rows: Sequence[Row], path: Path, title: str) -> None:
    """Loss and its terms (logarithmic), AP and learning rate over steps, as PNG."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExportError("curves need matplotlib; pip install 'jetpose[export]'") from error
    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    losses = [name for name in (rows[-1] if rows else ()) if name.startswith("loss")]
    for axis, names in zip(figure.subplots(3, 1, sharex=True), (losses, ["ap"], ["lr"]), strict=True):
        for name in names:
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, marker="." if name == "ap" else "")
                axis.legend()
        axis.grid(visible=True, alpha=0.3)
    figure.axes[0].set_yscale("log")
    figure.axes[0].set_title(title)
    figure.axes[-1].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_file(path, buffer.getvalue())
