"""A network that needs no training: its three heat maps are the frame's blue, green and red, four times smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from pose_runtime import geometry, manifest
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.check import record_frame
from pose_runtime.decode import HeatmapDecoder
from pose_runtime.engines import TensorSpec, open_engine
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.pipeline import Pipeline
from pose_runtime.skeletons import BOX2, Skeleton

SKELETON = Skeleton(
    name="tiny3",
    names=("left_dot", "right_dot", "nose"),
    limbs=((0, 2), (1, 2)),
    flip_pairs=((0, 1),),
    sigmas=(0.05, 0.05, 0.05),
)
STRETCH = geometry.Stretch(interpolation="bilinear", round_pixels=False)
CROP = geometry.Crop(enlarge=1.0, convention="hrnet", round_pixels=False)
SHORT_SIDE = geometry.ShortSide(base=64, round_pixels=False)


def make_manifest(
    resize: geometry.Resize = STRETCH, size_wh: tuple[int, int] = (64, 48), batch: int = 1, colour: str = "bgr"
) -> manifest.Manifest:
    if isinstance(resize, geometry.ShortSide):
        size_wh = (0, 0)
    graph = manifest.Graph(
        file="reference.onnx", precision="fp32", int8_mac_share=0.0, calibration=None, accuracy=()
    )  # fmt: skip
    frame = manifest.CheckFrame(file="check/0.png", keypoints=(((0.0, 0.0, 1.0), None, None),), scores=(1.0,), heads=())
    return manifest.Manifest(
        version=manifest.VERSION,
        jetpose="0",
        network=manifest.Network(
            name="tiny",
            weights=manifest.Weights(source="none", licence="none", sha256="0" * 64),
            parameters=0,
            macs=0,
        ),
        input=manifest.Input(
            tensor="image",
            size_wh=size_wh,
            batch=batch,
            colour=colour,  # type: ignore[arg-type]
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            resize=resize,
        ),
        outputs=(manifest.Output(tensor="maps", role="heatmaps", channels=(0, 3), stride=4.0),),
        skeleton=SKELETON,
        decoder=HeatmapDecoder(
            refine="none", kernel=11, beta=10.0, blur_sigma=0.0, min_score=0.3, grid="centre"
        ),
        graphs={"reference": graph},
        check=manifest.Check(min_oks=0.9, frames=(frame,)),
        files={},
    )  # fmt: skip


def make_graph(of: manifest.Manifest, dtype: int = TensorProto.FLOAT) -> bytes:
    width, height = of.input.size_wh
    sizes = [height or "height", width or "width"]
    small = [size // 4 if isinstance(size, int) else f"{size}_map" for size in sizes]
    batch = of.input.batch or "batch"
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("AveragePool", ["image"], ["maps"], kernel_shape=[4, 4], strides=[4, 4])],
            "tiny",
            [helper.make_tensor_value_info("image", dtype, [batch, 3, *sizes])],
            [helper.make_tensor_value_info("maps", dtype, [batch, 3, *small])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write(folder: Path, roles: Sequence[manifest.GraphRole] = ("reference",), **options: Any) -> Bundle:
    """A bundle with a graph of each role, all of the same function."""
    of = make_manifest(**options)
    graphs = {role: msgspec.structs.replace(of.graphs["reference"], file=f"{role}.onnx") for role in roles}
    png = cv2.imencode(".png", frame((20, 20), None, None))[1].tobytes()
    files = {**{f"{role}.onnx": make_graph(of) for role in roles}, "check/0.png": png}
    return write_bundle(folder, replaced(of, graphs=graphs), files)


def write_detector(folder: Path) -> Bundle:
    """A network of skeleton `box2`: the blue and the green dot are a box's corners."""
    of = make_manifest()
    of = replaced(
        of,
        skeleton=BOX2,
        outputs=(msgspec.structs.replace(of.outputs[0], channels=(0, 2)),),
    )
    image = frame((60, 40), (100, 80))
    with Pipeline(of, open_engine("onnxruntime", make_graph(of))) as pipeline:
        recorded = record_frame(pipeline, image, "check/0.png")
    of = replaced(of, check=msgspec.structs.replace(of.check, frames=(recorded,)))
    png = cv2.imencode(".png", image)[1].tobytes()
    return write_bundle(folder, of, {"reference.onnx": make_graph(of), "check/0.png": png})


def fake_engine(of: manifest.Manifest, function: Callable[..., Any]) -> FakeEngine:
    width, height = of.input.size_wh
    shape = (of.input.batch or None, 3, height or None, width or None)
    maps = (of.input.batch or None, 3, None, None)
    image, out = (TensorSpec(n, s, np.dtype(np.float32)) for n, s in (("image", shape), ("maps", maps)))
    return FakeEngine([image], [out], function)


def frame(*dots: tuple[int, int] | None, size_wh: tuple[int, int] = (128, 96), radius: int = 8) -> np.ndarray:
    """A black frame with a blue, a green and a red square around x, y."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for channel, dot in enumerate(dots):
        if dot is not None:
            x, y = dot
            image[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius, channel] = 255
    return image


def replaced(of: manifest.Manifest, **fields: Any) -> manifest.Manifest:
    return msgspec.structs.replace(of, **fields)
