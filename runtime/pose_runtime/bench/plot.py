"""One picture of a measurement: stages, the way from frame to pose, and how time grows with people and batch."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from typing import Any

from pose_runtime.bench.result import BenchResult, CompareResult, GraphTimes
from pose_runtime.errors import SinkError

_STAGES = (("pre", "#4477aa"), ("network", "#ccbb44"), ("decode", "#ee6677"))
_LINES = ("#4477aa", "#ee6677", "#228833")
_DPI = 120


def check_plot() -> Any:
    """matplotlib's figure module; call it before anything is measured.

    Raises:
        SinkError: matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise SinkError(f"--plot: cannot import matplotlib ({error}); pip install 'jetpose[plot]'") from error


def plot(result: BenchResult | CompareResult) -> bytes:
    """The picture, a PNG."""
    figure = check_plot().Figure(figsize=(12, 4), dpi=_DPI, layout="constrained")
    graphs = _graphs(result)
    panels = figure.subplots(1, 3)
    _plot_stages(panels[0], graphs)
    _plot_percentiles(panels[1], graphs)
    _plot_crowds(panels[2], graphs)
    machine = result.machine
    board = machine.board.model if machine.board and machine.board.model else machine.cpu
    figure.suptitle(f"{_networks(result)} on {board}, {result.runs} runs", fontsize=10)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _graphs(result: BenchResult | CompareResult) -> dict[str, GraphTimes]:
    if isinstance(result, CompareResult):
        return {f"{name}, {side.graph}": side.times for name, side in (("A", result.a), ("B", result.b))}
    return {str(role): times for role, times in result.graphs.items()}


def _networks(result: BenchResult | CompareResult) -> str:
    if isinstance(result, CompareResult):
        return f"A {result.a.network}, B {result.b.network}"
    return result.network


def _plot_stages(axes: Any, graphs: Mapping[str, GraphTimes]) -> None:
    """Medians, one bar per graph."""
    for row, times in enumerate(graphs.values()):
        left = 0.0
        for name, colour in _STAGES:
            width = getattr(times, f"{name}_ms")
            axes.barh(row, width, left=left, color=colour, label=name if row == 0 else None)
            left += width
        axes.plot(
            [times.bare.network.p50_ms] * 2, [row - 0.4, row + 0.4], "k--", label="bare network" if row == 0 else None
        )
    axes.set_yticks(range(len(graphs)), list(graphs), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ms, medians")
    axes.legend(fontsize=7)


def _plot_percentiles(axes: Any, graphs: Mapping[str, GraphTimes]) -> None:
    """Frame to pose against the bare network."""
    for (name, times), colour in zip(graphs.items(), _LINES * len(graphs), strict=False):
        for spread, style, what in ((times.frame, "-o", "frame to pose"), (times.bare.network, "--s", "bare network")):
            axes.plot(
                range(3), [spread.p50_ms, spread.p95_ms, spread.p99_ms], style, color=colour, label=f"{name}, {what}"
            )
    axes.set_xticks(range(3), ["p50", "p95", "p99"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms")
    axes.legend(fontsize=6)


def _plot_crowds(axes: Any, graphs: Mapping[str, GraphTimes]) -> None:
    """Decoding by the number of people, where that was measured."""
    for (name, times), colour in zip(graphs.items(), _LINES * len(graphs), strict=False):
        if times.crowds:
            people = [crowd.people for crowd in times.crowds]
            axes.plot(people, [crowd.decode_ms for crowd in times.crowds], "-o", color=colour, label=f"{name}, decode")
    axes.set_xlabel("people")
    axes.set_ylabel("decode, ms")
    if axes.get_legend_handles_labels()[1]:
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7)
    else:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
