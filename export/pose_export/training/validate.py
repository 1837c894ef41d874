"""AP of a network in training, through the pipeline that will run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from torch import nn

from pose_calibration.accuracy import PERSON, KeypointAP, coco_ap
from pose_calibration.box_accuracy import BoxAP, box_ap, is_boxes, results_of
from pose_export.manifest_parts import decoder_of, input_of, outputs_of, skeleton_of
from pose_export.presets import Preset
from pose_export.training.record import Record
from pose_export.training.torch_engine import INPUT, TorchEngine
from pose_runtime.errors import ExportError
from pose_runtime.geometry import Crop
from pose_runtime.manifest import VERSION, Check, Graph, Manifest, Network, Weights
from pose_runtime.pipeline import Pipeline
from pose_runtime.skeletons import SKELETONS, convert
from pose_runtime.version import version


class Records(Protocol):
    """Records by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """The same record for the same index."""


class Validator:
    """Measures COCO AP on records: of keypoints, or of boxes where the network's people are boxes.

    Args:
        records: with people in them.
        count: how many of the records, the first ones; 0 is all.
        preset: pre-processing, outputs and decoder, as a bundle of the network will have them.
        output_names: of the tensors that the network returns; None for one that only training needs.
        size_wh: of the network's input.
    """

    def __init__(
        self,
        records: Records,
        count: int,
        preset: Preset,
        output_names: Sequence[str | None],
        size_wh: tuple[int, int],
    ) -> None:
        self._records, self._count = records, min(count or len(records), len(records))
        self._preset, self._names, self._size_wh = preset, output_names, size_wh
        if not self._count:
            raise ExportError("validation: the data holds no records")

    def __call__(self, network: nn.Module) -> KeypointAP | BoxAP:
        """AP in points; `network` is in evaluation mode afterwards."""
        detects = is_boxes(skeleton_of(self._preset))
        results: list[dict[str, Any]] = []
        truth: list[dict[str, Any]] = []
        with Pipeline(*_manifest(network, self._preset, self._names, self._size_wh)) as pipeline:
            takes_boxes = isinstance(pipeline.manifest.input.resize, Crop)
            for image_id in range(self._count):
                record = self._records[image_id]
                poses = pipeline(record.image, boxes=record.boxes if takes_boxes else None)
                results += results_of(image_id, poses)
                truth += _boxes(image_id, record) if detects else _truth(image_id, record)
        for number, annotation in enumerate(truth, start=1):  # pycocotools takes id 0 for "unmatched"
            annotation["id"] = number
        images = [{"id": image_id} for image_id in range(self._count)]
        categories = [{"id": PERSON, "name": "person"}]
        annotations = {"images": images, "annotations": truth, "categories": categories}
        return box_ap(annotations, results) if detects else coco_ap(annotations, results)


def _truth(image_id: int, record: Record) -> list[dict[str, Any]]:
    """A record's people as COCO annotations; each ignored region is one without keypoints, which counts neither way."""
    keypoints = np.nan_to_num(convert(record.keypoints, record.skeleton, SKELETONS["coco17"]))
    people = list(zip(keypoints, record.boxes, record.areas, strict=True))
    nobody = np.zeros((len(SKELETONS["coco17"].names), 3), np.float32)
    people += [(nobody, box, box[2] * box[3]) for box in _ignored_boxes(record)]
    return [
        {
            "image_id": image_id,
            "category_id": PERSON,
            "keypoints": [float(value) for value in person.reshape(-1)],
            "num_keypoints": int((person[:, 2] > 0).sum()),
            "area": float(area),
            "bbox": [float(value) for value in box],
            "iscrowd": 0,
        }
        for person, box, area in people
    ]


def _boxes(image_id: int, record: Record) -> list[dict[str, Any]]:
    """A record's people as COCO annotations of boxes; each ignored region is a crowd, which counts neither way."""
    boxes = [(box, 0) for box in record.boxes] + [(box, 1) for box in _ignored_boxes(record)]
    return [
        {
            "image_id": image_id,
            "category_id": PERSON,
            "area": float(box[2] * box[3]),
            "bbox": [float(value) for value in box],
            "iscrowd": crowd,
        }
        for box, crowd in boxes
    ]


def _ignored_boxes(record: Record) -> list[Any]:
    if record.ignored is None:
        return []
    _, _, stats, _ = cv2.connectedComponentsWithStats(record.ignored.astype(np.uint8))
    return [row[: cv2.CC_STAT_AREA] for row in stats[1:]]  # row 0 is the background


def _manifest(
    network: nn.Module, preset: Preset, names: Sequence[str | None], size_wh: tuple[int, int]
) -> tuple[Manifest, TorchEngine]:
    """What a bundle of the network would say of it, without a graph."""
    engine = TorchEngine(network, names, size_wh)
    skeleton = skeleton_of(preset)
    probe = np.zeros((1, 3, size_wh[1], size_wh[0]), np.float32)
    manifest = Manifest(
        version=VERSION,
        jetpose=version(),
        network=Network(
            name=preset.network,
            weights=Weights(source="training", licence="unknown", sha256="0" * 64),
            parameters=sum(p.numel() for p in network.parameters()),
            macs=0,
        ),
        input=input_of(engine, INPUT, preset),
        outputs=outputs_of(engine, preset, len(skeleton.names), probe, dict(engine.infer({INPUT: probe}))),
        skeleton=skeleton,
        decoder=decoder_of(preset, len(skeleton.names)),
        graphs={"reference": Graph(file="none", precision="fp32", int8_mac_share=0, calibration=None, accuracy=())},
        check=Check(min_oks=0, frames=()),
        files={},
    )
    return manifest, engine
