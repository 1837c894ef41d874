"""Bundles against annotations: `run` finds the people, `evaluate` says how well, and how much better or worse."""

from __future__ import annotations

from pose_calibration.evaluation.evaluate import Subject, evaluate
from pose_calibration.evaluation.result import Evaluation
from pose_calibration.evaluation.run import Run, open_graph, run

__all__ = ["Evaluation", "Run", "Subject", "evaluate", "open_graph", "run"]
