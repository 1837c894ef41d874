"""Goldens of associative embedding: `hrnet/ae_*.npz` and `losses/ae_group.npz`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from definitions import embedding as definition
from goldens import Case, Family
from pose_runtime.decode import COCO_ORDER, Embedded, Pass, aggregate, embedding

COCO_FLIP = [(i, i + 1) for i in range(1, 16, 2)]
CROWDPOSE_FLIP = [(i, i + 1) for i in range(0, 12, 2)]
PEOPLE_TOLERANCE = 1e-5
AGGREGATE_TOLERANCE = 1e-6


def difference(found: Any, wanted: Any) -> float:
    """Largest absolute difference; inf where the shapes differ."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found.astype(float) - wanted).max()) if wanted.size else 0.0


def rows(people: Embedded) -> Any:
    """Rows x, y, score, tags as the authors have them: zeros where a keypoint is missing."""
    return np.concatenate([np.nan_to_num(people.keypoints, nan=0.0), people.tags], axis=-1)


def load_generator(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


def options(case: dict[str, Any]) -> dict[str, Any]:
    """Decoder settings of a case of ae_decode, the README's defaults where absent."""
    kernel = case.get("nms_kernel", 5)
    if case.get("nms_padding", kernel // 2) != kernel // 2:
        raise ValueError("a padding other than half the kernel changes the maps' size")
    return {
        "nms": kernel,
        "threshold": case.get("det_thr", 0.1),
        "tag_threshold": case.get("tag_thr", 1.0),
        "use_detection_val": case.get("use_detection_val", True),
        "ignore_too_much": case.get("ignore_too_much", False),
        "max_people": case.get("max_people", 30),
        "joint_order": [joint for joint in COCO_ORDER if joint < case.get("J", 17)],
    }


def decode_cases(path: Path) -> Iterator[Case]:
    if not path.is_file():
        return
    generator = load_generator(path.parent / "gen_ae_cases.py")
    with np.load(path) as golden:
        for number, case in enumerate(json.loads(str(golden["cases"]))):
            det, tag = generator.make_case(**case)
            same = "sha256" not in case or generator.digest(det, tag) == case["sha256"]
            yield Case(f"{path.stem} {number} input", 0.0 if same else float("inf"), 0.0)
            for key in golden.files:
                named = re.fullmatch(rf"case0*{number}_a([01])r([01])_poses", key)
                if not named:
                    continue
                adjust, refine = named[1] == "1", named[2] == "1"
                people = embedding(det[0], tag[0], adjust=adjust, refine=refine, **options(case))
                yield Case(key, difference(rows(people), golden[key]), PEOPLE_TOLERANCE)
                scores = key[: key.index("_")] + "_scores"
                if scores in golden.files:
                    yield Case(f"{key} scores", difference(people.scores, golden[scores]), PEOPLE_TOLERANCE)


def ae_decode(root: Path) -> Iterator[Case]:
    yield from decode_cases(root / "hrnet" / "ae_decode.npz")


def ae_decode_ties(root: Path) -> Iterator[Case]:
    yield from decode_cases(root / "hrnet" / "ae_decode_ties.npz")


def network_outputs(seed: int, joints: int, height: int, width: int) -> list[Any]:
    random = np.random.default_rng(seed)
    coarse = random.random((1, 2 * joints, height, width)).astype(np.float32)
    fine = random.random((1, joints, 2 * height, 2 * width)).astype(np.float32)
    return [coarse[0], fine[0]]


def ae_aggregate(root: Path) -> Iterator[Case]:
    path = root / "hrnet" / "ae_aggregate.npz"
    if not path.is_file():
        return
    with np.load(path) as golden:
        for number, case in enumerate(json.loads(str(golden["cases"]))):
            joints = case["J"]
            passes = [
                Pass(
                    one["scale"],
                    network_outputs(one["seed"], joints, one["h"], one["w"]),
                    network_outputs(one["seed_flipped"], joints, one["h"], one["w"]) if case["flip"] else None,
                )
                for one in case["outputs"]
            ]
            size = tuple(case["base_size_wh"]) if case["project2image"] else None
            flip = COCO_FLIP if joints == 17 else CROWDPOSE_FLIP
            heat, tags = aggregate(passes, flip_pairs=flip, size_wh=size)
            for name, found in (("heatmaps", heat), ("tags", tags)):
                key = f"case{number}_{name}"
                yield Case(key, difference(found[None], golden[key]), AGGREGATE_TOLERANCE)


def scipy_solver(cost: Any) -> list[tuple[int, int]]:
    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def other_optimum(people: Embedded, wanted: Any, scores: Any, arguments: Any, settings: dict[str, Any]) -> float:
    """Where several people round to the same distance the optimum is not unique, and these goldens hold SciPy's choice.

    Ours is right if it is what the definition gives with Munkres, and what is wanted is the definition with SciPy.
    """
    order = COCO_ORDER if len(arguments[0]) == 17 else range(len(arguments[0]))
    ours = definition.embedding(*arguments, joint_order=order, **settings)
    theirs = definition.embedding(*arguments, joint_order=order, solver=scipy_solver, **settings)
    return max(
        difference(rows(people), rows(Embedded(*ours))),
        difference(people.scores, ours[2]),
        difference(rows(Embedded(*theirs)), wanted),
        difference(theirs[2], scores),
    )


def ae_group(root: Path) -> Iterator[Case]:
    """The associative-embedding code; `refined_fixed` is its refinement without the wrong clamp of the row."""
    path = root / "losses" / "ae_group.npz"
    if not path.is_file():
        return
    with np.load(path) as golden:
        for name in sorted(key[: -len("_det")] for key in golden.files if key.endswith("_det")):
            stages = {"matched": (False, False), "adjusted": (True, False), "refined_fixed": (True, True)}
            for stage, (adjust, refine) in stages.items():
                if f"{name}_{stage}" not in golden.files:
                    continue
                arguments = golden[f"{name}_det"], golden[f"{name}_tag"]
                settings: dict[str, Any] = {
                    "nms": 3,
                    "threshold": float(golden[f"{name}_thr"]),
                    "ignore_too_much": True,
                    "distance": "rms",
                    "adjust": adjust,
                    "refine": refine,
                    "refined_score": "one",
                }
                people = embedding(*arguments, **settings)
                wanted, scores = golden[f"{name}_{stage}"], golden[f"{name}_scores"]
                # Nobody found is stored as an empty array of one dimension.
                gap = float(len(people.scores)) if wanted.size == 0 else difference(rows(people), wanted)
                gap = max(gap, difference(people.scores, scores))
                if gap > PEOPLE_TOLERANCE and wanted.size:
                    gap = other_optimum(people, wanted, scores, arguments, settings)
                yield Case(f"{name}_{stage}", gap, PEOPLE_TOLERANCE)


FAMILIES: dict[str, Family] = {
    "hrnet/ae_decode": ae_decode,
    "hrnet/ae_decode_ties": ae_decode_ties,
    "hrnet/ae_aggregate": ae_aggregate,
    "losses/ae_group": ae_group,
}
