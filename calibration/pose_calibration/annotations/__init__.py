"""Annotated people: one form for every data set. One module per format, imported when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

from pose_calibration.annotations._model import Annotations, Limits, People, Picture, Protocol
from pose_runtime.errors import PoseError

__all__ = ["FORMATS", "Annotations", "Limits", "People", "Picture", "Protocol", "read_annotations"]

FORMATS = ("coco", "mpii", "lsp", "flic", "jhmdb")


def read_annotations(kind: str, path: Path, *, split: str | None = None, head_boxes: Path | None = None) -> Annotations:
    """Read the annotations of a data set.

    Args:
        kind: one of `FORMATS`; each format's module says which files it takes.
        path: of the file, or for jhmdb perhaps a folder.
        split: `train`, `test` or `all`, where the format has that; None is what the field evaluates on.
        head_boxes: MATLAB file with MPII's `headboxes_src`, for MPII annotations as JSON.

    Raises:
        PoseError: what is wrong with the file, or the package that reads it is missing.
    """
    if kind not in FORMATS:
        raise PoseError(f"annotations: got format {kind!r}, wanted one of {', '.join(FORMATS)}")
    if head_boxes is not None and kind != "mpii":
        raise PoseError(f"head boxes: only mpii has them, not {kind}")
    if split is not None and kind in ("coco", "mpii", "jhmdb"):
        raise PoseError(f"split: {kind} annotations have one file per split; leave it out")
    module = importlib.import_module(f"pose_calibration.annotations.{kind}")
    annotations: Annotations
    if kind == "mpii":
        annotations = module.read(path, head_boxes)
    elif kind in ("lsp", "flic"):
        annotations = module.read(path, split or "test")
    else:
        annotations = module.read(path)
    if not annotations.pictures:
        raise PoseError(f"{path}: no annotated pictures in it")
    return annotations
