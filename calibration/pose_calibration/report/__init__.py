"""A report as one HTML file that needs nothing else: of an evaluation, of the making of an INT8 graph, or of both."""

from __future__ import annotations

from pose_calibration.report.content import Block, Frames, Layer, Report, SensitivityCurve, Shown, Step
from pose_calibration.report.page import html_page
from pose_calibration.report.pictures import picture_row

__all__ = [
    "Block",
    "Frames",
    "Layer",
    "Report",
    "SensitivityCurve",
    "Shown",
    "Step",
    "html_page",
    "picture_row",
]
