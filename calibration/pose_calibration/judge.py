"""Judges a quantised graph by its poses: run it, and see what became of the people that FP32 finds.

The unit is AP points lost against the pictures' annotations. Where they have none, FP32's own poses stand in, each
keypoint moved by the error that good networks have against annotators (`stand_in.py`). That is the stricter of the two
for a network that is often wrong: a guess that changes costs nothing against annotations, which it had missed before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pose_calibration.accuracy import coco_ap
from pose_calibration.agreement import Tally, compare, tally
from pose_calibration.box_accuracy import box_ap, is_boxes, results_of
from pose_calibration.drop_score import drop_score
from pose_calibration.pictures import Picture, Pictures
from pose_calibration.progress import OnProgress
from pose_calibration.stand_in import stand_in_results, stand_in_truth
from pose_runtime.arrays import AnyArray
from pose_runtime.choose import as_written
from pose_runtime.engines import open_engine
from pose_runtime.errors import CalibrationError, EngineError
from pose_runtime.geometry import Crop
from pose_runtime.manifest import Accuracy, GraphRole, Manifest
from pose_runtime.pipeline import Pipeline
from pose_runtime.poses import Poses

LEAST_AP = 5.0
"""Points of FP32 against annotations below which nothing can be lost against them: then its own poses decide."""
REPEATS = 8
"""Times that each picture stands in, with other noise: with a single one, half a point of AP would be chance."""


_STAND_IN = "AP against FP32's poses"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one graph does to the poses.

    Attributes:
        records: accuracy, as the manifest keeps it; the first is what the budget is about.
        agreement: with FP32's poses, over all pictures.
    """

    records: tuple[Accuracy, ...]
    agreement: Tally

    @property
    def loss(self) -> float:
        """AP points lost; below 0 for a graph that is better."""
        return self.records[0].reference - self.records[0].value

    @property
    def likeness(self) -> float:
        """Mean OKS to FP32's people, whoever is lost or invented counting as 0: steadier than AP, to choose by."""
        tally = self.agreement
        return tally.mean_oks * (tally.people - tally.lost) / max(tally.people + tally.invented, 1)


class Judge:
    """Compares graphs with FP32 on the same pictures.

    Args:
        manifest: of the network.
        reference: its FP32 graph.
        pictures: to judge by.
        annotations: COCO keypoints and boxes of these pictures, or None.
        probes: pictures of which the heads are kept, for `noise`.
        threads: of ONNX Runtime.
        progress: is told of every picture: what is done, how many are, of how many.

    Attributes:
        people: that FP32 finds in each picture.

    Raises:
        CalibrationError: FP32 finds nobody, so nothing can be lost; names what to do.
    """

    def __init__(
        self,
        manifest: Manifest,
        reference: bytes,
        pictures: Pictures,
        annotations: Path | None = None,
        *,
        probes: int = 8,
        threads: int | None = None,
        progress: OnProgress = lambda _what, _done, _total: None,
    ) -> None:
        self._progress = progress
        self._manifest, self._pictures = manifest, pictures
        self._annotations = None if annotations is None else _of_pictures(annotations, pictures)
        self._threads, self._probes = threads, probes
        self._drop = drop_score(manifest)
        self._heads: list[dict[str, AnyArray]] = []
        sizes: list[tuple[int, int]] = []
        self._truth = []
        for picture, poses in self._run(reference, "reference", self._heads):
            self._truth.append(poses)
            sizes.append((picture.image.shape[1], picture.image.shape[0]))
        self.people = [len(poses) for poses in self._truth]
        if not sum(self.people):
            raise CalibrationError(
                f"FP32 finds nobody in {pictures.description}: INT8 cannot be judged; give pictures with people"
            )
        self._stand_in = stand_in_truth(self._truth, sizes, seed=0, drop_score=self._drop, repeats=REPEATS)
        aps = self._ap(self._truth)
        first = "AP" if aps.get("AP", 0.0) >= LEAST_AP else _STAND_IN
        self._reference_ap = {first: aps[first], **aps}
        if not aps[_STAND_IN]:
            raise CalibrationError(
                f"FP32 is sure of nobody in {pictures.description}: INT8 cannot be judged; give pictures with people"
            )

    def __call__(self, graph: bytes, role: GraphRole) -> Verdict:
        """Run a graph of that role on every picture; EngineError where it fails or its outputs are not finite."""
        found = [poses for _, poses in self._run(graph, role)]
        aps = self._ap(found)
        records = tuple(
            Accuracy(
                executor="onnxruntime, CPU",
                data=self._pictures.description,
                metric=metric,
                reference=round(reference, 3),
                value=round(aps[metric], 3),
            )
            for metric, reference in self._reference_ap.items()
        )
        pairs = zip(self._truth, found, strict=True)
        return Verdict(records, tally(compare(a, b, drop_score=self._drop) for a, b in pairs))

    def noise(self, graph: bytes, role: GraphRole) -> float:
        """Energy of the heads' error over that of their signal (about its mean), summed over the heads; SQNR is its
        inverse. Of the first pictures only: a quick hint which part of a network suffers most. Infinite where they are
        not finite."""
        heads: list[dict[str, AnyArray]] = []
        try:
            for _ in self._run(graph, role, heads, count=len(self._heads)):
                pass
        except EngineError:
            return math.inf
        total = 0.0
        for name in self._heads[0]:
            error = sum(float(np.square(a[name] - b[name]).sum()) for a, b in zip(self._heads, heads, strict=True))
            signal = sum(float(np.square(a[name] - a[name].mean()).sum()) for a in self._heads)
            total += error / max(signal, 1e-12)
        return total

    def _run(
        self, graph: bytes, role: GraphRole, heads: list[dict[str, AnyArray]] | None = None, *, count: int | None = None
    ) -> Iterator[tuple[Picture, Poses]]:
        """Each picture and its people; `heads` gets the network's outputs on the first ones."""
        crops = isinstance(self._manifest.input.resize, Crop)
        engine = open_engine("onnxruntime", graph, threads=self._threads, as_written=as_written(role))
        with engine, Pipeline(self._manifest, engine) as pipeline:
            total = len(self._pictures) if count is None else count
            for done, picture in enumerate(islice(self._pictures, count), 1):
                poses = pipeline(picture.image, boxes=picture.boxes if crops and picture.boxes else None)
                if heads is not None and len(heads) < self._probes:
                    heads.append({name: a.astype(np.float32) for name, a in pipeline.outputs.items()})
                self._progress(f"judging {role}", done, total)
                yield picture, poses

    def _ap(self, found: Sequence[Poses]) -> dict[str, float]:
        """AP by metric."""
        measure = box_ap if is_boxes(self._manifest.skeleton) else coco_ap
        aps = {_STAND_IN: measure(self._stand_in, stand_in_results(found, REPEATS)).ap}
        if self._annotations is not None:
            ids = [0 if image_id is None else image_id for image_id in self._pictures.image_ids]
            results = [entry for i, poses in zip(ids, found, strict=True) for entry in results_of(i, poses)]
            aps["AP"] = measure(self._annotations, results).ap
        return aps


def _of_pictures(path: Path, pictures: Pictures) -> dict[str, Any]:
    """The part of a COCO file that is about these pictures: it is gone through for every verdict."""
    tree = msgspec.json.decode(path.read_bytes())
    ids = set(pictures.image_ids)
    people = [entry for entry in tree["annotations"] if entry["image_id"] in ids]
    return {**tree, "images": [entry for entry in tree["images"] if entry["id"] in ids], "annotations": people}


def try_graph(judge: Judge, graph: bytes, role: GraphRole) -> Verdict | None:
    """The verdict, or None where the graph gives values that are not finite."""
    try:
        return judge(graph, role)
    except EngineError:
        return None
