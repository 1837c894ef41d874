"""Top-down: a detector finds people, another network their poses, each in a crop of its own.

Of one frame all crops go through the network as one batch. On streams the detector may rest: people of the last frame
are looked for where they were.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime import geometry
from pose_runtime.arrays import Float64Array, FloatArray
from pose_runtime.base_pipeline import BasePipeline, Image, Timings, as_frame
from pose_runtime.errors import FrameError
from pose_runtime.frame import Frame
from pose_runtime.manifest import Detector
from pose_runtime.oks import detection_oks, oks_nms, present
from pose_runtime.poses import Poses

MARGIN = 1.25
"""A last pose's box grows by this: keypoints end within a person, and people move."""

_FAR = 1e5  # pixels; no person's box ends there, and a NaN is not below it
_MAX_STREAMS = 64  # remembered; the one that was silent longest is forgotten first


class Boxes(NamedTuple):
    """Where people are: xywh float64 (N, 4), source pixels, and scores float64 (N,)."""

    xywh: Float64Array
    scores: Float64Array


@dataclass(slots=True)
class _Stream:
    """What is known of a stream: boxes for its next frame, and how many frames ago the detector ran."""

    boxes: Boxes
    age: int


class TopDownPipeline(BasePipeline):
    """A detector's pipeline in front of a pose network's; it serves one thread at a time.

    Boxes that a caller gives go to the pose network as they are, and what it finds comes back as it is.

    Args:
        how: the bundle's `detector`.
        detector: gives people of skeleton `box2`; this pipeline closes it.
        crops: of one person per box; this pipeline closes it.
    """

    def __init__(self, how: Detector, detector: BasePipeline, crops: BasePipeline) -> None:
        super().__init__(crops.manifest, crops.choice, detector.max_batch)
        self.device_name = crops.device_name
        self.engine_key, self.proof = crops.engine_key, crops.proof
        self.detector, self.crops = detector, crops
        self._how = how
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()

    def close(self) -> None:
        """Free both networks; a second time does nothing."""
        with ExitStack() as closing:
            closing.callback(self.detector.close)
            closing.callback(self.crops.close)

    def submit_all(self, frames: Sequence[Image], streams: Sequence[Hashable] | None = None) -> None:
        """Begin a call; frames of one stream are looked through where its last people were (see `Detector.every`)."""
        unknown = [None] * len(frames)
        self._found.append(self._look(frames, unknown if streams is None else streams))

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        if all(given is None for given in boxes):
            return self._look(frames, [None] * len(frames))
        if any(given is None for given in boxes):
            raise FrameError("boxes: got some frames with and some without; give the detector those without alone")
        found = self.crops(frames, boxes=boxes)
        self.timings = self.crops.timings
        return found

    def _look(self, images: Sequence[Image], streams: Sequence[Hashable]) -> list[Poses]:
        self.timings = Timings()
        frames = [as_frame(image) for image in images]
        boxes = self._boxes(frames, streams)
        crops = [(frame, box) for frame, found in zip(frames, boxes, strict=True) for box in found.xywh]
        single = iter(self.crops([frame for frame, _ in crops], boxes=[box[None] for _, box in crops]) if crops else ())
        if crops:
            self.timings += self.crops.timings
        found = [self._people(boxes_, [next(single) for _ in boxes_.scores]) for boxes_ in boxes]
        for stream, (poses, last) in zip(streams, found, strict=True):
            self._remember(stream, poses, last)
        return [poses for poses, _ in found]

    # ---- boxes -------------------------------------------------------------------------------------------------

    def _boxes(self, frames: Sequence[Frame], streams: Sequence[Hashable]) -> list[Boxes]:
        """Of every frame: from its stream's last poses, or from the detector, which takes all such frames at once."""
        last = [self._last(stream) for stream in streams]
        to_detect = [frame for frame, boxes in zip(frames, last, strict=True) if boxes is None]
        detected = iter(self.detector(to_detect) if to_detect else ())
        if to_detect:
            self.timings += self.detector.timings
        return [self._chosen(next(detected)) if boxes is None else boxes for boxes in last]

    def _last(self, stream: Hashable) -> Boxes | None:
        known = self._streams.get(stream)
        return None if known is None or self._is_due(known) else known.boxes

    def _is_due(self, known: _Stream) -> bool:
        return known.age >= self._how.every or not len(known.boxes.scores)

    def _chosen(self, found: Poses) -> Boxes:
        """The best boxes that have a size."""
        low, high = found.keypoints[:, 0, :2].astype(np.float64), found.keypoints[:, 1, :2].astype(np.float64)
        size = high - low
        with np.errstate(invalid="ignore"):
            far = np.abs(np.concatenate([low, high], axis=1)).max(axis=1, initial=0)
            good = (size > 1).all(axis=1) & (far < _FAR) & (found.scores >= self._how.min_score)
        order = np.argsort(-found.scores, kind="stable")
        kept = order[good[order]][: self._how.max_people]
        return Boxes(np.concatenate([low, size], axis=1)[kept], found.scores[kept].astype(np.float64))

    def _remember(self, stream: Hashable, poses: Poses, last: Boxes) -> None:
        if stream is None or self._how.every == 1:
            return
        known = self._streams.pop(stream, None)
        age = 1 if known is None or self._is_due(known) else known.age + 1
        self._streams[stream] = _Stream(Boxes(around(poses.keypoints), last.scores), age)
        while len(self._streams) > _MAX_STREAMS:
            self._streams.popitem(last=False)

    # ---- people ------------------------------------------------------------------------------------------------

    def _people(self, boxes: Boxes, single: Sequence[Poses]) -> tuple[Poses, Boxes]:
        """The people of one frame and the boxes that they were found in; somebody without keypoints is left out."""
        pairs = [(i, poses) for i, poses in enumerate(single) if len(poses)]
        if not pairs:
            return Poses.empty(self.manifest.skeleton), Boxes(boxes.xywh[:0], boxes.scores[:0])
        kept = np.array([i for i, _ in pairs])
        boxes = Boxes(boxes.xywh[kept], boxes.scores[kept])
        keypoints = np.concatenate([poses.keypoints for _, poses in pairs])
        own = np.concatenate([poses.scores for _, poses in pairs])
        scores = rescored(self._how, keypoints, own, boxes.scores)
        oks = detection_oks(keypoints, self._areas(boxes), self.manifest.skeleton.sigmas, min_score=0.0)
        best = oks_nms(oks, scores, self._how.nms_oks)
        people = Poses(keypoints[best], scores[best], self.manifest.skeleton)
        return people, Boxes(boxes.xywh[best], boxes.scores[best])

    def _areas(self, boxes: Boxes) -> Float64Array:
        """float64 (N,): of the crops, source pixels², as HRNet's evaluation takes them."""
        rule, size_wh = self.manifest.input.resize, self.manifest.input.size_wh
        assert isinstance(rule, geometry.Crop)
        sizes = [geometry.crop_frame(rule, _box(box), size_wh)[1] for box in boxes.xywh]
        return np.array([width * height for width, height in sizes])


def rescored(how: Detector, keypoints: FloatArray, own: FloatArray, boxes: Float64Array) -> FloatArray:
    """People's scores by `Detector.rescore`.

    Args:
        how: the rule.
        keypoints: (N, K, 3).
        own: (N,) of the decoder.
        boxes: (N,) of the detector.

    Returns:
        float32 (N,).
    """
    if how.rescore == "keypoints":
        return own
    scores = keypoints[..., 2].astype(np.float64)
    if how.rescore == "mean":
        return np.asarray(scores.mean(axis=1), np.float32)
    sure = scores > how.min_keypoint
    mean = np.where(sure, scores, 0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
    return np.asarray(boxes * mean, np.float32)


def around(keypoints: FloatArray) -> Float64Array:
    """float64 (N, 4): x, y, width, height of boxes around people's keypoints (N, K, 3), `MARGIN` wider; N may be 0."""
    there = present(keypoints)[..., None]
    xy = keypoints[..., :2].astype(np.float64)
    low = np.where(there, xy, np.inf).min(axis=1, initial=np.inf)
    high = np.where(there, xy, -np.inf).max(axis=1, initial=-np.inf)
    size = np.maximum(high - low, 1.0) * MARGIN
    return np.concatenate([(low + high - size) / 2, size], axis=1)


def _box(xywh: Float64Array) -> geometry.Box:
    x, y, width, height = map(float, xywh)
    return x, y, width, height
