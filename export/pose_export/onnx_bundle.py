"""From an ONNX file and a preset to a bundle. Needs onnx and onnxruntime, never torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from pose_calibration.graph_stats import count
from pose_calibration.inputs import probe_of
from pose_calibration.quantise import Made
from pose_export.check_images import encode_png
from pose_export.graph import compare, fix_input, infer, input_name, simplified
from pose_export.manifest_parts import decoder_of, input_of, outputs_of, skeleton_of
from pose_export.presets import Preset
from pose_runtime.arrays import AnyArray, ByteArray
from pose_runtime.bundle import Bundle, as_part, write_bundle
from pose_runtime.check import record_frame, recorded_poses
from pose_runtime.choose import as_written
from pose_runtime.engines import open_engine
from pose_runtime.errors import BundleError, ExportError
from pose_runtime.geometry import Crop
from pose_runtime.manifest import (
    VERSION,
    Check,
    CheckFrame,
    Detector,
    Graph,
    Manifest,
    Network,
    Text,
    Weights,
)
from pose_runtime.manifest_check import problems
from pose_runtime.oks import pose_oks
from pose_runtime.pipeline import Pipeline
from pose_runtime.version import version

MIN_OKS = 0.9
"""Bound of the check unless the user gives one: FP32 elsewhere stays far above, a wrong engine far below."""
_ROOM = 0.15  # that the bound leaves below the worst frame of a graph made here: other boards and libraries differ
GRAPH_FILE = "reference.onnx"
Quantise = Callable[[Manifest, onnx.ModelProto], Sequence[Made]]
"""Makes the further graphs of a bundle from its manifest so far and the FP32 graph."""
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
        min_oks: bound of the check; None: MIN_OKS, or less for a graph of lower precision that gives less.
        overwrite: replace a bundle that stands there.
        quantise: makes the graphs of lower precision; None for FP32 alone.
        detector: the bundle that finds the people of a network that takes crops, and how; None for callers that do.
    """

    size_wh: tuple[int, int] | None = None
    batch: int | None = None
    simplify: bool = True
    min_oks: float | None = None
    overwrite: bool = False
    quantise: Quantise | None = None
    detector: tuple[Bundle, Detector] | None = None


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
    if out.exists() and not options.overwrite:  # before minutes of work
        raise BundleError(f"{out}: exists already; choose another name or ask to overwrite it")
    if options.detector and not isinstance(preset.input.resize, Crop):
        raise ExportError("--detector: this network takes whole frames, and finds the people itself")
    name = input_name(model, preset)
    fix_input(model, name, size_wh=options.size_wh, batch=options.batch)
    data = model.SerializeToString(deterministic=True)
    with open_engine("onnxruntime", data) as engine:
        network_input = input_of(engine, name, preset)
        probes = [probe_of(network_input, frame) for frame in frames[:_COMPARED]]
        before = [infer(engine, name, probe) for probe in probes]
        if options.simplify:
            model = simplified(model)
            data = model.SerializeToString(deterministic=True)
            compare(data, name, probes, before)
        wanted = skeleton_of(preset)
        manifest = Manifest(
            version=VERSION,
            jetpose=version(),
            network=_network(model, preset, source, probes[0]),
            input=network_input,
            outputs=outputs_of(engine, preset, len(wanted.names), probes[0], before[0]),
            skeleton=wanted,
            decoder=decoder_of(preset, len(wanted.names)),
            graphs={"reference": _graph()},
            check=Check(min_oks=MIN_OKS, frames=()),
            files={GRAPH_FILE: hashlib.sha256(data).hexdigest()},
        )
    for problem in problems(manifest):
        raise ExportError(f"graph and preset: {problem}")
    made = options.quantise(manifest, model) if options.quantise else ()
    recorded, pictures = _record(manifest, data, frames)
    bound = MIN_OKS if options.min_oks is None else options.min_oks
    manifest = msgspec.structs.replace(manifest, check=Check(min_oks=bound, frames=recorded))
    graphs = {each.role: _bounded(manifest, each, frames, options.min_oks) for each in made}
    manifest = msgspec.structs.replace(manifest, graphs=manifest.graphs | graphs)
    files = {GRAPH_FILE: data, **{graph.graph.file: graph.data for graph in made}, **pictures}
    if options.detector:
        part, how = options.detector
        manifest = msgspec.structs.replace(manifest, detector=how)
        files |= as_part(part, "detector")
    return write_bundle(out, manifest, files, overwrite=options.overwrite)


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


# ---- the manifest's parts ---------------------------------------------------------------------------------------


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


def _bounded(manifest: Manifest, made: Made, frames: Sequence[ByteArray], wanted: float | None) -> Graph:
    """The graph's record, with a bound of its own where it gives less than the default on a check frame."""
    with open_engine("onnxruntime", made.data, as_written=as_written(made.role)) as engine:
        pipeline = Pipeline(manifest, engine)
        worst = min(
            pose_oks(recorded_poses(manifest, recorded), pipeline(frame))
            for recorded, frame in zip(manifest.check.frames, frames, strict=True)
        )
    if worst >= manifest.check.min_oks:
        return made.graph
    if wanted is not None:
        raise ExportError(f"{made.role}: OKS {worst:.3f} on a check frame, wanted {wanted:g}; lower --min-oks")
    return msgspec.structs.replace(made.graph, min_oks=max(math.floor((worst - _ROOM) * 100) / 100, 0.0))


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
