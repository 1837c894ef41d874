"""What an evaluation gives, as it is written to JSON. Points are 0 to 100; null is a figure that does not exist."""

from __future__ import annotations

from msgspec import Struct

from pose_calibration.curves import Curve


class _Base(Struct, frozen=True, kw_only=True):
    """Frozen, keyword-only."""


class Figure(_Base, frozen=True, kw_only=True):
    """One number, its 95 % interval over resampled pictures, and the same for its difference to the baseline's.

    Attributes:
        name: such as AP.
        unit: points, people, or ms.
        value: of the bundle; low, high: of its interval.
        baseline: its value of the other bundle.
        change: value - baseline; change_low, change_high: of its interval. Both bundles are resampled alike.
    """

    name: str
    unit: str
    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None


class Keypoint(_Base, frozen=True, kw_only=True):
    """One joint.

    Attributes:
        name: of the joint.
        annotated: how many, of people that count; 0 too where the network does not have the joint.
        mean_px, median_px: error of those found on people who were found (OKS of at least 0.5), pixels.
        right: share of the annotated that were found with a similarity (OKS of the one keypoint) of at least 0.5.
        missed: share of the annotated for which nothing was found, the person or the keypoint.
        pck: of the joint, by the data set's usual length and threshold.
        baseline_right, baseline_median_px: of the other bundle.
    """

    name: str
    annotated: int
    mean_px: float | None
    median_px: float | None
    right: float | None
    missed: float | None
    pck: float | None
    baseline_right: float | None = None
    baseline_median_px: float | None = None


class Group(_Base, frozen=True, kw_only=True):
    """PCK of a joint's left and right together, by the data set's usual length and threshold; points."""

    name: str
    pck: float | None
    baseline: float | None = None


class LimbRow(_Base, frozen=True, kw_only=True):
    """PCP of one part by both rules, points, and how many are annotated."""

    name: str
    annotated: int
    strict: float | None
    mean: float | None
    baseline_strict: float | None = None


class Stages(_Base, frozen=True, kw_only=True):
    """Median milliseconds per picture, and how many pictures were timed."""

    pictures: int
    pre_ms: float
    network_ms: float
    decode_ms: float
    total_ms: float


class Side(_Base, frozen=True, kw_only=True):
    """One bundle: where it is, what it is, which graph ran, how many people it found and missed, how long it took.

    `invented` is null where the data set does not annotate everybody.
    """

    path: str
    network: str
    sha256: str
    graph: str
    found: int
    missed: int
    invented: int | None
    stages: Stages


class OnPicture(_Base, frozen=True, kw_only=True):
    """How well a picture's people were found: mean OKS, 0 to 1, with those missed and invented as 0; their numbers."""

    oks: float
    missed: int
    invented: int


class Changed(_Base, frozen=True, kw_only=True):
    """A picture, by its id and file, and what the bundle and the baseline made of it."""

    id: int
    file: str
    bundle: OnPicture
    baseline: OnPicture | None = None


class Evaluation(_Base, frozen=True, kw_only=True):
    """The whole of it.

    Attributes:
        version: of this format.
        jetpose: version that wrote it.
        data_set, annotations: name of the format, path of the file.
        pictures, people: that were evaluated.
        skipped: pictures that could not be read, with the reason.
        joints_left_out: joints of the annotations that the network does not have.
        notes: what else to know.
        within: whether an error exactly at a threshold is correct (`<=`) or not (`<`).
        boxes: whether the network was given the annotated people's boxes.
        seed, resamples: of the intervals.
        bundle, baseline: the two sides.
        pck: the name of the data set's usual PCK, which `groups` and the keypoints' `pck` are.
        figures, groups, keypoints, limbs, curves: results.
        changed: the pictures that changed most, largest change first; without a baseline, those found worst.
    """

    version: int
    jetpose: str
    data_set: str
    annotations: str
    pictures: int
    people: int
    skipped: tuple[str, ...]
    joints_left_out: tuple[str, ...]
    notes: tuple[str, ...]
    within: str
    boxes: bool
    seed: int
    resamples: int
    bundle: Side
    baseline: Side | None
    pck: str
    figures: tuple[Figure, ...]
    groups: tuple[Group, ...]
    keypoints: tuple[Keypoint, ...]
    limbs: tuple[LimbRow, ...]
    curves: tuple[Curve, ...]
    changed: tuple[Changed, ...]
