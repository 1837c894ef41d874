"""A bundle over the pictures of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_calibration.annotations import Picture
from pose_runtime.arrays import ByteArray
from pose_runtime.bundle import Bundle
from pose_runtime.engines import cuda_ordinal, open_engine
from pose_runtime.errors import PoseError, SourceError
from pose_runtime.geometry import Crop
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import BasePipeline, Pipeline, Timings, open_pipeline
from pose_runtime.poses import Poses
from pose_runtime.sources.images import read_image


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a bundle found.

    Attributes:
        poses: picture id -> people, of the network's skeleton; pictures that could not be read are not in it.
        timings: of every picture, in order.
        boxes: whether the network looked into the annotated people's boxes, one by one.
    """

    poses: Mapping[int, Poses]
    timings: tuple[Timings, ...]
    boxes: bool


def open_graph(
    bundle: Bundle, role: GraphRole | None, *, device: str = "auto", threads: int | None = None
) -> BasePipeline:
    """A bundle at work by the graph of that role, run by ONNX Runtime unless a GPU is asked for.

    None takes what `open_pipeline` takes; a cascade is always opened as that does.

    Raises:
        BundleError: the bundle has no such graph, or it does not fit.
        EngineError: it cannot be run here.
    """
    if role is None or bundle.manifest.stages or cuda_ordinal(device) is not None:
        return open_pipeline(bundle, device, threads=threads, graph=role)
    data, as_written = bundle.graph_bytes(role), role == "tensorrt"
    engine = open_engine("onnxruntime", data, device=device, threads=threads, as_written=as_written)
    try:
        return Pipeline(bundle.manifest, engine)
    except BaseException:
        engine.close()
        raise


def read_picture(images: Path, picture: Picture) -> ByteArray:
    """A picture, uint8 (H, W, 3), B, G, R; SourceError where it is missing, damaged or not of the annotated size."""
    image = read_image(images / picture.file)
    size_wh = (image.shape[1], image.shape[0])
    if picture.size_wh is not None and picture.size_wh != size_wh:
        got, wanted = (f"{width} x {height}" for width, height in (size_wh, picture.size_wh))
        raise SourceError(f"{images / picture.file}: got {got} pixels, the annotations say {wanted}")
    return image


def run(
    pipeline: BasePipeline,
    pictures: Sequence[Picture],
    images: Path,
    *,
    min_score: float = 0.0,
    on_bad: Callable[[SourceError], None] | None = None,
    on_picture: Callable[[int], None] = lambda _: None,
) -> Run:
    """Find the people in every picture.

    Args:
        pipeline: of the bundle. A network that takes one person per box and has no detector gets the boxes of the
            annotated people that count.
        pictures: to look at.
        images: the folder of their files.
        min_score: people with a lower score are left out.
        on_bad: called for each picture that cannot be read, which is then left out; None raises instead.
        on_picture: called after each with the number of those done.

    Raises:
        SourceError: a picture cannot be read and nobody asked to hear of it.
        PoseError: no picture could be read.
    """
    found: dict[int, Poses] = {}
    first_bad = ""
    timings: list[Timings] = []
    manifest = pipeline.manifest
    crops = isinstance(manifest.input.resize, Crop) and manifest.detector is None
    for done, picture in enumerate(pictures, 1):
        try:
            image = read_picture(images, picture)
        except SourceError as error:
            if on_bad is None:
                raise
            on_bad(error)
            first_bad = first_bad or str(error)
            continue
        poses = pipeline(image, boxes=_boxes(picture)) if crops else pipeline(image)
        found[picture.id] = _above(poses, min_score)
        timings.append(pipeline.timings)
        on_picture(done)
    if not found:
        count = len(pictures)
        raise PoseError(f"{images}: none of the {count} annotated pictures could be read; the first is {first_bad}")
    return Run(found, tuple(timings), crops)


def _boxes(picture: Picture) -> list[list[float]]:
    """Boxes (N, 4) of the people that count, each side at least one pixel."""
    boxes = picture.people.boxes[picture.people.counts]
    return [[float(x), float(y), max(float(w), 1.0), max(float(h), 1.0)] for x, y, w, h in boxes]


def _above(poses: Poses, min_score: float) -> Poses:
    keep = ~(poses.scores < min_score)
    return poses if keep.all() else Poses(poses.keypoints[keep], np.asarray(poses.scores[keep]), poses.skeleton)


def sample(pictures: Sequence[Picture], count: int | None, seed: int) -> tuple[Picture, ...]:
    """So many of the pictures, drawn by the seed, in their order; all where `count` is None or more than there are."""
    if count is None or count >= len(pictures):
        return tuple(pictures)
    chosen = np.random.default_rng(seed).choice(len(pictures), count, replace=False)
    return tuple(pictures[i] for i in sorted(chosen))
