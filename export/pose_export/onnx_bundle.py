"""From an ONNX file and a preset to a bundle. Needs onnx and onnxruntime, never torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from pose_export.check_images import encode_png
from pose_export.graph import compare, fix_input, infer, input_name, simplified
from pose_export.graph_stats import count
from pose_export.presets import Preset, PresetOutput
from pose_runtime import geometry
from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.bundle import Bundle, write_bundle
from pose_runtime.check import record_frame
from pose_runtime.decode import Decoder, EmbeddingDecoder
from pose_runtime.engines import Engine, TensorSpec, open_engine
from pose_runtime.errors import BundleError, ExportError
from pose_runtime.frame import Frame
from pose_runtime.geometry import Crop, Resize, ShortSide
from pose_runtime.manifest import (
    VERSION,
    Check,
    CheckFrame,
    Graph,
    Input,
    Manifest,
    Network,
    Output,
    Text,
    Weights,
)
from pose_runtime.manifest_check import problems
from pose_runtime.pipeline import Pipeline
from pose_runtime.preprocess import preprocess
from pose_runtime.skeletons import Skeleton, skeleton
from pose_runtime.version import version

MIN_OKS = 0.9
"""Bound of the check unless the user gives one: FP32 elsewhere stays far above, a wrong engine far below."""
GRAPH_FILE = "reference.onnx"
_COMPARED = 2  # frames on which the simplified graph is compared


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of the weights: where they come from, their licence, SHA-256 of the file they came in."""

    source: str
    licence: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Options:
    """What the user decides for one bundle.

    Attributes:
        size_wh: input size for a graph that leaves it open; (0, 0): it must stay open; None: as the graph has it.
        batch: the same for the batch size, 0: it must stay open.
        simplify: let onnxsim fold and remove what it can.
        min_oks: bound of the check.
        overwrite: replace a bundle that stands there.
    """

    size_wh: tuple[int, int] | None = None
    batch: int | None = None
    simplify: bool = True
    min_oks: float = MIN_OKS
    overwrite: bool = False


def write_onnx_bundle(
    out: Path,
    model: onnx.ModelProto,
    preset: Preset,
    source: Source,
    frames: Sequence[ByteArray],
    options: Options,
) -> Bundle:
    """Check, simplify and measure a graph, record the check frames, write the bundle.

    Args:
        out: the new bundle's folder.
        model: checked (`graph_stats.load_onnx`).
        preset: what the graph does not say.
        source: of the weights.
        frames: for check/, uint8 (H, W, 3) in B, G, R order.
        options: the user's.

    Raises:
        ExportError: graph and preset do not fit, or the simplified graph computes something else.
        EngineError: ONNX Runtime cannot run the graph, or its outputs are not finite.
        BundleError: the parts do not fit together, or the bundle cannot be written.
    """
    name = input_name(model, preset)
    fix_input(model, name, size_wh=options.size_wh, batch=options.batch)
    data = model.SerializeToString(deterministic=True)
    with open_engine("onnxruntime", data) as engine:
        network_input = _network_input(engine, name, preset)
        probes = [_probe(network_input, frame) for frame in frames[:_COMPARED]]
        before = [infer(engine, name, probe) for probe in probes]
        if options.simplify:
            model = simplified(model)
            data = model.SerializeToString(deterministic=True)
            compare(data, name, probes, before)
        wanted = _skeleton(preset)
        manifest = Manifest(
            version=VERSION,
            jetpose=version(),
            network=_network(model, preset, source, probes[0]),
            input=network_input,
            outputs=_outputs(engine, preset, len(wanted.names), probes[0], before[0]),
            skeleton=wanted,
            decoder=_decoder(preset, len(wanted.names)),
            graphs={"reference": _graph()},
            check=Check(min_oks=options.min_oks, frames=()),
            files={GRAPH_FILE: hashlib.sha256(data).hexdigest()},
        )
    for problem in problems(manifest):
        raise ExportError(f"graph and preset: {problem}")
    recorded, pictures = _record(manifest, data, frames)
    manifest = msgspec.structs.replace(manifest, check=Check(min_oks=options.min_oks, frames=recorded))
    return write_bundle(out, manifest, {GRAPH_FILE: data, **pictures}, overwrite=options.overwrite)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; ExportError where it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    return digest.hexdigest()


def _network_input(engine: Engine, name: str, preset: Preset) -> Input:
    """The manifest's input from what the graph says of it and the preset."""
    spec, wanted = engine.inputs[0], preset.input
    channels = 1 if wanted.colour == "gray" else 3
    if len(spec.shape) == 4 and spec.shape[1] != channels and spec.shape[3] == channels:
        raise ExportError(f"graph: input {name!r} is {spec}, channels last; wanted (batch, channels, height, width)")
    if spec.dtype not in (np.float32, np.float16) or len(spec.shape) != 4 or spec.shape[1] not in (None, channels):
        raise ExportError(f"graph: input {name!r} is {spec}, wanted floats (batch, {channels}, height, width)")
    batch, _, height, width = spec.shape
    if (height is None) != (width is None):
        raise ExportError(f"graph: input {name!r} is {spec}, one side open; give --size WxH")
    return Input(
        tensor=name,
        size_wh=(width or 0, height or 0),
        batch=batch or 0,
        colour=wanted.colour,
        mean=wanted.mean,
        std=wanted.std,
        resize=_resize(preset, fixed=width is not None),
    )


def _resize(preset: Preset, *, fixed: bool) -> Resize:
    rule = preset.input.resize
    if fixed and isinstance(rule, ShortSide):
        if preset.input.resize_fixed is None:
            raise ExportError("graph: its size is fixed, rule short_side needs any size; give another --resize")
        return preset.input.resize_fixed
    if not fixed and not isinstance(rule, ShortSide):
        tag = rule.__struct_config__.tag
        raise ExportError(f"graph: its size is open, rule {tag} needs a fixed one; give --size WxH")
    return rule


def _probe(network_input: Input, image: ByteArray) -> AnyArray:
    """A frame as the network gets it, float32 (batch, channels, H, W); the batch repeats it."""
    frame = Frame.from_image(image)
    width, height = frame.size_wh
    box = (0.0, 0.0, float(width), float(height)) if isinstance(network_input.resize, Crop) else None
    plan = geometry.plan(network_input.resize, frame.size_wh, network_input.size_wh, box)
    channels = 1 if network_input.colour == "gray" else 3
    pixels = np.zeros((channels, plan.size_wh[1], plan.size_wh[0]), np.float32)
    spec = network_input
    preprocess(frame, plan, colour=spec.colour, mean=spec.mean, std=spec.std, out=pixels)
    return np.repeat(pixels[None], spec.batch or 1, axis=0)


# ---- the manifest's parts ---------------------------------------------------------------------------------------


def _skeleton(preset: Preset) -> Skeleton:
    return preset.skeleton if isinstance(preset.skeleton, Skeleton) else skeleton(preset.skeleton)


def _decoder(preset: Preset, keypoints: int) -> Decoder:
    """The preset's; joints that a smaller skeleton lacks fall out of the order of grouping, as the authors do it."""
    decoder = preset.decoder
    if isinstance(decoder, EmbeddingDecoder) and len(decoder.joint_order) > keypoints:
        order = tuple(joint for joint in decoder.joint_order if joint < keypoints)
        return msgspec.structs.replace(decoder, joint_order=order)
    return decoder


def _network(model: onnx.ModelProto, preset: Preset, source: Source, probe: AnyArray) -> Network:
    stats = count(model, size_wh=(probe.shape[3], probe.shape[2]))
    return Network(
        name=preset.network,
        weights=Weights(source=_text(source.source), licence=_text(source.licence), sha256=source.sha256),
        parameters=stats.parameters,
        macs=stats.macs // probe.shape[0],
    )


def _text(value: str) -> str:
    """The user's words, if a manifest takes them."""
    try:
        return msgspec.convert(value, Text)
    except msgspec.ValidationError as error:
        raise ExportError(f"text {value[:60]!r}: wanted 1 to 1000 printable characters") from error


def _graph() -> Graph:
    return Graph(file=GRAPH_FILE, precision="fp32", int8_mac_share=0.0, calibration=None, accuracy=())


def _outputs(
    engine: Engine, preset: Preset, keypoints: int, probe: AnyArray, arrays: dict[str, AnyArray]
) -> tuple[Output, ...]:
    outputs = []
    for wanted in preset.outputs:
        spec = _find_output(engine.outputs, wanted)
        if spec is None:
            continue
        shape = arrays[spec.name].shape
        if 0 in shape or len(shape) != (2 if wanted.role == "vector" else 4):
            dims = "(batch, values)" if wanted.role == "vector" else "(batch, channels, height, width)"
            raise ExportError(f"graph: output {spec.name!r} has shape {shape}, wanted {dims} for {wanted.role}")
        first, last = wanted.channels or (0, shape[1])
        if wanted.per_keypoint and wanted.channels:
            first, last = first * keypoints, last * keypoints
        if last > shape[1]:
            needed = f"{wanted.role} want channels {first} to {last - 1}"
            raise ExportError(f"graph: output {spec.name!r} has {shape[1]} channels, {needed}")
        stride = probe.shape[3] / shape[3] if len(shape) == 4 else 1.0
        outputs.append(Output(tensor=spec.name, role=wanted.role, channels=(first, last), stride=stride))
    return tuple(outputs)


def _find_output(specs: Sequence[TensorSpec], wanted: PresetOutput) -> TensorSpec | None:
    names = [spec.name for spec in specs]
    if wanted.tensor is not None and wanted.tensor in names:
        return specs[names.index(wanted.tensor)]
    if wanted.position is not None and wanted.position < len(specs):
        return specs[wanted.position]
    if wanted.optional:
        return None
    what = repr(wanted.tensor) if wanted.tensor is not None else f"number {wanted.position}"
    raise ExportError(f"graph: has no output {what} for {wanted.role}, only {', '.join(names)[:300]}; give --output")


def _record(
    manifest: Manifest, data: bytes, frames: Sequence[ByteArray]
) -> tuple[tuple[CheckFrame, ...], dict[str, bytes]]:
    """What the written graph gives on every frame through the CPU pipeline, and the frames as files."""
    recorded, pictures = [], {}
    with open_engine("onnxruntime", data) as engine:
        try:
            pipeline = Pipeline(manifest, engine)
        except BundleError as error:
            raise ExportError(str(error)) from error
        for i, frame in enumerate(frames):
            file = f"check/{i}.png"
            pictures[file] = encode_png(frame)
            recorded.append(record_frame(pipeline, frame, file))
    return tuple(recorded), pictures
