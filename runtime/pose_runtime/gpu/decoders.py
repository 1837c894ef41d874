"""A decoder on the GPU: its memory in one arena, its kernel launches, and the people from the bytes that come back.

Nothing here needs a GPU: addresses are numbers, launches plain data, and the native code lays out every argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pose_runtime._native import native
from pose_runtime.arrays import ByteArray, FloatArray
from pose_runtime.decode import (
    Decoded,
    Decoder,
    EmbeddingDecoder,
    HeatmapDecoder,
    OffsetDecoder,
    PafDecoder,
    VectorDecoder,
    WindowDecoder,
)
from pose_runtime.decode._common import only
from pose_runtime.errors import DecodeError, EngineError
from pose_runtime.gpu.launch import Launch

ARENA_ALIGNMENT = 256
"""Of an arena's address, bytes."""


class DeviceMaps(NamedTuple):
    """One output of a network in device memory: C-contiguous float32.

    Attributes:
        address: of the first value; of this image's row where the network's batch is larger.
        shape: without the batch, as the decoder on the CPU takes it: (C, H, W), or (2K,) of role `vector`.
    """

    address: int
    shape: tuple[int, ...]


class Upload(NamedTuple):
    """Bytes that must lie in the arena, `offset` from its start, before the first launch; no kernel changes them."""

    offset: int
    data: bytes


class Region(NamedTuple):
    """A part of the arena."""

    offset: int
    bytes: int


@dataclass(frozen=True)
class DecodePlan:
    """The decoding of one image on the GPU; outputs, sizes and block are fixed.

    Memory need not be cleared before a run, whatever the last one left there; only `uploads` are needed, once.

    Attributes:
        arena_bytes: device memory that it needs, in one piece aligned to 256 bytes.
        uploads: constant tables.
        result: what must be copied back after the launches; number and scores of the people come first.
    """

    arena_bytes: int
    uploads: tuple[Upload, ...]
    result: Region
    _plan: Callable[[int], Any]
    _read: Callable[[ByteArray], Decoded]

    def launches(self, arena: int) -> tuple[Launch, ...]:
        """The kernels to run one after another on one stream, with `arena` as the address of the memory.

        Raises:
            EngineError: the address is null or not aligned.
        """
        if arena <= 0 or arena % ARENA_ALIGNMENT:
            raise EngineError(f"arena: got address {arena:#x}, wanted a multiple of {ARENA_ALIGNMENT} that is not 0")
        return tuple(Launch(*launch) for launch in self._plan(arena).launches)

    def read(self, host: ByteArray) -> Decoded:
        """The people in pixels of the network's input, as the decoder on the CPU gives them.

        Args:
            host: uint8, the bytes of `result`, C-contiguous; they may be overwritten afterwards.

        Raises:
            EngineError: too few bytes, or bytes that no run has written.
        """
        size = host.nbytes
        if size < self.result.bytes:
            raise EngineError(f"decoded result: got {size} bytes, wanted {self.result.bytes}")
        return self._read(host)


def plan_decoder(
    decoder: Decoder,
    outputs: Mapping[str, Sequence[DeviceMaps]],
    input_wh: tuple[int, int],
    block: int = 256,
) -> DecodePlan:
    """Plan the decoding of one image.

    Args:
        decoder: of any family.
        outputs: the network's outputs by role, as the decoder on the CPU takes them.
        input_wh: width and height of the network's input.
        block: threads of a block, 32 to 512, a multiple of 32; no result depends on it.

    Raises:
        DecodeError: outputs that the decoder cannot take.
    """
    try:
        if isinstance(decoder, HeatmapDecoder):
            return _plan_heatmap(decoder, outputs, input_wh, block)
        if isinstance(decoder, PafDecoder):
            return _plan_paf(decoder, outputs, input_wh, block)
        if isinstance(decoder, EmbeddingDecoder):
            return _plan_embedding(decoder, outputs, input_wh, block)
        if isinstance(decoder, OffsetDecoder):
            return _plan_offset(decoder, outputs, input_wh, block)
        if isinstance(decoder, WindowDecoder):
            return _plan_window(decoder, outputs, block)
        return _plan_vector(decoder, outputs, input_wh, block)
    except DecodeError:
        raise
    except ValueError as error:  # of the native code
        raise DecodeError(f"no launches for this decoder: {error}") from error


def _plan_heatmap(
    decoder: HeatmapDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], input_wh: tuple[int, int], block: int
) -> DecodePlan:
    maps = _only_maps(outputs, "heatmaps")
    params = decoder.params()
    joints, height, width = maps.shape
    return _single(
        lambda arena: native.plan_heatmap(params, maps, block, arena),
        joints,
        lambda points: decoder.person(points, (width, height), input_wh),
    )


def _plan_offset(
    decoder: OffsetDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], input_wh: tuple[int, int], block: int
) -> DecodePlan:
    heat, offsets = _only_maps(outputs, "heatmaps"), _only_maps(outputs, "offsets")
    joints, height, width = heat.shape
    return _single(
        lambda arena: native.plan_offset(heat, offsets, decoder.logits, decoder.radius, block, arena),
        joints,
        lambda points: decoder.person(points, (width, height), input_wh),
    )


def _plan_vector(
    decoder: VectorDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], input_wh: tuple[int, int], block: int
) -> DecodePlan:
    values = only(outputs, "vector")
    if len(values.shape) != 1 or values.shape[0] == 0 or values.shape[0] % 2:
        raise DecodeError(f"vector: got shape {values.shape}, wanted (2K,): x and y of each keypoint")
    box = decoder.box(input_wh)
    return _single(
        lambda arena: native.plan_vector(values, box, decoder.origin == "corner", block, arena),
        values.shape[0] // 2,
        decoder.person,
    )


def _plan_window(decoder: WindowDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], block: int) -> DecodePlan:
    fine, windows = _only_maps(outputs, "fine"), only(outputs, "windows")
    if windows.shape != (2 * fine.shape[0],):
        raise DecodeError(f"windows: got shape {windows.shape} for fine maps {fine.shape}, wanted (2K,)")
    return _single(
        lambda arena: native.plan_window(fine, windows, decoder.stride, block, arena), fine.shape[0], decoder.person
    )


def _plan_paf(
    decoder: PafDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], input_wh: tuple[int, int], block: int
) -> DecodePlan:
    heat, fields = _only_maps(outputs, "heatmaps"), _only_maps(outputs, "pafs")
    params, tables, limbs = decoder.native_inputs(heat.shape, fields.shape[0])
    map_wh = (heat.shape[2], heat.shape[1])
    return _many(
        lambda arena: native.plan_paf(params, tables, heat, fields, limbs, block, arena),
        decoder.max_people,
        decoder.parts,
        lambda keypoints, scores: decoder.people(keypoints, scores, map_wh, input_wh),
    )


def _plan_embedding(
    decoder: EmbeddingDecoder, outputs: Mapping[str, Sequence[DeviceMaps]], input_wh: tuple[int, int], block: int
) -> DecodePlan:
    heatmaps, tags = list(outputs.get("heatmaps", ())), _only_maps(outputs, "tags")
    if len(heatmaps) not in (1, 2):
        raise DecodeError(f"outputs: got {len(heatmaps)} of role 'heatmaps', wanted 1 or 2; see the manifest")
    for maps in heatmaps:
        _check_maps("heatmaps", maps)
    joints = heatmaps[0].shape[0]
    params = decoder.params(joints)
    map_wh = decoder.decoded_wh(heatmaps[-1].shape, input_wh)
    return _many(
        lambda arena: native.plan_embedding(params, heatmaps, tags, *map_wh, block, arena),
        joints * decoder.max_people,
        joints,
        lambda keypoints, scores: decoder.people(keypoints, scores, map_wh, input_wh),
    )


def _only_maps(outputs: Mapping[str, Sequence[DeviceMaps]], role: str) -> DeviceMaps:
    return _check_maps(role, only(outputs, role))


def _check_maps(role: str, maps: DeviceMaps) -> DeviceMaps:
    if len(maps.shape) != 3 or min(maps.shape) < 1:
        raise DecodeError(f"{role}: got shape {maps.shape}, wanted (C, H, W)")
    return maps


def _single(plan: Callable[[int], Any], joints: int, person: Callable[[FloatArray], Decoded]) -> DecodePlan:
    """Of a family that finds one person: the result is its points (1, K, 3)."""
    sizes = plan(0)

    def read(host: ByteArray) -> Decoded:
        return person(_floats(host, sizes.keypoints, (1, joints, 3)))

    return _decode_plan(sizes, plan, read)


def _many(
    plan: Callable[[int], Any], capacity: int, joints: int, people: Callable[[FloatArray, FloatArray], Decoded]
) -> DecodePlan:
    """Of a family that finds up to `capacity` people."""
    sizes = plan(0)

    def read(host: ByteArray) -> Decoded:
        count = int(np.frombuffer(host, np.int32, 1, sizes.count)[0])
        if not 0 <= count <= capacity:
            raise EngineError(f"decoded result: got {count} people, wanted 0 to {capacity}; have the kernels run?")
        keypoints = _floats(host, sizes.keypoints, (count, joints, 3))
        return people(keypoints, _floats(host, sizes.scores, (count,)))

    return _decode_plan(sizes, plan, read)


def _floats(host: ByteArray, offset: int, shape: tuple[int, ...]) -> FloatArray:
    """A copy of float32 values."""
    values: FloatArray = np.frombuffer(host, np.float32, math.prod(shape), offset).reshape(shape).copy()
    return values


def _decode_plan(sizes: Any, plan: Callable[[int], Any], read: Callable[[ByteArray], Decoded]) -> DecodePlan:
    uploads = tuple(Upload(*upload) for upload in sizes.uploads)
    return DecodePlan(sizes.bytes, uploads, Region(sizes.result, sizes.result_bytes), plan, read)
