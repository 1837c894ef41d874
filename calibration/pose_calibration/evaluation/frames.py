"""The pictures that an evaluation names, drawn: what is annotated, what the baseline found, what the bundle found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose_calibration.annotations import Annotations, Picture
from pose_calibration.evaluation.evaluate import Subject
from pose_calibration.evaluation.result import Evaluation, OnPicture
from pose_calibration.evaluation.run import read_picture
from pose_calibration.report import Frames, Report, picture_row
from pose_runtime.errors import SourceError
from pose_runtime.poses import Poses
from pose_runtime.skeletons import Skeleton


def evaluation_report(
    evaluation: Evaluation, annotations: Annotations, images: Path, subject: Subject, baseline: Subject | None = None
) -> Report:
    """The report of an evaluation, with its pictures read again from `images`."""
    by_id = {picture.id: picture for picture in annotations.pictures}
    frames = []
    for changed in evaluation.changed:
        caption = _caption(changed.bundle)
        if changed.baseline is not None:
            caption = f"baseline: {_caption(changed.baseline)}; this bundle: {caption}"
        row = _row(by_id[changed.id], caption, annotations.skeleton, images, subject, baseline)
        frames += [] if row is None else [row]
    name = subject.bundle.manifest.network.name
    return Report(title=f"{name} on {evaluation.data_set}", evaluation=evaluation, frames=tuple(frames))


def _caption(found: OnPicture) -> str:
    return f"mean OKS {found.oks:.2f}, {found.missed} missed, {found.invented} invented"


def _row(
    picture: Picture, caption: str, skeleton: Skeleton, images: Path, subject: Subject, baseline: Subject | None
) -> Frames | None:
    try:
        image = read_picture(images, picture)
    except SourceError:  # it went away since
        return None
    people = {"annotated": annotated(picture, skeleton)}
    if baseline is not None:
        people["baseline"] = baseline.run.poses[picture.id]
    people["this bundle"] = subject.run.poses[picture.id]
    return picture_row(picture.file, caption, image, people)


def annotated(picture: Picture, skeleton: Skeleton) -> Poses:
    """The annotated people of a picture that count, as poses with scores of 1."""
    keypoints = picture.people.keypoints[picture.people.counts].astype(np.float32)
    return Poses(keypoints, np.ones(len(keypoints), np.float32), skeleton)
