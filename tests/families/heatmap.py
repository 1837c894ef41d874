"""Goldens of single-keypoint decoding: `hrnet/topdown_decode.npz` and `losses/decode.npz`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case, Family, load_script
from pose_runtime.decode import heatmap, merge_flipped


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference where `wanted` is a number."""
    known = ~np.isnan(wanted)
    return float(np.abs(got[known] - wanted[known]).max(initial=0)) if got.shape == wanted.shape else np.inf


def _to_image(xy: np.ndarray, map_wh: tuple[int, int], center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """HRNet's way back: one factor for both axes, from the width (`hrnet.md` section 5)."""
    factor = 200 * scale[:, :1, None] / map_wh[0]
    return (xy - np.array(map_wh) / 2) * factor + center[:, None]


def topdown(root: Path) -> Iterator[Case]:
    """Argmax, quarter, DARK and UDP in map pixels (1e-5; 1e-3 for DARK, UDP) and image pixels (1e-2)."""
    path = root / "hrnet" / "topdown_decode.npz"
    if not path.exists():
        return
    golden = np.load(path)
    generator = load_script(root / "hrnet" / "gen_topdown_cases.py")
    for i, options in enumerate(json.loads(str(golden["cases"]))):
        maps, center, scale = generator.make_case(**options)
        name = f"case{i:02d}"
        assert generator.digest(maps, center, scale) == options["sha256"], f"{name}: generator differs"
        height, width = maps.shape[2:]
        found = {
            "plain": heatmap(maps),
            "quarter": heatmap(maps, refine="quarter"),
            "dark": heatmap(maps, refine="dark", kernel=options["kernel"]),
            "mmudp": heatmap(maps, refine="udp", kernel=options["kernel"]),
            "dark11": heatmap(maps, refine="dark", kernel=11),
        }
        dead = found["plain"][..., 2] == 0
        maxvals = np.where(golden[f"{name}_maxvals"] > 0, golden[f"{name}_maxvals"], 0)[..., 0]
        yield Case(f"{name} maxvals", _difference(found["plain"][..., 2], maxvals), 0)
        for kind, points in found.items():
            xy = points[..., :2].astype(float)
            if kind != "mmudp":
                xy[dead] = 0  # the authors put a joint without a positive value at the origin
            if f"{name}_{kind}_hm" in golden:
                tolerance = 1e-3 if kind in ("dark", "mmudp", "dark11") else 1e-5
                wanted = golden[f"{name}_{kind}_hm"].astype(float)
                if kind == "mmudp":
                    wanted[dead] = np.nan
                yield Case(f"{name} {kind}", _difference(xy, wanted), tolerance)
            if f"{name}_{kind}_preds" in golden:
                wanted = golden[f"{name}_{kind}_preds"].astype(float)
                if kind == "mmudp":
                    wanted[dead] = np.nan
                yield Case(
                    f"{name} {kind} image", _difference(_back(kind, xy, width, height, center, scale), wanted), 1e-2
                )


def _back(kind: str, xy: np.ndarray, width: int, height: int, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if kind in ("plain", "quarter"):
        return _to_image(xy, (width, height), center, scale)
    if kind == "mmudp":
        span = 200 * scale[:, None]
        return xy * span / np.array([width - 1, height - 1]) + center[:, None] - span / 2
    factor = (200 * scale[:, :1, None] - 1) / (width - 1)
    return (xy - np.array([width - 1, height - 1]) / 2) * factor + center[:, None]


def single_person(root: Path) -> Iterator[Case]:
    """Both quarter rules, DARK, the second-maximum rule, and the flip test."""
    path = root / "losses" / "decode.npz"
    if not path.exists():
        return
    golden = np.load(path)
    maps = golden["heatmaps"]
    alive = maps.max(axis=(2, 3)) > 0
    low = heatmap(maps, refine="quarter_low").astype(float)
    low[..., :2] += 0.5
    yield Case("psh quarter", _difference(low[alive], golden["hg_xyv"][alive]), 1e-6)
    sign = heatmap(maps, refine="quarter").astype(float)
    lua = sign + np.array([1.5, 1.5, 0])  # one-based, then half a pixel
    yield Case("lua quarter", _difference(lua[alive], golden["lua_xyv_1based"][alive]), 1e-6)

    center, scale = golden["center"], np.repeat(golden["scale"][:, None], 2, axis=1)
    map_wh = (maps.shape[3], maps.shape[2])
    psh = np.trunc(_to_image(low[..., :2], map_wh, center, scale))
    yield Case("psh image", _difference(psh[alive], golden["psh_final_xyv"][..., :2][alive]), 0)
    bp = np.trunc(_to_image(lua[..., :2] - 1, map_wh, center, scale)) + 1
    yield Case("bp image", _difference(bp[alive], golden["bp_final_xy"][alive]), 0)

    dark = heatmap(maps, refine="dark", kernel=11).astype(float)
    yield Case("dark", _difference(dark[alive][:, :2], golden["dark11_official_xy"][alive].astype(float)), 1e-4)
    for i in range(len(maps)):
        if f"mm_quarter_{i}" not in golden:
            continue
        here = alive[i]
        axis = heatmap(maps, refine="quarter_axis").astype(float)
        yield Case(
            f"mmpose quarter {i}", _difference(axis[i, here, :2], golden[f"mm_quarter_{i}"][here].astype(float)), 1e-6
        )
        yield Case(
            f"mmpose dark {i}", _difference(dark[i, here, :2], golden[f"mm_dark11_{i}"][here].astype(float)), 1e-4
        )
    second = heatmap(maps, refine="second_max").astype(float)
    yield Case("second maximum", _difference(second[alive], golden["standard_second_max_xyv"][alive]), 1e-5)

    flips = _flip_order(golden["flip_a"], golden["flip_b"], golden["flip_merged"])
    merged = np.minimum(merge_flipped(golden["flip_a"], golden["flip_b"], flips), 1)
    yield Case("flip merged", _difference(merged, golden["flip_merged"]), 1e-6)
    low = heatmap(merged[None], refine="quarter_low").astype(float)[0]
    low[:, :2] += 0.5
    yield Case("flip decoded", _difference(low, golden["flip_xyv"]), 1e-6)


def _flip_order(a: np.ndarray, b: np.ndarray, merged: np.ndarray) -> list[int]:
    """The MPII order; other joint counts find theirs by the best match."""
    if len(a) == 16:
        return [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]
    mirrored = np.minimum((a[:, None] + b[None, :, :, ::-1]) / 2, 1)
    return [int(np.abs(mirrored[k] - merged[k]).mean(axis=(1, 2)).argmin()) for k in range(len(a))]


FAMILIES: dict[str, Family] = {"hrnet/topdown": topdown, "losses/decode": single_person}
