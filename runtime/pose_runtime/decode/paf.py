"""People from confidence maps and part affinity fields (Cao et al. 2017, arXiv 1611.08050).

Four profiles decode exactly as four published decoders do:

openpose     the classic Python rules on OpenPose's networks; maps enlarged ×8 (cubic), searched after a Gaussian blur
lightweight  Lightweight OpenPose (Osokin 2018); maps enlarged ×4 (cubic)
trt_pose     NVIDIA trt_pose; the maps as they are, centre-of-mass refinement, optimal assignment
tf_pose      tf-pose-estimation (ildoonet); maps enlarged ×4 (cells repeated), searched after a 25 × 25 blur

A limb is (part a, part b, channel of the field's x, channel of its y).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from pose_runtime._native import native
from pose_runtime.arrays import Float64Array, FloatArray, as_maps
from pose_runtime.decode._common import Decoded, Grid, only, to_input
from pose_runtime.decode._paf_tables import AxisRule, Sampling, Smooth, make_sampling
from pose_runtime.errors import DecodeError

Profile = Literal["openpose", "lightweight", "trt_pose", "tf_pose"]
Limb = tuple[int, int, int, int]
Int32Array = NDArray[np.int32]

_PROFILE = {"openpose": 0, "lightweight": 1, "trt_pose": 2, "tf_pose": 3}
_SMOOTH: dict[str, Smooth] = {"openpose": "gauss_reflect", "tf_pose": "gauss_zero"}
_MAX_CELLS = 1024
_MAX_SIDE = 8192
_MAX_WINDOW = 65
_MAX_PEAKS = 512
_MAX_PEOPLE = 4096
_MAX_SAMPLES = 64
_MAX_PARTS = 256

COCO18_LIMBS: tuple[Limb, ...] = (
    (1, 2, 12, 13), (1, 5, 20, 21), (2, 3, 14, 15), (3, 4, 16, 17), (5, 6, 22, 23), (6, 7, 24, 25), (1, 8, 0, 1),
    (8, 9, 2, 3), (9, 10, 4, 5), (1, 11, 6, 7), (11, 12, 8, 9), (12, 13, 10, 11), (1, 0, 28, 29), (0, 14, 30, 31),
    (14, 16, 34, 35), (0, 15, 32, 33), (15, 17, 36, 37), (2, 16, 18, 19), (5, 17, 26, 27),
)  # fmt: skip
"""OpenPose COCO-18 in matching order; the last two (shoulder to ear) only match."""

BODY25_LIMBS: tuple[Limb, ...] = tuple(
    (a, b, x, x + 1)
    for a, b, x in (
        (1, 8, 0), (1, 2, 14), (1, 5, 22), (2, 3, 16), (3, 4, 18), (5, 6, 24), (6, 7, 26), (8, 9, 6), (9, 10, 2),
        (10, 11, 4), (8, 12, 8), (12, 13, 10), (13, 14, 12), (1, 0, 30), (0, 15, 32), (15, 17, 36), (0, 16, 34),
        (16, 18, 38), (2, 17, 20), (5, 18, 28), (14, 19, 40), (19, 20, 42), (14, 21, 44), (11, 22, 46), (22, 23, 48),
        (11, 24, 50),
    )
)  # fmt: skip
"""OpenPose BODY_25 in matching order; limbs 18 and 19 (shoulder to ear) only match."""

MPI15_LIMBS: tuple[Limb, ...] = tuple(
    (a, b, 2 * k, 2 * k + 1)
    for k, (a, b) in enumerate(
        ((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 14), (14, 8), (8, 9), (9, 10), (14, 11), (11, 12),
         (12, 13))
    )
)  # fmt: skip
"""OpenPose MPI-15 in matching order."""

TRT_POSE_LIMBS: tuple[Limb, ...] = tuple(
    (a, b, 2 * k + 1, 2 * k)  # the field's y comes first
    for k, (a, b) in enumerate(
        ((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2),
         (1, 3), (2, 4), (3, 5), (4, 6), (17, 0), (17, 5), (17, 6), (17, 11), (17, 12))
    )
)  # fmt: skip
"""trt_pose's human_pose: COCO's 17 parts and the neck."""


class _Options(NamedTuple):
    """All parameters but the geometry; see `paf`."""

    profile: str
    limbs: tuple[Limb, ...]
    matching_only: tuple[int, ...]
    parts: int
    upsample: int
    peak_threshold: float
    limb_threshold: float
    samples: int
    min_hits: int
    min_distance: float
    window: int
    min_parts: int
    min_score: float
    max_peaks: int
    max_people: int

    def __hash__(self) -> int:
        return hash(self[3:])  # of the numbers: they tell options apart, and hashing the limbs costs as much as a limb


_CHOICES = _Options._fields[1:]
_PUBLISHED = {
    o.profile: o
    for o in (
        _Options("openpose", COCO18_LIMBS, (17, 18), 18, 8, 0.1, 0.05, 10, 9, 0, 1, 4, 0.4, 128, 128),
        _Options("lightweight", COCO18_LIMBS, (17, 18), 18, 4, 0.1, 0.05, 10, 9, 6, 1, 3, 0.2, 128, 128),
        _Options("trt_pose", TRT_POSE_LIMBS, (), 18, 1, 0.1, 0.1, 7, 0, 0, 5, 1, 0, 100, 100),
        _Options("tf_pose", COCO18_LIMBS, (17, 18), 18, 4, 0.05, 0.05, 10, 7, 0, 1, 4, 0.3, 128, 128),
    )
}


class PafParts(NamedTuple):
    """What every stage found. A peak's id is its place in `peaks`, which go part by part; -1 is none.

    Attributes:
        peaks: float32 (n, 3) x, y, score in decoded pixels.
        cells: int32 (n, 2) x, y of the pixel where the peak was found (trt_pose: before refinement).
        searched: float32 (n,) value there of the map that was searched (smoothed: openpose, tf_pose).
        counts: int32 (K,) peaks of each part.
        connections: per limb int32 (c, 2): index of the peak among those of part a, and of part b.
        connection_scores: per limb float32 (c,).
        graph: trt_pose: per limb float32 (peaks of a, peaks of b), scores of all pairs; else empty.
        ids: int32 (N, K) peak ids of each person.
        sums: float64 (N,) sum of each person's peak and limb scores (trt_pose: its parts).
        sizes: int32 (N,) parts of each person as the authors count them.
        keypoints: float32 (N, K, 3), as from `paf`.
        scores: float32 (N,), as from `paf`.
    """

    peaks: FloatArray
    cells: Int32Array
    searched: FloatArray
    counts: Int32Array
    connections: list[Int32Array]
    connection_scores: list[FloatArray]
    graph: list[FloatArray]
    ids: Int32Array
    sums: Float64Array
    sizes: Int32Array
    keypoints: FloatArray
    scores: FloatArray


class _Arrays:
    """Everything the native decoder writes."""

    __slots__ = ("all", "keypoints", "scores", "total")

    def __init__(self, o: _Options) -> None:
        k, m, limbs, people = o.parts, o.max_peaks, len(o.limbs), o.max_people
        self.keypoints = np.empty((people, k, 3), np.float32)
        self.scores = np.empty(people, np.float32)
        self.total = np.empty(1, np.int32)
        self.all = (
            np.empty((k, m, 3), np.float32), np.empty((k, m, 2), np.int32), np.empty((k, m), np.float32),
            np.empty(k, np.int32), np.empty((limbs, m, 2), np.int32), np.empty((limbs, m), np.float32),
            np.empty(limbs, np.int32), np.empty((people, k), np.int32), np.empty(people), np.empty(people, np.int32),
            self.keypoints, self.scores, self.total,
        )  # fmt: skip


class _Kept(threading.local):
    """Each thread's arrays of the shapes it has used, so that a frame loop allocates none."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[int, ...], _Arrays] = {}

    def get(self, o: _Options) -> _Arrays:
        key = (o.parts, o.max_peaks, len(o.limbs), o.max_people)
        arrays = self.arrays.get(key)
        if arrays is None:
            _check(o)
            if len(self.arrays) >= 8:
                self.arrays.clear()
            arrays = self.arrays[key] = _Arrays(o)
        return arrays


_KEPT = _Kept()


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise DecodeError(f"{name}: got {value}, wanted {low} to {high}")


def _check(o: _Options) -> None:
    """Readable refusals of options out of range."""
    _within("parts", o.parts, 1, _MAX_PARTS)
    _within("max_peaks", o.max_peaks, 1, _MAX_PEAKS)
    _within("max_people", o.max_people, 1, _MAX_PEOPLE)
    _within("samples", o.samples, 2, _MAX_SAMPLES)
    _within("min_hits", o.min_hits, 0, o.samples)
    _within("min_distance", o.min_distance, 0, _MAX_SIDE)
    _within("peak_threshold", o.peak_threshold, 0, 1e6)
    _within("limb_threshold", o.limb_threshold, -1e6, 1e6)
    _within("min_score", o.min_score, -1e6, 1e6)
    _within("min_parts", o.min_parts, 0, _MAX_PARTS)
    _within("window", o.window, 1, _MAX_WINDOW)
    if not 1 <= len(o.limbs) <= _MAX_PARTS:
        raise DecodeError(f"limbs: got {len(o.limbs)}, wanted 1 to {_MAX_PARTS}")
    for limb in o.limbs:
        if len(limb) != 4 or min(limb) < 0 or max(limb[:2]) >= o.parts or limb[0] == limb[1]:
            raise DecodeError(
                f"limb {limb}: wanted two different parts below {o.parts}, then two channels of the field"
            )
    for index in o.matching_only:
        _within("matching_only", index, 0, len(o.limbs) - 1)


@lru_cache(maxsize=64)
def _sampling(
    profile: str, map_hw: tuple[int, int], upsample: int, crop: tuple[int, int, int, int], size_wh: tuple[int, int]
) -> Sampling:
    """Tables of one geometry. Making them takes milliseconds; the last 64 geometries are kept."""
    _within("upsample", upsample, 1, 16)
    if profile == "trt_pose" and (upsample != 1 or any(crop) or any(size_wh)):
        raise DecodeError("trt_pose: decodes the maps as they are; upsample 1, no crop, no size_wh")
    top, left, bottom, right = crop
    rules = []
    for name, cells, cut, target in (
        ("width", map_hw[1], (left, right), size_wh[0]),
        ("height", map_hw[0], (top, bottom), size_wh[1]),
    ):
        if min(cut) < 0 or sum(cut) >= cells * upsample:
            raise DecodeError(f"crop: got {cut} of {cells * upsample} pixels {name}, wanted to leave at least one")
        rule = AxisRule(cells, upsample, cut, target, cubic=profile != "tf_pose")
        _within(f"decoded {name}", rule.size, 1, _MAX_SIDE)
        rules.append(rule)
    return make_sampling(rules[0], rules[1], _SMOOTH.get(profile, "none"))


@lru_cache(maxsize=64)
def _prepared(o: _Options, size_wh: tuple[int, int]) -> tuple[Any, Int32Array, int]:
    """The native parameters, the limbs as int32 (L, 5), and the highest channel that they name."""
    _check(o)
    limbs = np.array([(*limb, i in o.matching_only) for i, limb in enumerate(o.limbs)], np.int32)
    params = native.paf_params(
        _PROFILE[o.profile], *size_wh, o.parts, len(limbs), o.max_peaks, o.max_people, o.samples, o.min_hits, o.window,
        o.min_parts, o.min_distance, o.peak_threshold, o.limb_threshold, o.min_score,
    )  # fmt: skip
    return params, limbs, int(limbs[:, 2:4].max())


def _decode(
    heatmaps: ArrayLike,
    pafs: ArrayLike,
    o: _Options,
    crop: tuple[int, int, int, int],
    size_wh: tuple[int, int],
    arrays: _Arrays,
    graph: FloatArray | None = None,
) -> None:
    """Fill `arrays` and, where given, `graph`."""
    heat = as_maps("heatmaps", heatmaps, (None, None, None))
    fields = as_maps("pafs", pafs, (None, *heat.shape[1:]))
    params, tables, limbs = _native_inputs(o, heat.shape, len(fields), crop, size_wh)
    native.paf(params, tables, heat, fields, limbs, *arrays.all, graph)


def _native_inputs(
    o: _Options, heat: tuple[int, ...], channels: int, crop: tuple[int, int, int, int], size_wh: tuple[int, int]
) -> tuple[Any, Any, Int32Array]:
    """Native parameters, tables and limbs for heatmaps of shape `heat` and fields of that many channels."""
    map_hw = (heat[1], heat[2])
    if max(map_hw) > _MAX_CELLS:
        raise DecodeError(f"heatmaps: got {map_hw[1]} x {map_hw[0]} cells, wanted at most {_MAX_CELLS} each way")
    sampling = _sampling(o.profile, map_hw, o.upsample, crop, size_wh)
    params, limbs, last_channel = _prepared(o, sampling.size_wh)
    if heat[0] < o.parts:
        raise DecodeError(f"heatmaps: got {heat[0]} maps, wanted one for each of {o.parts} parts")
    if channels <= last_channel:
        raise DecodeError(f"pafs: got {channels} channels, the limbs name channel {last_channel}")
    return params, sampling.native, limbs


def _published(profile: str) -> _Options:
    if profile not in _PUBLISHED:
        raise DecodeError(f"profile: got {profile!r}, wanted one of {', '.join(_PUBLISHED)}")
    return _PUBLISHED[profile]


def _options(profile: str, given: Mapping[str, Any]) -> _Options:
    """The options with the profile's published values where None is given."""
    published = _published(profile)
    chosen = {name: value for name in _CHOICES if (value := given[name]) is not None}
    if "limbs" in chosen:
        chosen["limbs"] = limbs = tuple(tuple(int(n) for n in limb) for limb in chosen["limbs"])
        chosen.setdefault("matching_only", ())
        chosen.setdefault("parts", 1 + max((max(limb[:2], default=0) for limb in limbs), default=0))
    if "matching_only" in chosen:
        chosen["matching_only"] = tuple(chosen["matching_only"])
    return published._replace(**chosen) if chosen else published


def paf(
    heatmaps: ArrayLike,
    pafs: ArrayLike,
    *,
    profile: Profile,
    limbs: Sequence[Limb] | None = None,
    matching_only: Sequence[int] | None = None,
    parts: int | None = None,
    upsample: int | None = None,
    crop: tuple[int, int, int, int] = (0, 0, 0, 0),
    size_wh: tuple[int, int] | None = None,
    peak_threshold: float | None = None,
    limb_threshold: float | None = None,
    samples: int | None = None,
    min_hits: int | None = None,
    min_distance: float | None = None,
    window: int | None = None,
    min_parts: int | None = None,
    min_score: float | None = None,
    max_peaks: int | None = None,
    max_people: int | None = None,
) -> tuple[FloatArray, FloatArray]:
    """The people in one pair of maps. None takes the profile's published value.

    Args:
        heatmaps: (C, h, w) confidence maps, one per part; further maps (background) are passed over.
        pafs: (2L, h, w) part affinity fields.
        profile: whose rules; see the module.
        limbs: (a, b, x channel, y channel) each, in matching order.
        matching_only: indices of limbs that never start a person (and, in `lightweight`, only fill gaps); none by
            default where `limbs` are given.
        parts: K; by default what the limbs name.
        upsample: whole ratio by which maps are enlarged: 8, 4, 1 (trt_pose: always), 4.
        crop: top, left, bottom, right pixels cut off the enlarged maps.
        size_wh: size to which the cropped maps are resized (cubic).
        peak_threshold: of a peak in the searched map: .1, .1, .1, .05.
        limb_threshold: of the field along the limb, at one point (.05); of the whole limb (trt_pose: .1).
        samples: points along a limb: 10, 10, 7, 10.
        min_hits: how many of them must be above limb_threshold: 9, 9, unused, 7.
        min_distance: between two peaks of one part, decoded pixels (lightweight: 6).
        window: side of the window in which a peak is highest and which refines it (trt_pose: 5); an even one is taken
            as one more.
        min_parts: parts of a person as the authors count them: 4, 3, unused, 4.
        min_score: mean score of a person's parts: .4, .2, unused, .3.
        max_peaks: most peaks of one part, at most 512: the highest stay (trt_pose: the first, row by row). 128 or 100.
        max_people: most people: the best stay (trt_pose: the first). 128 or 100.

    Returns:
        keypoints: float32 (N, K, 3) x, y, score, in decoded pixels (enlarged, cropped, resized). trt_pose's first
            pixel has its centre at 0.5 as its authors have it, all others' at 0. Missing: NaN, NaN, 0.
        scores: float32 (N,): openpose, tf_pose: sum of peak and limb scores divided by the parts; lightweight: that sum
            times (parts - 1), which it gives COCO; trt_pose: share of the parts that were found.

    NaN and infinity in a map count as 0 where maps are enlarged; in trt_pose such a cell is no peak, and a limb or a
    refinement that they spoil is passed over.

    Raises:
        DecodeError: arrays or options that do not fit together.
    """
    options = _options(profile, locals())
    out = _KEPT.get(options)
    _decode(heatmaps, pafs, options, crop, size_wh or (0, 0), out)
    n = int(out.total[0])
    return out.keypoints[:n].copy(), out.scores[:n].copy()


def paf_parts(
    heatmaps: ArrayLike,
    pafs: ArrayLike,
    *,
    profile: Profile,
    crop: tuple[int, int, int, int] = (0, 0, 0, 0),
    size_wh: tuple[int, int] | None = None,
    **options: Any,
) -> PafParts:
    """As `paf`, with what every stage found; for tests and for looking into a result."""
    unknown = options.keys() - set(_CHOICES)
    if unknown:
        raise DecodeError(f"options: got unknown {', '.join(sorted(unknown))}")
    o = _options(profile, dict.fromkeys(_CHOICES) | options)
    optimal = profile == "trt_pose"
    _check(o)
    graph = np.zeros((len(o.limbs), o.max_peaks, o.max_peaks), np.float32) if optimal else None
    out = _Arrays(o)
    _decode(heatmaps, pafs, o, crop, size_wh or (0, 0), out, graph)
    points, cells, searched, counts, pairs, limb_scores, limb_counts, ids, sums, sizes = out.all[:10]
    n = int(out.total[0])
    return PafParts(
        peaks=np.concatenate([points[k, :c] for k, c in enumerate(counts)]),
        cells=np.concatenate([cells[k, :c] for k, c in enumerate(counts)]),
        searched=np.concatenate([searched[k, :c] for k, c in enumerate(counts)]),
        counts=counts,
        connections=[pairs[i, :c] for i, c in enumerate(limb_counts)],
        connection_scores=[limb_scores[i, :c] for i, c in enumerate(limb_counts)],
        graph=[] if graph is None else [
            scores[: counts[a], : counts[b]] for scores, (a, b, _, _) in zip(graph, o.limbs, strict=True)
        ],
        ids=ids[:n], sums=sums[:n], sizes=sizes[:n], keypoints=out.keypoints[:n], scores=out.scores[:n],
    )  # fmt: skip


def paf_sample(
    maps: ArrayLike,
    *,
    profile: Profile,
    step: int = 1,
    searched: bool = False,
    upsample: int | None = None,
    crop: tuple[int, int, int, int] = (0, 0, 0, 0),
    size_wh: tuple[int, int] | None = None,
) -> FloatArray:
    """Every step-th decoded pixel of maps (C, h, w), as the decoder sees it; for tests and for drawing.

    Args:
        maps: confidence maps or fields.
        profile, upsample, crop, size_wh: as for `paf`.
        step: 1 is the whole map.
        searched: what peaks are searched in (smoothed: openpose, tf_pose) instead of the values.

    Returns:
        float32 (C, ceil(height / step), ceil(width / step)).
    """
    array = as_maps("maps", maps, (None, None, None))
    _within("step", step, 1, _MAX_SIDE)
    ratio = _published(profile).upsample if upsample is None else upsample
    sampling = _sampling(profile, (array.shape[1], array.shape[2]), ratio, crop, size_wh or (0, 0))
    xs, ys = (np.arange(0, size, step, dtype=np.int32) for size in sampling.size_wh)
    out = np.empty((len(array), len(ys), len(xs)), np.float32)
    native.paf_sample(sampling.native, array, xs, ys, searched, *sampling.search_x, out)
    return out


class PafDecoder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family", tag="paf"):
    """Decoder of all people of one image at the enlarged size of the maps; parameters as for `paf`.

    Needs roles `heatmaps` (at least `parts`, h, w) and `pafs` (channels, h, w). Keypoints go to input pixels by `grid`,
    which is `corner` in all four published decoders.
    """

    profile: Profile
    limbs: tuple[Limb, ...]
    matching_only: tuple[int, ...]
    parts: Annotated[int, Meta(ge=1, le=_MAX_PARTS)]
    upsample: Annotated[int, Meta(ge=1, le=16)]
    peak_threshold: float
    limb_threshold: float
    samples: Annotated[int, Meta(ge=2, le=_MAX_SAMPLES)]
    min_hits: Annotated[int, Meta(ge=0, le=_MAX_SAMPLES)]
    min_distance: float
    window: Annotated[int, Meta(ge=1, le=_MAX_WINDOW)]
    min_parts: int
    min_score: float
    max_peaks: Annotated[int, Meta(ge=1, le=_MAX_PEAKS)]
    max_people: Annotated[int, Meta(ge=1, le=_MAX_PEOPLE)]
    grid: Grid

    def _options(self) -> _Options:
        return _Options(
            self.profile, self.limbs, self.matching_only, self.parts, self.upsample, self.peak_threshold,
            self.limb_threshold, self.samples, self.min_hits, self.min_distance, self.window, self.min_parts,
            self.min_score, self.max_peaks, self.max_people,
        )  # fmt: skip

    def __post_init__(self) -> None:
        _check(self._options())

    def __call__(self, outputs: Mapping[str, Sequence[FloatArray]], input_wh: tuple[int, int]) -> Decoded:
        """The people of one image, in pixels of a network input of input_wh."""
        heat = only(outputs, "heatmaps")
        options = self._options()
        out = _KEPT.get(options)
        _decode(heat, only(outputs, "pafs"), options, (0, 0, 0, 0), (0, 0), out)
        n = int(out.total[0])
        return self.people(out.keypoints[:n].copy(), out.scores[:n].copy(), (heat.shape[-1], heat.shape[-2]), input_wh)

    def native_inputs(self, heat: tuple[int, ...], channels: int) -> tuple[Any, Any, Int32Array]:
        """Native parameters, tables and limbs for heatmaps of shape (C, h, w) and fields of that many channels."""
        return _native_inputs(self._options(), heat, channels, (0, 0, 0, 0), (0, 0))

    def people(
        self, keypoints: FloatArray, scores: FloatArray, map_wh: tuple[int, int], input_wh: tuple[int, int]
    ) -> Decoded:
        """The people whose keypoints (N, K, 3) are in decoded pixels of maps of map_wh; they are overwritten."""
        to_input(keypoints, (map_wh[0] * self.upsample, map_wh[1] * self.upsample), input_wh, self.grid)
        return Decoded(keypoints, scores)
