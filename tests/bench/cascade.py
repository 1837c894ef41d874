"""A cascade's later stage: the joints of everybody in one batch, against one inference per joint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np

from bench.case import BenchCase
from pose_runtime import manifest
from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.cascade import MAX_CROPS, joint_crops
from pose_runtime.engines import open_engine
from pose_runtime.pipeline import Pipeline

NETWORK = {"width": 24, "hidden": 512}
"""DeepPose at a sixth of its work. The whole one gains more: its weights are 230 MB that every run reads."""
STAGE = manifest.Stage(torso=(9, 2), sigma=2.0)


def cases() -> Iterator[BenchCase]:
    """1, 5 and 20 people of 14 joints in a 1280 x 720 frame."""
    of, graph = network(NETWORK)
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (720, 1280, 3), np.uint8), (0, 0), 4)
    pipelines = {
        name: Pipeline(of, open_engine("onnxruntime", graph, threads=1), max_batch=most)
        for name, most in (("one batch", MAX_CROPS), ("one by one", 1))
    }
    for people in (1, 5, 20):
        boxes = crops(rng, people)
        for name, pipeline in pipelines.items():
            yield BenchCase(f"cascade stage, {name}", people, partial(look, pipeline, image, boxes), None)


def network(arguments: dict[str, int]) -> tuple[manifest.Manifest, bytes]:
    """DeepPose with random weights: a manifest and its graph."""
    from pose_calibration.graph_stats import load_onnx
    from pose_export import networks
    from pose_export.drawn import drawn_frames
    from pose_export.onnx_bundle import Options, Source, write_onnx_bundle
    from pose_export.presets import load_preset
    from pose_export.random_weights import Random, random_network
    from pose_export.to_onnx import export_onnx

    entry = networks.find("deeppose")
    entry = msgspec.structs.replace(entry, arguments={**entry.arguments, **arguments})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(
            random_network(entry, Random())[0],
            input_name="image",
            output_names=entry.outputs,
            size_wh=entry.size_wh,
            dynamic_batch=True,
            path=path,
        )
        source = Source("random", "none", "0" * 64)
        out, options = Path(folder) / "a.pose", Options(batch=0)
        bundle = write_onnx_bundle(out, load_onnx(path), load_preset("deeppose"), source, drawn_frames()[:1], options)
        return bundle.manifest, bundle.graph_bytes("reference")


def crops(rng: np.random.Generator, people: int) -> np.ndarray:
    """Squares around the joints of people 100 to 300 pixels tall."""
    centre = rng.uniform((200, 150), (1080, 570), (people, 1, 2))
    keypoints = np.ones((people, 14, 3), np.float32)
    keypoints[..., :2] = centre + rng.uniform(-0.5, 0.5, (people, 14, 2)) * rng.uniform(100, 300, (people, 1, 1))
    return joint_crops(keypoints, STAGE)[0]


def look(pipeline: BasePipeline, image: np.ndarray, boxes: np.ndarray) -> None:
    """A stage's part of one frame."""
    pipeline(image, boxes=boxes)
