"""What a bundle says of itself: `manifest.json`, typed, versioned, no silent defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from pose_runtime.decode import Decoder
from pose_runtime.geometry import Resize
from pose_runtime.skeletons import Skeleton

MANIFEST = "manifest.json"
VERSION = 1
MAX_FILES = 1024

# \Z, not $, which also matches before a last line feed.
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,2}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
Role = Literal["heatmaps", "tags", "pafs", "offsets", "vector", "windows", "fine"]
VALUES: tuple[Role, ...] = ("vector", "windows")
"""Roles of tensors (N, C); those of all others are (N, C, H, W)."""
GraphRole = Literal["reference", "tensorrt", "cpu_int8"]
Side = Annotated[int, Meta(ge=0, le=8192)]
Mean = Annotated[float, Meta(ge=-1e6, le=1e6)]
Std = Annotated[float, Meta(ge=1e-6, le=1e6)]
Channel = Annotated[int, Meta(ge=0, le=65536)]
Count = Annotated[int, Meta(ge=0, le=1 << 60)]


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, unknown keys are errors."""


class Weights(_Base, frozen=True, kw_only=True):
    """Where the weights come from: origin (URL, file name or "random"), licence, SHA-256 of the file they came in."""

    source: Text
    licence: Text
    sha256: Sha256


class Network(_Base, frozen=True, kw_only=True):
    """The network: name, weights, number of parameters, multiply-accumulates of one input (convolutions, matmuls)."""

    name: Text
    weights: Weights
    parameters: Count
    macs: Count


class Input(_Base, frozen=True, kw_only=True):
    """The input tensor, float32 or float16 NCHW.

    Attributes:
        tensor: its name.
        size_wh: width, height in pixels; (0, 0) where the graph takes any and `resize` computes it (short_side).
        batch: fixed batch size, or 0 for any.
        colour: channel order that the network wants.
        mean, std: value = (pixel - mean) / std per channel of `colour`, pixels 0..255; gray takes the first.
        resize: how a frame becomes the input.
    """

    tensor: Text
    size_wh: tuple[Side, Side]
    batch: Annotated[int, Meta(ge=0, le=1024)]
    colour: Literal["rgb", "bgr", "gray"]
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Std, Std, Std]
    resize: Resize


class Output(_Base, frozen=True, kw_only=True):
    """Channels first..last-1 of an output tensor (N, C, H, W), or values of one (N, C), and what they are.

    `stride` is input pixels per map pixel, 1 for values and for maps of windows. Several of one role are in order of
    the list.
    """

    tensor: Text
    role: Role
    channels: tuple[Channel, Channel]
    stride: Annotated[float, Meta(gt=0, le=8192)]


class Accuracy(_Base, frozen=True, kw_only=True):
    """Measured accuracy of one graph: executor, data, metric (AP in points 0-100), FP32's value and this graph's."""

    executor: Text
    data: Text
    metric: Text
    reference: float
    value: float


class Graph(_Base, frozen=True, kw_only=True):
    """One ONNX file: its role, precision (fp32, fp16, int8), INT8 share of the MACs, calibration, accuracy.

    `min_oks` is its own bound on the check frames, where lower precision gives less than `Check.min_oks`.
    """

    file: FileName
    precision: Literal["fp32", "fp16", "int8"]
    int8_mac_share: Annotated[float, Meta(ge=0, le=1)]
    calibration: Text | None
    accuracy: tuple[Accuracy, ...]
    min_oks: Annotated[float, Meta(ge=0, le=1)] | None = None


class HeadStatistics(_Base, frozen=True, kw_only=True):
    """Mean, standard deviation, smallest and largest value of one output tensor."""

    tensor: Text
    mean: float
    std: float
    min: float
    max: float


class CheckFrame(_Base, frozen=True, kw_only=True):
    """One frame of `check/`: a PNG, the FP32 poses on it, and the heads' statistics."""

    file: FileName
    keypoints: tuple[tuple[tuple[float, float, float] | None, ...], ...]
    scores: tuple[float, ...]
    heads: tuple[HeadStatistics, ...]


class Check(_Base, frozen=True, kw_only=True):
    """What any executor must give on the bundle's own frames: OKS of `min_oks` per frame, or a graph's own bound."""

    min_oks: Annotated[float, Meta(ge=0, le=1)]
    frames: Annotated[tuple[CheckFrame, ...], Meta(min_length=1, max_length=64)]


class Detector(_Base, frozen=True, kw_only=True):
    """How the network in the part `detector`, whose people are boxes (skeleton `box2`), gives this one its crops.

    Attributes:
        every: it runs on every so manieth frame of a source; in between, boxes come from the last poses.
        min_score: boxes below it are left out.
        max_people: the best so many boxes are taken.
        rescore: a person's score: `keypoints`, the decoder's own; `box`, that of the box times the mean of the keypoint
            scores above `min_keypoint` (SimpleBaseline, HRNet); `mean`, the mean over all keypoints, a missing one
            being 0 (G-RMI).
        min_keypoint: see `rescore`.
        nms_oks: of two people whose OKS is above it, the one of the higher score stays.
    """

    every: Annotated[int, Meta(ge=1, le=1000)]
    min_score: Annotated[float, Meta(ge=0, le=1)]
    max_people: Annotated[int, Meta(ge=1, le=256)]
    rescore: Literal["keypoints", "box", "mean"]
    min_keypoint: Annotated[float, Meta(ge=0, le=1)]
    nms_oks: Annotated[float, Meta(gt=0, le=1)]


class Stage(_Base, frozen=True, kw_only=True):
    """How a cascade's next network, in the part `stage2`, `stage3`, …, refines each joint in a crop of its own.

    Attributes:
        torso: two opposite joints, such as left shoulder and right hip; their distance is the person's diameter.
        sigma: the crop is a square around the joint, so many diameters wide (DeepPose).
    """

    torso: tuple[Channel, Channel]
    sigma: Annotated[float, Meta(gt=0, le=100)]


class Manifest(_Base, frozen=True, kw_only=True, omit_defaults=True):
    """The whole of `manifest.json`.

    Attributes:
        version: of this format.
        jetpose: version of jetpose that wrote it.
        files: SHA-256 of every file but the manifest, with those of parts.
        detector: where a part finds the people; None where the caller does, or none are needed.
        stages: of a cascade, those after this network; part i of them is `stage{i + 2}`.
    """

    version: int
    jetpose: Text
    network: Network
    input: Input
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=64)]
    skeleton: Skeleton
    decoder: Decoder
    graphs: dict[GraphRole, Graph]
    check: Check
    files: Annotated[dict[FileName, Sha256], Meta(max_length=MAX_FILES)]
    detector: Detector | None = None
    stages: Annotated[tuple[Stage, ...], Meta(max_length=8)] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders that hold a bundle by itself each: one more network."""
        return ("detector",) * (self.detector is not None) + tuple(f"stage{i + 2}" for i in range(len(self.stages)))
