"""What pose-export was asked about precision, and the graphs, the plan and the report that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from pose_calibration.accuracy import coco_ap
from pose_calibration.coco_pictures import is_coco
from pose_calibration.explain import lines
from pose_calibration.inputs import usual_size
from pose_calibration.limits import METHODS, Method
from pose_calibration.pictures import bundled_scenes, open_pictures
from pose_calibration.plan import encode_plan
from pose_calibration.progress import bar
from pose_calibration.quantise import Made, Precision, Settings, quantise
from pose_calibration.search import Budget, BudgetError, Found
from pose_calibration.search_report import curve_lines, search_page
from pose_export.files import check_folder, write_file
from pose_runtime.errors import PoseError
from pose_runtime.manifest import Manifest

Tell = Callable[[str], None]
"""Takes a line about what is going on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user's words.

    Attributes:
        precision: of the graphs beside FP32's.
        images: as `pictures.open_pictures` takes, to calibrate and judge on; None: the scenes that come with jetpose.
        count: pictures that ranges are measured on; three times as many others are judged on, where there are so many.
        seed: by which they are picked.
        method: for the ranges; auto tries all.
        max_loss, min_int8: the budget, AP points and share (0 to 1).
        memory: bytes of activations held at a time.
        state: a file for what was measured, or None.
        plan, report: files to write, or None.
    """

    precision: Precision
    images: Path | None
    count: int
    seed: int
    method: Method | Literal["auto"]
    max_loss: float
    min_int8: float
    memory: int
    state: Path | None
    plan: Path | None
    report: Path | None


class Explained(Exception):  # noqa: N818
    """Everything was explained; there is nothing more to do."""


class Explainer:
    """In the place of a Quantiser: prints what would be INT8, and ends the export by raising Explained."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def __call__(self, manifest: Manifest, model: onnx.ModelProto) -> Sequence[Made]:
        """Explain the graph."""
        for line in lines(model, usual_size(manifest.input)):
            self._tell(line)
        raise Explained


class Quantiser:
    """What `onnx_bundle.Options.quantise` takes; afterwards it says what was found.

    Args:
        wanted: the user's words.
        tell: is told of each step.

    Attributes:
        found: by the search for INT8; None before it, and for FP16.

    Raises:
        ExportError: a file that cannot be written where it is wanted.
        CalibrationError: no pictures.
    """

    def __init__(self, wanted: Wanted, tell: Tell) -> None:
        for path in (wanted.plan, wanted.report, wanted.state):
            if path is not None:
                check_folder(path)
        self._wanted, self._tell = wanted, tell
        if wanted.images is None:
            tell("no --calib-images: ranges and poses are those of rendered people; give pictures of the real place")
        path = bundled_scenes()[0] if wanted.images is None else wanted.images
        pictures = open_pictures(path, count=4 * wanted.count, seed=wanted.seed)
        self._calibration, self._judged = pictures.split(wanted.count)
        self._annotations = _keypoints(path, tell)
        self.found: Found | None = None

    def __call__(self, manifest: Manifest, model: onnx.ModelProto) -> Sequence[Made]:
        """Make the graphs, and write the plan and the report; the report also of a search that failed."""
        wanted = self._wanted
        settings = Settings(
            precision=wanted.precision,
            calibration=self._calibration,
            judged=self._judged,
            annotations=self._annotations,
            methods=METHODS if wanted.method == "auto" else (wanted.method,),
            budget=Budget(wanted.max_loss, wanted.min_int8),
            memory=wanted.memory,
            state=wanted.state,
            all_blocks=wanted.report is not None,
        )
        try:
            with bar() as progress:
                made = quantise(manifest, model, settings, tell=self._tell, progress=progress)
        except BudgetError as error:
            self._write(manifest, model, error.found)
            for line in curve_lines(error.found):
                self._tell(line)
            raise
        if made.found is not None:
            self._write(manifest, model, made.found)
        return made.graphs

    def _write(self, manifest: Manifest, model: onnx.ModelProto, found: Found) -> None:
        self.found = found
        if self._wanted.plan is not None:
            write_file(self._wanted.plan, encode_plan(found.plan))
        if self._wanted.report is not None:
            budget, warnings = Budget(self._wanted.max_loss, self._wanted.min_int8), self._calibration.left_out
            write_file(self._wanted.report, search_page(manifest, model, found, budget, warnings))


def _keypoints(path: Path, tell: Tell) -> Path | None:
    """The annotations, where the pictures come with keypoints."""
    if not is_coco(path):
        return None
    try:
        coco_ap(path, ())
    except PoseError as error:
        tell(f"{error}; FP32's poses stand in")
        return None
    return path
