"""From a frame to the people in it on a CPU: pre-processing, network, decoding, back to source pixels."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from time import perf_counter

from numpy.typing import ArrayLike

from pose_runtime.arrays import AnyArray, FloatArray
from pose_runtime.base_pipeline import BasePipeline, Image, Job, Timings, rows_at_once
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cascade import MAX_CROPS, CascadePipeline
from pose_runtime.choose import Choice, open_chosen
from pose_runtime.cpu_proof import find_proof
from pose_runtime.decode import Decoded
from pose_runtime.engines import Engine, cuda_ordinal
from pose_runtime.errors import EngineError
from pose_runtime.finite import check_finite
from pose_runtime.fit import check_fit
from pose_runtime.input_buffer import InputBuffer
from pose_runtime.manifest import GraphRole, Manifest
from pose_runtime.networks import DEFAULT
from pose_runtime.plan_cache import PlanCache
from pose_runtime.poses import Poses
from pose_runtime.preprocess import preprocess
from pose_runtime.top_down import TopDownPipeline

__all__ = ["BasePipeline", "Image", "Pipeline", "Timings", "open_pipeline"]

_LOG = logging.getLogger(__name__)


class Pipeline(BasePipeline):
    """A bundle at work on the CPU; use it by `with`, or `close()` it. It serves one thread at a time.

    Nothing large is allocated per frame once a source size has been seen.

    Args:
        manifest: how frames become inputs and outputs become people.
        engine: the network; the pipeline closes it.
        choice: which graph of a bundle the engine runs, and why.
        max_batch: rows of one run of a network that takes any number; None for the people that a detector may find,
            or MAX_BATCH.

    Attributes:
        choice: what was given; `open_pipeline` gives it.
        timings: of the last call.
        outputs: the network's outputs in its last run, by tensor name, with the batch first. They belong to the
            engine and hold until the next call; copy to keep.

    Raises:
        BundleError: the network has not the tensors that the manifest names.
    """

    def __init__(
        self, manifest: Manifest, engine: Engine, choice: Choice | None = None, *, max_batch: int | None = None
    ) -> None:
        check_fit(manifest, engine)
        super().__init__(manifest, choice, rows_at_once(manifest, max_batch))
        self.engine = engine
        self.outputs: Mapping[str, AnyArray] = {}
        self._inputs = InputBuffer(engine, manifest.input)

    def close(self) -> None:
        """Free the engine; a second time does nothing."""
        self.engine.close()

    def _all(self, frames: Sequence[Image], boxes: Sequence[ArrayLike | None]) -> list[Poses]:
        self.timings = Timings()
        found: list[list[Decoded]] = [[] for _ in frames]
        for jobs in self._runs(frames, boxes):
            for job, decoded in zip(jobs, self._run(jobs), strict=True):
                found[job.item].append(decoded)
        return [self._poses(decoded) for decoded in found]

    def _run(self, jobs: Sequence[Job]) -> list[Decoded]:
        """One run of the network."""
        spec, start = self.manifest.input, perf_counter()
        size_wh = jobs[0].geometry.size_wh
        tensor = self._inputs.view(spec.batch or len(jobs), size_wh)
        for job, out in zip(jobs, tensor, strict=False):  # rows past the jobs keep what they had; nobody reads them
            preprocess(job.frame, job.geometry, colour=spec.colour, mean=spec.mean, std=spec.std, out=out)
        filled = perf_counter()
        self.outputs = self.engine.infer({spec.tensor: tensor})
        self._check_outputs(len(tensor))
        for name in dict.fromkeys(output.tensor for output in self.manifest.outputs):
            check_finite(name, self.outputs[name][: len(jobs)])
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
            if output.role == "boxes":
                channels = 0  # as many as were found
            if len(shape) < 2 or shape[0] != batch or shape[1] < channels:
                raise EngineError(
                    f"network output {output.tensor!r}: got shape {shape}, wanted a batch of {batch} with at least "
                    f"{channels} channels"
                )

    def _decode(self, row: int, job: Job) -> Decoded:
        roles: dict[str, list[FloatArray]] = {}
        for output in self.manifest.outputs:
            first, last = output.channels
            array = self.outputs[output.tensor][row]
            roles.setdefault(output.role, []).append(array if output.role == "boxes" else array[first:last])
        decoder = self.manifest.decoder
        decoded = decoder(roles, job.geometry.size_wh)
        job.geometry.to_source(decoded.keypoints, decoder.grid)
        return decoded


def open_pipeline(
    bundle: Bundle | str | os.PathLike[str] = DEFAULT,
    device: str = "auto",
    *,
    threads: int | None = None,
    graph: GraphRole | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> BasePipeline:
    """A bundle, ready for frames: all its networks, where it has several.

    Args:
        bundle: a loaded bundle, the path of one, or the name of a network that comes with jetpose (see `bundled`).
        device: `cpu`, `cuda:N` for a GPU (`cuda` is `cuda:0`), or `auto`: the first GPU where driver, pycuda and
            TensorRT are there and work, else the CPU; `BasePipeline.choice` says why.
        threads: processor threads of the network on a CPU; None for one per physical core.
        graph: the bundle's graph to run. None runs `tensorrt` on a GPU where the bundle has it, else `reference`; on
            a CPU `cpu_int8` where the bundle has it, the CPU has VNNI or Arm dot product and a trial of a fraction of
            a second shows it faster, else `reference`. `BasePipeline.choice` says which and why.
        cache: folder of built engines for GPUs; None for /var/lib/jetpose where it can be written, else the user's
            cache folder.

    Raises:
        BundleError: the bundle is damaged or lacks that graph, or its manifest and its graph do not fit.
        EngineError: the device, or no engine is installed, it cannot load the graph, or on a GPU fails the bundle's
            check frames.
    """
    cuda_ordinal(device)  # before the bundle's hashes are computed
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    open_one = partial(open_network, device=device, threads=threads, cache=cache)
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_one(bundle, graph=graph))
        if stages := [bundle.part(name) for name in bundle.manifest.parts if name != "detector"]:
            open_stage = partial(open_one, max_batch=MAX_CROPS)
            later = [opened.enter_context(open_stage(part, graph=_of_part(graph, part))) for part in stages]
            pipeline = CascadePipeline(bundle.manifest, [pipeline, *later])
        if bundle.manifest.detector is not None:
            part = bundle.part("detector")
            detector = opened.enter_context(open_one(part, graph=_of_part(graph, part)))
            pipeline = TopDownPipeline(bundle.manifest.detector, detector, pipeline)
        opened.pop_all()
    return pipeline


def _of_part(graph: GraphRole | None, part: Bundle) -> GraphRole | None:
    """The graph that was asked for, where a part has it."""
    return graph if graph in part.manifest.graphs else None


def open_network(
    bundle: Bundle,
    device: str = "auto",
    *,
    threads: int | None = None,
    graph: GraphRole | None = None,
    cache: str | os.PathLike[str] | None = None,
    max_batch: int | None = None,
) -> BasePipeline:
    """A bundle's own network without its parts: what its check frames were recorded with.

    Args:
        bundle: loaded.
        device, threads, graph, cache: as `open_pipeline`'s.
        max_batch: rows of one run; see `Pipeline`. On a GPU not more than the engine was built for.

    Raises:
        BundleError, EngineError: as `open_pipeline`.
    """
    ordinal = cuda_ordinal(device)
    if ordinal is not None:
        from pose_runtime.gpu.open import open_gpu  # it needs what a CPU has not

        return open_gpu(bundle, ordinal, graph, cache=PlanCache(cache), max_batch=max_batch)
    obstacle = ""
    if device == "auto" and graph != "cpu_int8":
        found = _try_gpu(bundle, graph, cache, max_batch)
        if isinstance(found, BasePipeline):
            return found
        obstacle = f"; no GPU: {found}"
    engine, choice = open_chosen(bundle, graph, device=device, threads=threads)
    try:
        chosen = replace(choice, reason=choice.reason + obstacle)
        pipeline = Pipeline(bundle.manifest, engine, chosen, max_batch=max_batch)
        pipeline.proof = find_proof(bundle, chosen.role, cache)
        return pipeline
    except BaseException:
        engine.close()
        raise


def _try_gpu(
    bundle: Bundle, graph: GraphRole | None, cache: str | os.PathLike[str] | None, max_batch: int | None
) -> BasePipeline | str:
    """A pipeline on the first GPU, or why there is none; only a GPU that is there but unused is worth a warning."""
    from pose_runtime.gpu.open import missing, open_gpu

    try:
        reason = missing()
    except EngineError as error:
        _LOG.debug("no GPU: %s", error)
        return "none that works here"
    if reason is None:
        try:
            return open_gpu(bundle, 0, graph, cache=PlanCache(cache), max_batch=max_batch)
        except EngineError as error:
            reason = str(error)
    _LOG.warning("the GPU is not used: %s", reason)
    return reason
