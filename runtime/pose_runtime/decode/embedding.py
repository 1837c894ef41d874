"""Associative embedding: heatmaps and tags to people, as HigherHRNet and the associative-embedding code do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_runtime._native import native
from pose_runtime.arrays import FloatArray, as_maps
from pose_runtime.decode._common import Decoded, Grid, only, to_input
from pose_runtime.errors import DecodeError

COCO_ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
"""In which HigherHRNet groups COCO's 17 joints: head, shoulders, hips, then the limbs outwards."""
CROWDPOSE_ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13)
"""The same list cut to CrowdPose's 14 joints, as the authors do, whatever its joints are."""

Distance = Literal["l2", "rms"]
RefinedScore = Literal["map", "one"]

MAX_PEOPLE = 64
MAX_JOINTS = 64
MAX_WINDOW = 9
MAX_COMPONENTS = 16


class Embedded(NamedTuple):
    """People of one image.

    Attributes:
        keypoints: float32 (N, K, 3): x, y in map pixels, score; a missing one is NaN, NaN, 0.
        tags: float32 (N, K, T): tag of each grouped keypoint; 0 where it is missing or was found by refinement.
        scores: float32 (N,): mean of the K grouped keypoints' scores, missing ones as 0.
    """

    keypoints: FloatArray
    tags: FloatArray
    scores: FloatArray


class _Settings(NamedTuple):
    """In the order of the native parameters."""

    order: NDArray[np.int32]
    nms: int
    max_people: int
    threshold: float
    tag_threshold: float
    use_detection_val: bool
    ignore_too_much: bool
    rms: bool
    adjust: bool
    refine: bool
    refined_one: bool


def _settings(
    joints: int,
    joint_order: Sequence[int] | None,
    nms: int,
    max_people: int,
    threshold: float,
    tag_threshold: float,
    use_detection_val: bool,
    ignore_too_much: bool,
    distance: Distance,
    adjust: bool,
    refine: bool,
    refined_score: RefinedScore,
) -> _Settings:
    if joints > MAX_JOINTS:
        raise DecodeError(f"heatmaps: got {joints} joints, wanted at most {MAX_JOINTS}")
    if joint_order is None:
        joint_order = {17: COCO_ORDER, 14: CROWDPOSE_ORDER}.get(joints, range(joints))
    if sorted(joint_order) != list(range(joints)):
        raise DecodeError(f"joint_order: got {tuple(joint_order)}, wanted each of 0 to {joints - 1} once")
    if not 1 <= nms <= MAX_WINDOW or nms % 2 == 0:
        raise DecodeError(f"nms: got {nms}, wanted an odd number of pixels from 1 to {MAX_WINDOW}")
    if not 1 <= max_people <= MAX_PEOPLE:
        raise DecodeError(f"max_people: got {max_people}, wanted 1 to {MAX_PEOPLE}")
    if not 0 <= threshold < np.inf:
        raise DecodeError(f"threshold: got {threshold}, wanted 0 or more")
    if not 0 < tag_threshold < np.inf:
        raise DecodeError(f"tag_threshold: got {tag_threshold}, wanted more than 0")
    if distance not in ("l2", "rms"):
        raise DecodeError(f"distance: got {distance!r}, wanted l2 or rms")
    if refined_score not in ("map", "one"):
        raise DecodeError(f"refined_score: got {refined_score!r}, wanted map or one")
    return _Settings(
        order=np.array(joint_order, np.int32),
        nms=nms,
        max_people=max_people,
        threshold=threshold,
        tag_threshold=tag_threshold,
        use_detection_val=use_detection_val,
        ignore_too_much=ignore_too_much,
        rms=distance == "rms",
        adjust=adjust,
        refine=refine,
        refined_one=refined_score == "one",
    )


def _room(settings: _Settings, components: int) -> Embedded:
    """Arrays for the most people there can be: each joint may add `max_people` new ones."""
    joints = len(settings.order)
    people = joints * settings.max_people
    return Embedded(
        np.empty((people, joints, 3), np.float32),
        np.empty((people, joints, components), np.float32),
        np.empty(people, np.float32),
    )


def _cut(room: Embedded, people: int) -> Embedded:
    return Embedded(*(array[:people].copy() for array in room))


def embedding(
    heatmaps: ArrayLike,
    tags: ArrayLike,
    *,
    joint_order: Sequence[int] | None = None,
    nms: int = 5,
    max_people: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
    use_detection_val: bool = True,
    ignore_too_much: bool = False,
    distance: Distance = "l2",
    adjust: bool = True,
    refine: bool = True,
    refined_score: RefinedScore = "map",
) -> Embedded:
    """Group the peaks of K heatmaps into people by their tags; defaults are HigherHRNet's for COCO.

    The associative-embedding code (Newell et al. 2017) is nms=3, ignore_too_much=True, distance="rms",
    refined_score="one".

    Args:
        heatmaps: (K, H, W); K at most 64. Non-finite values are passed over.
        tags: (K, H, W, T), or (1, H, W, T) where all joints share one map; T at most 16. A peak with a non-finite tag
            is none.
        joint_order: in which order joints are grouped; None: HigherHRNet's for 17 and 14 joints, else 0 to K-1.
        nms: side of the suppression window in pixels, odd, at most 9; each pixel of a plateau is a peak.
        max_people: peaks kept per joint (by score, then position) and people that can be matched, at most 64. People
            beyond can still be started, one joint each: it is no bound on N.
        threshold: of a peak's score, exclusive.
        tag_threshold: of the distance between a peak's tag and a person's mean tag, exclusive.
        use_detection_val: assign by 100 · round(distance) - score instead of the distance.
        ignore_too_much: skip the joints that come when `max_people` people exist.
        distance: `l2`, or `rms` over the T components. Refinement always takes l2, rounded.
        adjust: move keypoints a quarter pixel towards the higher neighbour (ties down) and by +0.5.
        refine: find the joints that a person misses where heatmap - round(tag distance) is highest, if the heatmap is
            positive there.
        refined_score: of such a joint: the value of the `map`, or `one`.

    Returns:
        keypoints (N, K, 3), tags (N, K, T), scores (N,); people in the order they were started.
    """
    heat = as_maps("heatmaps", heatmaps, (None, None, None))
    height, width = heat.shape[1:]
    shared = np.ndim(tags) == 4 and np.shape(tags)[0] == 1
    tag = as_maps("tags", tags, (1 if shared else len(heat), height, width, None))
    if tag.shape[3] > MAX_COMPONENTS:
        raise DecodeError(f"tags: got {tag.shape[3]} components, wanted at most {MAX_COMPONENTS}")
    settings = _settings(
        len(heat), joint_order, nms, max_people, threshold, tag_threshold, use_detection_val, ignore_too_much,
        distance, adjust, refine, refined_score,
    )  # fmt: skip
    room = _room(settings, tag.shape[3])
    return _cut(room, native.embedding_maps(native.embedding_params(*settings), heat, tag, *room))


def embedding_outputs(
    heatmaps: Sequence[ArrayLike],
    tags: ArrayLike,
    *,
    size_wh: tuple[int, int],
    joint_order: Sequence[int] | None = None,
    nms: int = 5,
    max_people: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
    use_detection_val: bool = True,
    ignore_too_much: bool = False,
    distance: Distance = "l2",
    adjust: bool = True,
    refine: bool = True,
    refined_score: RefinedScore = "map",
) -> Embedded:
    """`embedding` on a network's own outputs, resized only where a person may be; equal to it on `aggregate`'s maps.

    Args:
        heatmaps: one array (K, h, w), or a coarse one and a fine one (K, h2, w2), which are averaged.
        tags: (K, h, w) or (1, h, w), of the size of the first heatmaps.
        size_wh: width, height of the maps to decode, no smaller than the finest heatmaps.

    The others are `embedding`'s; the keypoints are in pixels of `size_wh`, T is 1.
    """
    if len(heatmaps) not in (1, 2):
        raise DecodeError(f"heatmaps: got {len(heatmaps)} arrays, wanted one, or a coarse and a fine one")
    coarse = as_maps("heatmaps", heatmaps[0], (None, None, None))
    fine = np.empty((0, 0, 0), np.float32)
    if len(heatmaps) == 2:
        fine = as_maps("fine heatmaps", heatmaps[1], (len(coarse), None, None))
    shared = np.ndim(tags) == 3 and np.shape(tags)[0] == 1
    tag = as_maps("tags", tags, (1 if shared else len(coarse), *coarse.shape[1:]))
    sizes = [coarse.shape[:0:-1], *([fine.shape[:0:-1]] if len(fine) else []), tuple(size_wh)]
    if any(one[0] > two[0] or one[1] > two[1] for one, two in pairwise(sizes)):
        got = ", ".join(f"{width} x {height}" for width, height in sizes)
        raise DecodeError(f"heatmaps: got sizes {got}, wanted each to hold the one before")
    settings = _settings(
        len(coarse), joint_order, nms, max_people, threshold, tag_threshold, use_detection_val, ignore_too_much,
        distance, adjust, refine, refined_score,
    )  # fmt: skip
    room = _room(settings, 1)
    params = native.embedding_params(*settings)
    return _cut(room, native.embedding_outputs(params, coarse, fine, tag, *size_wh, *room))


# ---- aggregation -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What the network gave for one scale of an image.

    Attributes:
        scale: of the input, 1 for the base size.
        outputs: float32 arrays, coarse first: (2K, h, w) heatmaps then tags, and perhaps (K, h2, w2) heatmaps.
        mirrored: the same for the mirrored input, as the network gave them; None without flip test.
    """

    scale: float
    outputs: Sequence[ArrayLike]
    mirrored: Sequence[ArrayLike] | None = None


def resize(maps: ArrayLike, size_wh: tuple[int, int]) -> FloatArray:
    """Maps (C, h, w) resized bilinearly to (C, H, W), half-pixel centres, edges repeated."""
    array = as_maps("maps", maps, (None, None, None))
    if min(size_wh) < 1:
        raise DecodeError(f"size: got {size_wh}, wanted at least 1 x 1")
    out = np.empty((len(array), size_wh[1], size_wh[0]), np.float32)
    native.resize_maps(array, out)
    return out


def _merge(outputs: Sequence[ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """Heatmaps and tags (K, H, W) at the size of the last output."""
    if len(outputs) not in (1, 2):
        raise DecodeError(f"outputs: got {len(outputs)} arrays, wanted one, or a coarse and a fine one")
    coarse = as_maps("outputs[0]", outputs[0], (None, None, None))
    joints = len(coarse) // 2
    if len(coarse) % 2:
        raise DecodeError(f"outputs[0]: got {len(coarse)} channels, wanted heatmaps and as many tags")
    if len(outputs) == 1:
        return coarse[:joints], coarse[joints:]
    fine = as_maps("outputs[1]", outputs[1], (joints, None, None))
    coarse = resize(coarse, (fine.shape[2], fine.shape[1]))
    return (coarse[:joints] + fine) / np.float32(2), coarse[joints:]


def aggregate(
    passes: Sequence[Pass], *, flip_pairs: Sequence[tuple[int, int]], size_wh: tuple[int, int] | None
) -> tuple[FloatArray, FloatArray]:
    """HigherHRNet's test-time aggregation over resolutions, scales and the mirrored image.

    Heatmaps are averaged; tags are kept from scale 1 alone (or the only scale), those of the mirrored image as a
    second component.

    Args:
        passes: one per scale, in the order of processing (the authors: largest first).
        flip_pairs: joints that change places when the image is mirrored.
        size_wh: of the result, the network input's size at scale 1; None: the size of the first pass's finest maps
            (the authors' PROJECT2IMAGE False).

    Returns:
        heatmaps float32 (K, H, W) and tags float32 (K, H, W, T).
    """
    if not passes:
        raise DecodeError("passes: got none, wanted at least one")
    heat_sum: FloatArray | None = None
    tags: list[FloatArray] = []
    for one in passes:
        sides = [_merge(one.outputs)]
        if one.mirrored is not None:
            heat, tag = _merge(one.mirrored)
            index = np.arange(len(heat))
            for a, b in flip_pairs:
                index[[a, b]] = b, a
            sides.append((heat[index, :, ::-1], tag[index, :, ::-1]))
        if size_wh is None:
            size_wh = (sides[0][0].shape[2], sides[0][0].shape[1])
        heats = [resize(heat, size_wh) for heat, _ in sides]
        if len({len(heat) for heat in heats} | ({len(heat_sum)} if heat_sum is not None else set())) > 1:
            raise DecodeError("passes: the number of joints differs")
        heat = heats[0] if len(heats) == 1 else (heats[0] + heats[1]) / np.float32(2)
        heat_sum = heat if heat_sum is None else heat_sum + heat
        if one.scale == 1 or len(passes) == 1:
            tags += [resize(tag, size_wh) for _, tag in sides]
    if heat_sum is None or not tags:
        raise DecodeError("passes: got several scales without scale 1, which gives the tags")
    return heat_sum / np.float32(len(passes)), np.stack(tags, axis=-1)


# ---- decoder of a bundle ---------------------------------------------------------------------------------------


class EmbeddingDecoder(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="embedding"
):
    """Decoder of many people by tags; the parameters are `embedding`'s.

    Needs role `heatmaps`, one or two arrays (coarse first), and role `tags`, one array of the coarse size.
    `at_input_size` decodes maps resized to the network input (HigherHRNet); otherwise the finest maps are decoded as
    they are (associative embedding). `grid` says where a decoded pixel lies in the input; the authors' +0.5 belongs
    to `corner`.
    """

    joint_order: tuple[int, ...]
    nms: Annotated[int, msgspec.Meta(ge=1, le=MAX_WINDOW)]
    max_people: Annotated[int, msgspec.Meta(ge=1, le=MAX_PEOPLE)]
    threshold: Annotated[float, msgspec.Meta(ge=0)]
    tag_threshold: Annotated[float, msgspec.Meta(gt=0)]
    use_detection_val: bool
    ignore_too_much: bool
    distance: Distance
    adjust: bool
    refine: bool
    refined_score: RefinedScore
    at_input_size: bool
    grid: Grid

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """People of one image in network-input pixels; see the class."""
        heatmaps = outputs.get("heatmaps", ())
        tags = only(outputs, "tags")
        if len(heatmaps) not in (1, 2):
            raise DecodeError(f"outputs: got {len(heatmaps)} of role 'heatmaps', wanted 1 or 2; see the manifest")
        size_wh = self.decoded_wh(heatmaps[-1].shape, input_wh)
        people = embedding_outputs(
            heatmaps,
            tags,
            size_wh=size_wh,
            joint_order=self.joint_order,
            nms=self.nms,
            max_people=self.max_people,
            threshold=self.threshold,
            tag_threshold=self.tag_threshold,
            use_detection_val=self.use_detection_val,
            ignore_too_much=self.ignore_too_much,
            distance=self.distance,
            adjust=self.adjust,
            refine=self.refine,
            refined_score=self.refined_score,
        )
        return self.people(people.keypoints, people.scores, size_wh, input_wh)

    def decoded_wh(self, finest: tuple[int, ...], input_wh: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the maps that are decoded, from the shape (K, h, w) of the finest heatmaps."""
        return input_wh if self.at_input_size else (finest[2], finest[1])

    def params(self, joints: int) -> Any:
        """The native parameters for that many joints."""
        settings = _settings(
            joints, self.joint_order, self.nms, self.max_people, self.threshold, self.tag_threshold,
            self.use_detection_val, self.ignore_too_much, self.distance, self.adjust, self.refine, self.refined_score,
        )  # fmt: skip
        return native.embedding_params(*settings)

    def people(
        self, keypoints: FloatArray, scores: FloatArray, map_wh: tuple[int, int], input_wh: tuple[int, int]
    ) -> Decoded:
        """The people whose keypoints (N, K, 3) are in pixels of decoded maps; they are overwritten."""
        to_input(keypoints, map_wh, input_wh, self.grid)
        return Decoded(keypoints, scores)
