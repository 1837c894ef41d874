"""What every pipeline shares: frames and boxes in, runs of the network, poses out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime import geometry
from pose_runtime.arrays import ByteArray
from pose_runtime.choose import Choice
from pose_runtime.decode import Decoded
from pose_runtime.errors import EngineError, FrameError
from pose_runtime.frame import Frame
from pose_runtime.geometry import Box, Crop, Geometry
from pose_runtime.manifest import Manifest
from pose_runtime.plan_cache import Proof
from pose_runtime.poses import Poses

Image = ByteArray | Frame
"""uint8 (H, W, 3) in B, G, R order, uint8 (H, W) in grey, or a Frame."""

MAX_BATCH = 8
"""Frames or boxes per run of a network that takes any number: more gains nothing and costs memory."""

_MAX_PLANS = 64  # source sizes remembered

_Pipeline = TypeVar("_Pipeline", bound="BasePipeline")


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one call spent in pre-processing, network, and decoding with the way back to source pixels.

    On a GPU `pre_s` begins with the copy of the frame to it.
    """

    pre_s: float = 0.0
    network_s: float = 0.0
    decode_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All stages."""
        return self.pre_s + self.network_s + self.decode_s

    def __add__(self, other: Timings) -> Timings:
        """Of calls one after another."""
        return Timings(self.pre_s + other.pre_s, self.network_s + other.network_s, self.decode_s + other.decode_s)


class Job(NamedTuple):
    """One row of a run: a frame, which one of the call's it is, and its way into the network."""

    item: int
    frame: Frame
    geometry: Geometry


def rows_at_once(manifest: Manifest, max_batch: int | None = None) -> int:
    """Rows of one run: the network's own number; where it takes any, `max_batch`, or what suits the bundle."""
    suited = manifest.detector.max_people if manifest.detector else MAX_BATCH
    return manifest.input.batch or max_batch or suited


class BasePipeline(ABC):
    """A bundle at work; use it by `with`, or `close()` it. It serves one thread at a time.

    Args:
        manifest: how frames become inputs and outputs become people.
        choice: which graph of the bundle runs, and why.
        max_batch: rows of one run.

    Attributes:
        choice: what was given; `open_pipeline` gives it.
        timings: of the last call.
        engine_key: 32 digits that name the built engine and all that it depends on, None where nothing is built.
        proof: what the engine gave on the bundle's check frames, None where it was not shown them.
    """

    depth = 1
    """Calls that may be under way at a time."""

    device_name = "cpu"
    """What runs the network, as `open_pipeline` takes it."""

    def __init__(self, manifest: Manifest, choice: Choice | None, max_batch: int) -> None:
        self.manifest = manifest
        self.choice = choice
        self.max_batch = max_batch
        self.timings = Timings()
        self.engine_key: str | None = None
        self.proof: Proof | None = None
        self._plans: dict[tuple[int, int], Geometry] = {}
        self._found: deque[list[Poses]] = deque()

    @overload
    def __call__(self, frames: Image, *, boxes: ArrayLike | None = None) -> Poses: ...
    @overload
    def __call__(self, frames: Sequence[Image], *, boxes: Sequence[ArrayLike | None] | None = None) -> list[Poses]: ...
    def __call__(self, frames: Image | Sequence[Image], *, boxes: Any = None) -> Poses | list[Poses]:
        """Find the people in one frame, or in each of several.

        Args:
            frames: one frame, or a list or tuple of them: they go through the network together where it takes batches.
            boxes: for networks of one person per crop: (N, 4) x, y, width, height in source pixels, one per person;
                None takes the whole frame for one box. With a list of frames, a list of these. A person in whose box
                no keypoint is found is not returned.

        Raises:
            FrameError: a frame or a box that cannot be taken, or boxes for a network that wants none.
            EngineError: the network failed, or an output has values that are not finite.
            DecodeError: the outputs are not what the decoder wants.
        """
        if isinstance(frames, (list, tuple)):
            sets = [None] * len(frames) if boxes is None else boxes
            if len(sets) != len(frames):
                raise FrameError(f"boxes: got {len(sets)} sets for {len(frames)} frames, wanted one per frame")
            return self._all(frames, sets)
        return self._all([frames], [boxes])[0]  # type: ignore[list-item]  # a Sequence that is no list is refused there

    def submit_all(self, frames: Sequence[Image], streams: Sequence[Hashable] | None = None) -> None:  # noqa: ARG002
        """Begin a call on several frames; at most `depth` are under way. Raises as calling the pipeline.

        Args:
            frames: as there.
            streams: which stream each frame is the next of, None for one that follows no other. A detector in front of
                the network may then rest between frames.
        """
        self._found.append(self(list(frames)))

    def result_all(self) -> list[Poses]:
        """The poses of the oldest call under way, once they are there. Raises as calling the pipeline."""
        if not self._found:
            raise EngineError("pipeline: no call is under way; submit frames first")
        return self._found.popleft()

    @abstractmethod
    def close(self) -> None:
        """Free everything; a second time does nothing."""

    def __enter__(self: _Pipeline) -> _Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        """The people in each frame; sets `timings`."""

    def _runs(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[list[Job]]:
        """What has to be run: neighbours of one input size together, at most `max_batch` of them."""
        runs: list[list[Job]] = []
        for item, (image, of_image) in enumerate(zip(frames, boxes, strict=True)):
            frame = as_frame(image)
            for plan in self._plan(frame.size_wh, of_image):
                job = Job(item, frame, plan)
                if runs and len(runs[-1]) < self.max_batch and runs[-1][0].geometry.size_wh == plan.size_wh:
                    runs[-1].append(job)
                else:
                    runs.append([job])
        return runs

    def _plan(self, source_wh: tuple[int, int], boxes: ArrayLike | None) -> list[Geometry]:
        """The ways into the network: one per box, or the whole frame's."""
        rule, input_wh = self.manifest.input.resize, self.manifest.input.size_wh
        if boxes is not None:
            if not isinstance(rule, Crop):
                raise FrameError("boxes: got some, but this bundle's network takes whole frames; leave them out")
            return [geometry.plan(rule, source_wh, input_wh, box) for box in _as_boxes(boxes)]
        if source_wh not in self._plans:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[source_wh] = geometry.plan(rule, source_wh, input_wh)
        return [self._plans[source_wh]]

    def _poses(self, decoded: Sequence[Decoded]) -> Poses:
        skeleton = self.manifest.skeleton
        if not decoded:
            return Poses.empty(skeleton)
        if len(decoded) == 1:
            return Poses(decoded[0].keypoints, decoded[0].scores, skeleton)
        keypoints, scores = zip(*decoded, strict=True)
        return Poses(np.concatenate(keypoints), np.concatenate(scores), skeleton)


def as_frame(image: Image) -> Frame:
    """A frame of whatever a pipeline takes. Raises FrameError."""
    if isinstance(image, Frame):
        return image
    if not isinstance(image, np.ndarray):
        raise FrameError(f"frame: got {type(image).__name__}, wanted a uint8 array (H, W, 3) or (H, W), or a Frame")
    return Frame.from_image(image, "gray8" if image.ndim == 2 else "bgr8")


def _as_boxes(boxes: ArrayLike) -> list[Box]:
    try:
        array = np.asarray(boxes, dtype=float)
    except (TypeError, ValueError):
        raise FrameError("boxes: got no table of numbers, wanted (N, 4): x, y, width, height") from None
    if array.size == 0 and 1 <= array.ndim <= 2:
        return []
    if array.ndim != 2 or array.shape[1] != 4:
        raise FrameError(f"boxes: got shape {array.shape}, wanted (N, 4): x, y, width, height")
    return [(float(x), float(y), float(w), float(h)) for x, y, w, h in array]
