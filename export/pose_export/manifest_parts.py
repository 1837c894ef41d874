"""The parts of a manifest that follow from a network's tensors and a preset."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from pose_export.presets import Preset, PresetOutput
from pose_runtime.arrays import AnyArray
from pose_runtime.decode import Decoder, EmbeddingDecoder
from pose_runtime.engines import Engine, TensorSpec
from pose_runtime.errors import ExportError
from pose_runtime.geometry import Resize, ShortSide
from pose_runtime.manifest import VALUES, Input, Output
from pose_runtime.skeletons import Skeleton, skeleton


def input_of(engine: Engine, name: str, preset: Preset) -> Input:
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


def skeleton_of(preset: Preset) -> Skeleton:
    """A shipped keypoint set by name, or the preset's own."""
    return preset.skeleton if isinstance(preset.skeleton, Skeleton) else skeleton(preset.skeleton)


def decoder_of(preset: Preset, keypoints: int) -> Decoder:
    """The preset's; joints that a smaller skeleton lacks fall out of the order of grouping, as the authors do it."""
    decoder = preset.decoder
    if isinstance(decoder, EmbeddingDecoder) and len(decoder.joint_order) > keypoints:
        order = tuple(joint for joint in decoder.joint_order if joint < keypoints)
        return msgspec.structs.replace(decoder, joint_order=order)
    return decoder


def outputs_of(
    engine: Engine, preset: Preset, keypoints: int, probe: AnyArray, arrays: dict[str, AnyArray]
) -> tuple[Output, ...]:
    """What each output of the network is.

    Args:
        engine: the network.
        preset: names the outputs and their roles.
        keypoints: of the skeleton.
        probe: an input, float (N, C, H, W); for the strides.
        arrays: the network's outputs for it, by name.

    Raises:
        ExportError: the network lacks an output, or one has too few dimensions or channels.
    """
    outputs = []
    for wanted in preset.outputs:
        spec = _find_output(engine.outputs, wanted)
        if spec is None:
            continue
        shape = arrays[spec.name].shape
        if 0 in shape or len(shape) != (2 if wanted.role in VALUES else 4):
            dims = "(batch, values)" if wanted.role in VALUES else "(batch, channels, height, width)"
            raise ExportError(f"graph: output {spec.name!r} has shape {shape}, wanted {dims} for {wanted.role}")
        first, last = wanted.channels or (0, shape[1])
        if wanted.per_keypoint and wanted.channels:
            first, last = first * keypoints, last * keypoints
        if last > shape[1]:
            needed = f"{wanted.role} want channels {first} to {last - 1}"
            raise ExportError(f"graph: output {spec.name!r} has {shape[1]} channels, {needed}")
        stride = 1.0 if wanted.role in (*VALUES, "fine") else probe.shape[3] / shape[3]
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
