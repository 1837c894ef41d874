"""Cascades whose networks are random projections of their crops: for tests of all that happens between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import tiny
from pose_runtime import geometry, manifest
from pose_runtime.decode import VectorDecoder
from pose_runtime.engines import TensorSpec
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.frame import Frame
from pose_runtime.pipeline import Pipeline
from pose_runtime.preprocess import preprocess
from pose_runtime.skeletons import SKELETONS

SKELETON = SKELETONS["lsp14"]
JOINTS = len(SKELETON.names)
STAGE = manifest.Stage(torso=(9, 2), sigma=2.0)
SIZE_WH = (24, 24)
CROP = geometry.Crop(enlarge=1.0, convention="hrnet", round_pixels=False)

Network = Callable[[np.ndarray], np.ndarray]
"""float32 (N, 3, H, W) to values float32 (N, 2K)."""


def make_manifest(stages: Sequence[manifest.Stage] = (), batch: int = 0) -> manifest.Manifest:
    return tiny.replaced(
        tiny.make_manifest(CROP, SIZE_WH, batch),
        outputs=(manifest.Output(tensor="values", role="vector", channels=(0, 2 * JOINTS), stride=1.0),),
        skeleton=SKELETON,
        decoder=VectorDecoder(origin="centre", grid="corner"),
        stages=tuple(stages),
    )


def projection(seed: int, scale: float = 0.5) -> Network:
    """Values between -scale and scale that depend on every pixel, row by row."""
    weights = np.random.default_rng(seed).normal(0, 1, (2 * JOINTS, 3 * SIZE_WH[0] * SIZE_WH[1]))

    def values(x: np.ndarray) -> np.ndarray:
        return np.stack([scale * np.tanh(weights @ row.astype(float).ravel() / 20) for row in x]).astype(np.float32)

    return values


def make_stage(network: Network, batch: int = 0, runs: list[int] | None = None, **options: Any) -> Pipeline:
    """A pipeline of one stage; `runs` gets the batch of every run."""

    return Pipeline(make_manifest(batch=batch), engine(network, batch, runs), **options)


def engine(network: Network, batch: int = 0, runs: list[int] | None = None) -> FakeEngine:
    """What runs a stage's network; `runs` as of `make_stage`."""

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (image,) = inputs.values()
        if runs is not None:
            runs.append(len(image))
        return {"values": network(image)}

    image = TensorSpec("image", (batch or None, 3, SIZE_WH[1], SIZE_WH[0]), np.dtype(np.float32))
    values = TensorSpec("values", (batch or None, 2 * JOINTS), np.dtype(np.float32))
    return FakeEngine([image], [values], infer)


def one_by_one(
    image: np.ndarray, box: Sequence[float], networks: Sequence[Network], stages: Sequence[manifest.Stage]
) -> np.ndarray:
    """The definition: one person's joints (K, 2), every stage and joint with a crop and an inference of its own."""
    x, y, width, height = box
    side = max(width, height)  # the input is square, and nothing is distorted
    centre = np.array([x + width / 2, y + height / 2])
    points = centre + side * infer_crop(image, networks[0], centre, side)
    for network, stage in zip(networks[1:], stages, strict=True):
        diameter = float(np.linalg.norm(points[stage.torso[0]] - points[stage.torso[1]]))
        side = stage.sigma * diameter
        moved = [infer_crop(image, network, point, side)[i] * side for i, point in enumerate(points)]
        points = points + np.array(moved)
    return points


def infer_crop(image: np.ndarray, network: Network, centre: np.ndarray, side: float) -> np.ndarray:
    """Normalised values (K, 2) of a square crop around `centre`."""
    of = make_manifest().input
    inverse = geometry.crop_inverse("hrnet", (float(centre[0]), float(centre[1])), (side, side), SIZE_WH)
    way = geometry.Geometry(inverse, SIZE_WH, (0, 0, *SIZE_WH), False, "bilinear", False, 0.0, False)
    out = np.empty((3, SIZE_WH[1], SIZE_WH[0]), np.float32)
    preprocess(Frame.from_image(image), way, colour=of.colour, mean=of.mean, std=of.std, out=out)
    return network(out[None])[0].reshape(JOINTS, 2).astype(float)
