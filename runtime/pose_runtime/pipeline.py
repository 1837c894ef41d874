"""From a frame to the people in it: pre-processing, network, decoding, back to source pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from pose_runtime import geometry
from pose_runtime.arrays import AnyArray, ByteArray, FloatArray
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.choose import Choice, open_chosen
from pose_runtime.decode import Decoded
from pose_runtime.engines import Engine, check_device
from pose_runtime.errors import EngineError, FrameError
from pose_runtime.fit import check_fit
from pose_runtime.frame import Frame
from pose_runtime.geometry import Box, Crop, Geometry
from pose_runtime.input_buffer import InputBuffer
from pose_runtime.manifest import GraphRole, Manifest
from pose_runtime.networks import DEFAULT
from pose_runtime.poses import Poses
from pose_runtime.preprocess import preprocess

Image = ByteArray | Frame
"""uint8 (H, W, 3) in B, G, R order, uint8 (H, W) in grey, or a Frame."""

_MAX_BATCH = 8  # frames or boxes per run of a network that takes any number: more gains nothing and costs memory
_MAX_PLANS = 64  # source sizes remembered

_Pipeline = TypeVar("_Pipeline", bound="Pipeline")


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one call spent in pre-processing, network, and decoding with the way back to source pixels."""

    pre_s: float = 0.0
    network_s: float = 0.0
    decode_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All stages."""
        return self.pre_s + self.network_s + self.decode_s


class _Job(NamedTuple):
    """One run's worth of work: a frame, which one of the call's it is, and its way into the network."""

    item: int
    frame: Frame
    geometry: Geometry


class Pipeline:
    """A bundle at work; use it by `with`, or `close()` it. It serves one thread at a time.

    Nothing large is allocated per frame once a source size has been seen.

    Args:
        manifest: how frames become inputs and outputs become people.
        engine: the network; the pipeline closes it.
        choice: which graph of a bundle the engine runs, and why.

    Attributes:
        choice: what was given; `open_pipeline` gives it.
        timings: of the last call.
        outputs: the network's outputs in its last run, by tensor name, with the batch first. They belong to the
            engine and hold until the next call; copy to keep.

    Raises:
        BundleError: the network has not the tensors that the manifest names.
    """

    def __init__(self, manifest: Manifest, engine: Engine, choice: Choice | None = None) -> None:
        check_fit(manifest, engine)
        self.manifest = manifest
        self.engine = engine
        self.choice = choice
        self.timings = Timings()
        self.outputs: Mapping[str, AnyArray] = {}
        self._plans: dict[tuple[int, int], Geometry] = {}
        self._inputs = InputBuffer(engine, manifest.input)

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
            return self._all(frames, [None] * len(frames) if boxes is None else boxes)
        return self._all([frames], [boxes])[0]  # type: ignore[list-item]  # a Sequence that is no list is refused there

    def close(self) -> None:
        """Free the engine; a second time does nothing."""
        self.engine.close()

    def __enter__(self: _Pipeline) -> _Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        if len(boxes) != len(frames):
            raise FrameError(f"boxes: got {len(boxes)} sets for {len(frames)} frames, wanted one per frame")
        self.timings = Timings()
        jobs: list[_Job] = []
        for item, (image, of_image) in enumerate(zip(frames, boxes, strict=True)):
            frame = _as_frame(image)
            jobs += [_Job(item, frame, plan) for plan in self._plan(frame.size_wh, of_image)]
        found: list[list[Decoded]] = [[] for _ in frames]
        for chunk in _chunks(jobs, self.manifest.input.batch or _MAX_BATCH):
            for job, decoded in zip(chunk, self._run(chunk), strict=True):
                found[job.item].append(decoded)
        return [self._poses(decoded) for decoded in found]

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

    def _run(self, jobs: Sequence[_Job]) -> list[Decoded]:
        """One run of the network."""
        spec, start = self.manifest.input, perf_counter()
        size_wh = jobs[0].geometry.size_wh
        tensor = self._inputs.view(spec.batch or len(jobs), size_wh)
        for job, out in zip(jobs, tensor, strict=False):  # rows past the jobs keep what they had; nobody reads them
            preprocess(job.frame, job.geometry, colour=spec.colour, mean=spec.mean, std=spec.std, out=out)
        filled = perf_counter()
        self.outputs = self.engine.infer({spec.tensor: tensor})
        self._check_outputs(len(tensor))
        self._check_finite(len(jobs))
        inferred = perf_counter()
        decoded = [self._decode(i, job) for i, job in enumerate(jobs)]
        last = self.timings
        self.timings = Timings(
            last.pre_s + filled - start, last.network_s + inferred - filled, last.decode_s + perf_counter() - inferred
        )
        return decoded

    def _check_outputs(self, batch: int) -> None:
        """A graph may leave its outputs' shapes open; slicing what is too small would quietly give less."""
        for output in self.manifest.outputs:
            shape, channels = self.outputs[output.tensor].shape, output.channels[1]
            if len(shape) < 2 or shape[0] != batch or shape[1] < channels:
                raise EngineError(
                    f"network output {output.tensor!r}: got shape {shape}, wanted a batch of {batch} with at least "
                    f"{channels} channels"
                )

    def _check_finite(self, rows: int) -> None:
        """Refuse NaN and infinity: they come from a broken graph or overflowing precision, and no pose in them is real.

        A sum is not finite if a value is not; a finite array whose sum overflows is looked at once more.
        """
        for name in dict.fromkeys(output.tensor for output in self.manifest.outputs):
            array = self.outputs[name][:rows]
            with np.errstate(over="ignore", invalid="ignore"):
                total = array.sum(dtype=np.float32)
                good = bool(np.isfinite(total) or np.isfinite(array.astype(np.float32, copy=False)).all())
            if not good:
                raise EngineError(
                    f"network output {name!r} has values that are not finite: the graph or its precision is broken"
                )

    def _decode(self, row: int, job: _Job) -> Decoded:
        roles: dict[str, list[FloatArray]] = {}
        for output in self.manifest.outputs:
            first, last = output.channels
            roles.setdefault(output.role, []).append(self.outputs[output.tensor][row, first:last])
        decoder = self.manifest.decoder
        decoded = decoder(roles, job.geometry.size_wh)
        job.geometry.to_source(decoded.keypoints, decoder.grid)
        return decoded

    def _poses(self, decoded: Sequence[Decoded]) -> Poses:
        skeleton = self.manifest.skeleton
        if not decoded:
            return Poses.empty(skeleton)
        if len(decoded) == 1:
            return Poses(decoded[0].keypoints, decoded[0].scores, skeleton)
        keypoints, scores = zip(*decoded, strict=True)
        return Poses(np.concatenate(keypoints), np.concatenate(scores), skeleton)


def open_pipeline(
    bundle: Bundle | str | os.PathLike[str] = DEFAULT,
    device: str = "auto",
    *,
    threads: int | None = None,
    graph: GraphRole | None = None,
) -> Pipeline:
    """A bundle, ready for frames.

    Args:
        bundle: a loaded bundle, the path of one, or the name of a network that comes with jetpose (see `bundled`).
        device: `auto` or `cpu`; this version runs on the CPU, so `cuda:N` is refused.
        threads: processor threads of the network; None for one per physical core.
        graph: the bundle's graph to run. None runs `cpu_int8` where the bundle has it, the CPU has VNNI or Arm dot
            product and a trial of a fraction of a second shows it faster, else `reference`; `Pipeline.choice` says
            which and why.

    Raises:
        BundleError: the bundle is damaged or lacks that graph, or its manifest and its graph do not fit.
        EngineError: the device, or no engine is installed, or it cannot load the graph.
    """
    check_device(device)  # before the bundle's hashes are computed
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    engine, choice = open_chosen(bundle, graph, device=device, threads=threads)
    try:
        return Pipeline(bundle.manifest, engine, choice)
    except BaseException:
        engine.close()
        raise


def _as_frame(image: Image) -> Frame:
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


def _chunks(jobs: Sequence[_Job], size: int) -> list[list[_Job]]:
    """Neighbours of one input size together, at most `size` of them."""
    chunks: list[list[_Job]] = []
    for job in jobs:
        if chunks and len(chunks[-1]) < size and chunks[-1][0].geometry.size_wh == job.geometry.size_wh:
            chunks[-1].append(job)
        else:
            chunks.append([job])
    return chunks
