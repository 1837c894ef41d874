"""A bundle proves itself: its own frames must give the poses that the FP32 network gave when it was written.

The same functions record the frames (export) and check them (any board), so both sides mean the same by every number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.bundle import Bundle
from pose_runtime.choose import CPU_ROLES, ENGINE, NO_INT8_DOT
from pose_runtime.cpu_features import has_int8_dot
from pose_runtime.engines import open_engine
from pose_runtime.errors import BundleError, EngineError
from pose_runtime.manifest import CheckFrame, GraphRole, HeadStatistics, Manifest
from pose_runtime.oks import pose_oks
from pose_runtime.pipeline import Pipeline
from pose_runtime.poses import Poses

MAX_CHECK_SIDE = 2048
"""Longest side of a check frame, in pixels: a few bytes of PNG could unpack into gigabytes."""

ROLES: dict[str, tuple[GraphRole, ...]] = {ENGINE: CPU_ROLES}
"""Engine -> the graphs that are made for it."""


@dataclass(frozen=True, slots=True)
class FrameCheck:
    """One frame through one graph.

    Attributes:
        file: of the frame in the bundle.
        oks: similarity of the poses to those recorded, 0..1.
        people: found here, and recorded.
        heads: per output tensor, the largest difference of mean, deviation, smallest and largest value from those
            recorded, as a share of the recorded range.
    """

    file: str
    oks: float
    people: tuple[int, int]
    heads: dict[str, float]


@dataclass(frozen=True, slots=True)
class GraphCheck:
    """All frames through one graph: its role, the engine that ran it, the bound and whether every frame met it."""

    role: GraphRole
    engine: str
    min_oks: float
    frames: tuple[FrameCheck, ...]

    @property
    def worst_oks(self) -> float:
        """The lowest of all frames."""
        return min(frame.oks for frame in self.frames)

    @property
    def passed(self) -> bool:
        """Whether every frame's OKS is at least `min_oks`."""
        return all(frame.oks >= self.min_oks for frame in self.frames)


def check_bundle(bundle: Bundle, *, engine: str | None = None, threads: int | None = None) -> list[GraphCheck]:
    """Run the check frames through every graph of the bundle that an engine here runs (see `why_skipped`).

    Args:
        bundle: loaded.
        engine: one of `ROLES`, or None for all.
        threads: as `open_pipeline`'s.

    Raises:
        EngineError: unknown engine, or it cannot be opened.
        BundleError: a frame or a graph cannot be read.
    """
    if engine is not None and engine not in ROLES:
        raise EngineError(f"engine: got {engine!r}, wanted one of {', '.join(ROLES)}")
    images = [read_frame(bundle, frame.file) for frame in bundle.manifest.check.frames]
    checks = []
    for name in ROLES if engine is None else (engine,):
        for role in ROLES[name]:
            if role in bundle.manifest.graphs and why_skipped(role) is None:
                opened = open_engine(name, bundle.graph_bytes(role), threads=threads)
                with opened, Pipeline(bundle.manifest, opened) as pipeline:
                    heads = partial(_heads_of, pipeline)
                    checks.append(_check_graph(bundle.manifest, role, name, images, pipeline, heads))
    return checks


def why_skipped(role: GraphRole) -> str | None:
    """What keeps a graph that an engine here runs from its results, None where nothing does."""
    if role == "cpu_int8" and not has_int8_dot():
        return f"{NO_INT8_DOT}, its results would be others"
    return None


def check_graph(bundle: Bundle, role: GraphRole, run: Callable[[ByteArray], Poses], engine: str) -> GraphCheck:
    """Show the check frames to whatever runs one of the bundle's graphs; heads are not looked at.

    Args:
        bundle: loaded.
        role: of the graph that `run` runs.
        run: gives the poses in a frame, uint8 (H, W, 3) in B, G, R order.
        engine: its name, for the result.

    Raises:
        BundleError: a frame cannot be read.
    """
    images = [read_frame(bundle, frame.file) for frame in bundle.manifest.check.frames]
    return _check_graph(bundle.manifest, role, engine, images, run, tuple)


def _check_graph(
    manifest: Manifest,
    role: GraphRole,
    engine: str,
    images: Sequence[ByteArray],
    run: Callable[[ByteArray], Poses],
    heads_of_run: Callable[[], tuple[HeadStatistics, ...]],
) -> GraphCheck:
    frames = []
    for image, wanted in zip(images, manifest.check.frames, strict=True):
        poses = run(image)
        expected = recorded_poses(manifest, wanted)
        heads = heads_of_run()
        differences = {a.tensor: _difference(a, b) for a in wanted.heads for b in heads if a.tensor == b.tensor}
        frames.append(FrameCheck(wanted.file, pose_oks(expected, poses), (len(poses), len(expected)), differences))
    own = manifest.graphs[role].min_oks
    return GraphCheck(role, engine, manifest.check.min_oks if own is None else own, tuple(frames))


def _heads_of(pipeline: Pipeline) -> tuple[HeadStatistics, ...]:
    return head_statistics(pipeline.manifest, pipeline.outputs)


def read_frame(bundle: Bundle, file: str) -> ByteArray:
    """A check frame, uint8 (H, W, 3) in B, G, R order; raises BundleError."""
    data = bundle.file_bytes(file)
    size = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))  # PNG: IHDR comes first
    if data[:8] != b"\x89PNG\r\n\x1a\n" or not all(0 < side <= MAX_CHECK_SIDE for side in size):
        raise BundleError(f"{bundle.path / file}: wanted a PNG of 1 to {MAX_CHECK_SIDE} pixels each way")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise BundleError(f"{bundle.path / file}: cannot be decoded")
    return image.astype(np.uint8, copy=False)


def record_frame(pipeline: Pipeline, image: ByteArray, file: str) -> CheckFrame:
    """What this pipeline gives on a frame that will be `file` in a bundle.

    Coordinates and scores are rounded as in `Poses.to_dict`.
    """
    people = pipeline(image).to_dict()["people"]
    return CheckFrame(
        file=file,
        keypoints=tuple(
            tuple(None if point is None else tuple(point) for point in person["keypoints"]) for person in people
        ),
        scores=tuple(person["score"] for person in people),
        heads=head_statistics(pipeline.manifest, pipeline.outputs),
    )


def recorded_poses(manifest: Manifest, frame: CheckFrame) -> Poses:
    """The poses of a check frame as a pipeline returns them."""
    missing = (np.nan, np.nan, 0.0)
    k = len(manifest.skeleton.names)
    keypoints = [[missing if point is None else point for point in person] for person in frame.keypoints]
    array = np.array(keypoints, np.float32).reshape(-1, k, 3)
    return Poses(array, np.array(frame.scores, np.float32), manifest.skeleton)


def head_statistics(manifest: Manifest, outputs: Mapping[str, AnyArray]) -> tuple[HeadStatistics, ...]:
    """Statistics of every output tensor that the manifest names, over the first image of the batch, 6 digits."""
    heads = []
    for tensor in dict.fromkeys(output.tensor for output in manifest.outputs):
        values = outputs[tensor][0].astype(np.float64)
        values = values if values.size else np.zeros(1)  # a detector that found nobody
        mean, std, low, high = (float(f"{v:.6g}") for v in (values.mean(), values.std(), values.min(), values.max()))
        heads.append(HeadStatistics(tensor=tensor, mean=mean, std=std, min=low, max=high))
    return tuple(heads)


def _difference(wanted: HeadStatistics, got: HeadStatistics) -> float:
    scale = max(wanted.max - wanted.min, 1e-9)
    pairs = ((wanted.mean, got.mean), (wanted.std, got.std), (wanted.min, got.min), (wanted.max, got.max))
    return max(abs(a - b) for a, b in pairs) / scale
