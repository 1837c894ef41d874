"""From the bytes of `manifest.json` to a Manifest whose parts fit together, or one line that names the field.

msgspec checks types, ranges and unknown keys; what stands here are the rules between fields.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from pose_runtime.arrays import FloatArray
from pose_runtime.errors import BundleError, DecodeError
from pose_runtime.geometry import Crop, ShortSide
from pose_runtime.manifest import MANIFEST, VALUES, VERSION, Graph, Input, Manifest, Sha256
from pose_runtime.skeletons import Skeleton

MAX_KEYPOINTS = 256
_PROBE_SIDE = 64
_AT = re.compile(r"(?P<what>.*?) - at (?P<where>.*)", re.DOTALL)


class _Versioned(msgspec.Struct):
    version: int


def parse_manifest(data: bytes, name: str) -> Manifest:
    """The manifest in `data`.

    Args:
        data: UTF-8 JSON.
        name: of the file, for messages.

    Raises:
        BundleError: no JSON, another version, or a field that is unknown, missing or wrong; names file and field.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != VERSION:
            newer = "; install a newer jetpose" if version > VERSION else "; export the network again"
            raise BundleError(f"{name}: $.version: got {version}, wanted {VERSION}{newer}")
        manifest = msgspec.json.decode(data, type=Manifest)
        json.loads(data, object_pairs_hook=_refuse_twice)
    except msgspec.ValidationError as error:
        raise BundleError(f"{name}: {_explain(str(error), data)}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(f"{name}: no valid JSON: {error}") from error
    for problem in problems(manifest):
        raise BundleError(f"{name}: {problem}")
    return manifest


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"key {twice[0]!r} stands twice in one object")
    return dict(pairs)


def _explain(message: str, data: bytes) -> str:
    """msgspec's message with the path first and, where the path leads to a plain value, that value."""
    match = _AT.fullmatch(message)
    if not match:
        return f"$: {message}"
    where, what = match["where"].replace("`", ""), match["what"].replace("`", "'")
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):  # such as a number that no float holds
        return f"{where}: {what}"
    where = _name_entry(where, tree)
    value = tree
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", where):
        try:
            value = value[key or int(index)]
        except (KeyError, IndexError, TypeError):  # the path names a key, not a value
            return f"{where}: {what}"
    got = "" if isinstance(value, dict | list) or what.startswith("Invalid") else f", got {str(value)[:60]!r}"
    return f"{where}: {what[0].lower()}{what[1:]}{got}"


def _name_entry(where: str, tree: dict[str, Any]) -> str:
    """`where` with the wrong entry of an object named, which msgspec leaves as `[...]`."""
    for field, kind in (("graphs", Graph), ("files", Sha256)):
        if where.startswith(f"$.{field}[...]"):
            for key, value in tree[field].items():
                try:
                    msgspec.convert(value, kind)
                except msgspec.ValidationError:
                    return where.replace("[...]", f".{key}", 1)
    return where


def problems(manifest: Manifest) -> Iterator[str]:
    """What does not fit together, as `$.field: got, wanted`; nothing for a good manifest."""
    yield from _input_problems(manifest.input)
    yield from _skeleton_problems(manifest.skeleton)
    yield from _output_problems(manifest)
    yield from _graph_problems(manifest)
    yield from _check_problems(manifest)
    yield from _part_problems(manifest)


def _input_problems(network_input: Input) -> Iterator[str]:
    any_size = network_input.size_wh == (0, 0)
    if 0 in network_input.size_wh and not any_size:
        yield f"$.input.size_wh: got {network_input.size_wh}, wanted two positive numbers or (0, 0)"
    if any_size != isinstance(network_input.resize, ShortSide):
        rule = network_input.resize.__struct_config__.tag
        size = network_input.size_wh
        yield f"$.input.size_wh: got {size} with rule {rule}; (0, 0) goes with short_side, and only with it"


def _skeleton_problems(skeleton: Skeleton) -> Iterator[str]:
    k = len(skeleton.names)
    if not 0 < k <= MAX_KEYPOINTS:
        yield f"$.skeleton.names: got {k} keypoints, wanted 1 to {MAX_KEYPOINTS}"
    if len(set(skeleton.names)) != k:
        yield "$.skeleton.names: a name stands twice"
    if len(skeleton.sigmas) != k:
        yield f"$.skeleton.sigmas: got {len(skeleton.sigmas)}, wanted one for each of the {k} keypoints"
    for i, sigma in enumerate(skeleton.sigmas):
        if not 0 < sigma < 10:
            yield f"$.skeleton.sigmas[{i}]: got {sigma}, wanted above 0 and below 10"
    for field in ("limbs", "flip_pairs"):
        pairs: tuple[tuple[int, int], ...] = getattr(skeleton, field)
        for i, (a, b) in enumerate(pairs):
            if not (0 <= a < k and 0 <= b < k and a != b):
                yield f"$.skeleton.{field}[{i}]: got ({a}, {b}), wanted two keypoints from 0 to {k - 1}"
    flipped = [point for pair in skeleton.flip_pairs for point in pair]
    if len(set(flipped)) != len(flipped):
        yield "$.skeleton.flip_pairs: a keypoint stands in two pairs"


# decoder family -> roles that it needs
_ROLES: dict[str, tuple[str, ...]] = {
    "heatmap": ("heatmaps",),
    "paf": ("heatmaps", "pafs"),
    "embedding": ("heatmaps", "tags"),
    "offset": ("heatmaps", "offsets"),
    "vector": ("vector",),
    "window": ("windows", "fine"),
}


def _output_problems(manifest: Manifest) -> Iterator[str]:
    for i, output in enumerate(manifest.outputs):
        first, last = output.channels
        if first >= last:
            yield f"$.outputs[{i}].channels: got ({first}, {last}), wanted first below last"
    family, k = str(manifest.decoder.__struct_config__.tag), len(manifest.skeleton.names)
    for role in _ROLES.get(family, ()):
        if role not in {output.role for output in manifest.outputs}:
            yield f"$.outputs: none has role {role}, which decoder {family} needs"
    for i, output in enumerate(manifest.outputs):
        count = output.channels[1] - output.channels[0]
        if output.role in ("heatmaps", "fine") and count != k:
            yield f"$.outputs[{i}].channels: got {count} of {output.role}, wanted {k} for {k} keypoints"
    yield from _decoder_problems(manifest)


def _decoder_problems(manifest: Manifest) -> Iterator[str]:
    """Decode empty maps of a small input: every rule that a decoder has for its parameters and outputs speaks up."""
    outputs: dict[str, list[FloatArray]] = {}
    for output in manifest.outputs:
        side = min(max(round(_PROBE_SIDE / output.stride), 1), _PROBE_SIDE)
        shape = () if output.role in VALUES else (side, side)
        maps = np.zeros((output.channels[1] - output.channels[0], *shape), np.float32)
        outputs.setdefault(output.role, []).append(maps)
    try:
        keypoints = manifest.decoder(outputs, (_PROBE_SIDE, _PROBE_SIDE)).keypoints
    except DecodeError as error:
        yield f"$.decoder: {error}"
        return
    if keypoints.shape[1] != len(manifest.skeleton.names):
        yield f"$.decoder: gives {keypoints.shape[1]} keypoints, $.skeleton has {len(manifest.skeleton.names)}"


def _graph_problems(manifest: Manifest) -> Iterator[str]:
    if "reference" not in manifest.graphs:
        yield "$.graphs: reference is missing, the FP32 graph that every bundle has"
    for role, graph in manifest.graphs.items():
        if graph.file not in manifest.files:
            yield f"$.graphs.{role}.file: {graph.file} is not in $.files"
        if role == "reference" and (graph.precision != "fp32" or graph.int8_mac_share):
            yield "$.graphs.reference.precision: wanted fp32 without INT8"
    if len({graph.file for graph in manifest.graphs.values()}) != len(manifest.graphs):
        yield "$.graphs: two roles share one file"
    if MANIFEST in manifest.files:
        yield f"$.files: lists {MANIFEST} itself"


def _part_problems(manifest: Manifest) -> Iterator[str]:
    folders = {name.partition("/")[0] for name in manifest.files if "/" in name}
    for part in manifest.parts:
        if f"{part}/{MANIFEST}" not in manifest.files:
            yield f"$.files: lists no {part}/{MANIFEST}, which $.{part.rstrip('0123456789')} needs"
    for folder in sorted(folders - {"check", *manifest.parts}):
        yield f"$.files: lists files in {folder}/, which is no part of this bundle"
    if manifest.parts and not isinstance(manifest.input.resize, Crop):
        yield "$.input.resize: got a rule for whole frames; a network with a detector or stages takes crops"
    if manifest.stages and str(manifest.decoder.__struct_config__.tag) != "vector":
        yield "$.stages: wanted none; a cascade refines vectors"
    for i, stage in enumerate(manifest.stages):
        if max(stage.torso) >= len(manifest.skeleton.names) or stage.torso[0] == stage.torso[1]:
            yield f"$.stages[{i}].torso: got {stage.torso}, wanted two keypoints"


def _check_problems(manifest: Manifest) -> Iterator[str]:
    k, tensors = len(manifest.skeleton.names), {output.tensor for output in manifest.outputs}
    for i, frame in enumerate(manifest.check.frames):
        where = f"$.check.frames[{i}]"
        if frame.file not in manifest.files:
            yield f"{where}.file: {frame.file} is not in $.files"
        if len(frame.scores) != len(frame.keypoints):
            yield f"{where}.scores: got {len(frame.scores)}, wanted one for each of {len(frame.keypoints)} people"
        for j, person in enumerate(frame.keypoints):
            if len(person) != k:
                yield f"{where}.keypoints[{j}]: got {len(person)}, wanted {k}"
        for j, head in enumerate(frame.heads):
            if head.tensor not in tensors:
                yield f"{where}.heads[{j}].tensor: {head.tensor} is none of the outputs"
