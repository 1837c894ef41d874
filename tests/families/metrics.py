"""Goldens of PCK, PCKh, PDJ, PCP and COCO's figures, in the folder `losses`. Needs pycocotools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from goldens import Case
from pose_calibration import keypoint_metrics as metrics
from pose_calibration.accuracy import coco_evaluation
from pose_runtime.skeletons import SKELETONS

EXACT = 1e-9  # of points, 0 to 100

LIMBS = {"head(neck-top)": "head", "torso(mid-hip to mid-shoulder)": "torso"}
GROUPS = {"Sho": "shoulder", "Elb": "elbow", "Wri": "wrist", "Ank": "ankle"}


def worst(got, want) -> float:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.abs(got - want).max(initial=0)) if got.shape == want.shape else float("inf")


def arrays(root: Path, name: str) -> dict[str, np.ndarray]:
    path = root / "losses" / f"metric_{name}.npz"
    if not path.exists():
        return {}
    with np.load(path) as data:
        return {key: data[key] for key in data.files}


def within(short: str) -> metrics.Within:
    return "<" if short == "lt" else "<="


def grouped(per_joint, names: tuple[str, ...], groups) -> list[float]:
    """Per group the mean of its joints; `Head` is the joint that the data set calls so."""
    index = {}
    for group in map(str, groups):
        word = GROUPS.get(group, group.lower())
        top = [i for i, name in enumerate(names) if name in ("head", "head_top")]
        index[group] = top if group == "Head" else [i for i, name in enumerate(names) if name.endswith(word)]
    return list(metrics.by_group(per_joint, index).values())


def lsp(root: Path) -> Iterator[Case]:
    """PCK by the torso with both comparisons, the PDJ curve, both rules of PCP."""
    data = arrays(root, "lsp")
    if not data:
        return
    names = SKELETONS["lsp14"].names
    truth, found, everything = data["gt"], data["pred"], np.ones(data["vis"].shape, bool)
    torso = metrics.torso_sizes(truth, names)
    yield Case("torso", worst(torso, data["torso"]), EXACT)
    relative = metrics.normalised(metrics.distances(truth, found), data["torso"])
    for which, counted in (("all", everything), ("vis", data["vis"] > 0)):
        for short in ("le", "lt"):
            got = metrics.pck(relative, counted, threshold=0.2, within=within(short))
            for key, value in (("perjoint", got.per_joint), ("mean", got.mean), ("pooled", got.pooled)):
                name = f"pck02_{which}_{short}_{key}"
                yield Case(name, worst(value, 100 * data[name]), EXACT)
    curve = metrics.pdj(relative, everything, within="<=")
    yield Case("pdj", worst(curve, 100 * data["pdj"]), EXACT)
    yield Case("pdj_thr", worst(metrics.PDJ_THRESHOLDS, data["pdj_thr"]), EXACT)
    ends = metrics.limb_ends(names)
    order = [str(limb) for limb in data["limb_order"]]
    limbs = [ends[LIMBS.get(n, n.replace("R ", "right ").replace("L ", "left "))] for n in order]
    for rule, key in (("both", "pcp_strict"), ("mean", "pcp_meanerr")):
        yield Case(key, worst(metrics.pcp(truth, found, everything, limbs, rule=rule), 100 * data[key]), EXACT)


def mpii(root: Path) -> Iterator[Case]:
    """PCKh with both comparisons at both thresholds, the head's size, groups and both means without trunk."""
    data = arrays(root, "mpii")
    if not data:
        return
    names = SKELETONS["mpii16"].names
    boxes = data["headbox"].transpose(2, 0, 1).reshape(-1, 4)
    yield Case("head_size", worst(metrics.head_sizes(boxes), data["head_size"]), EXACT)
    relative = metrics.normalised(metrics.distances(data["gt"], data["pred"]), data["head_size"])
    counted = data["missing"] == 0
    no_trunk = counted & ~np.isin(names, ("pelvis", "thorax"))
    for threshold in (0.5, 0.1):
        for short in ("le", "lt"):
            rule = {"threshold": threshold, "within": within(short)}
            joints, limbs = metrics.pck(relative, counted, **rule), metrics.pck(relative, no_trunk, **rule)
            got = {
                "perjoint": joints.per_joint,
                "groups": grouped(joints.per_joint, names, data["group_names"]),
                "mean14_unweighted": limbs.mean,
                "mean_weighted": limbs.pooled,
            }
            for key, value in got.items():
                yield Case(f"{threshold} {short} {key}", worst(value, data[f"pckh{threshold}_{short}_{key}"]), EXACT)


def jhmdb(root: Path) -> Iterator[Case]:
    """PCK by the box and by the torso, below the threshold."""
    data = arrays(root, "jhmdb")
    if not data:
        return
    names = SKELETONS["jhmdb15"].names
    torso = metrics.torso_sizes(data["gt"], names)
    yield Case("torso", worst(torso, data["torso"]), EXACT)
    lengths = {"bbox": data["bbox_wh"].max(axis=1), "torso": data["torso"]}
    for row, (key, length) in enumerate(lengths.items()):
        relative = metrics.normalised(metrics.distances(data["gt"], data["pred"]), length)
        got = metrics.pck(relative, data["vis"] > 0, threshold=0.2, within="<")
        yield Case(f"{key}_perjoint", worst(got.per_joint, 100 * data[f"{key}_perjoint"]), EXACT)
        yield Case(f"{key}_mean", worst(got.mean, 100 * data[f"{key}_mean"]), EXACT)
        groups = grouped(got.per_joint, names, ("Head", "Sho", "Elb", "Wri", "Hip", "Knee", "Ank"))
        yield Case(f"{key} groups", worst(groups, 100 * data["groups"][row]), EXACT)


def flic(root: Path) -> Iterator[Case]:
    """PCK by the torso of the truth; elbows and wrists as the field reports them."""
    data = arrays(root, "flic")
    if not data:
        return
    names = SKELETONS["flic11"].names
    torso = metrics.torso_sizes(data["gt"], names)
    yield Case("torso", worst(torso, data["torso"]), EXACT)
    relative = metrics.normalised(metrics.distances(data["gt"], data["pred"]), torso)
    got = metrics.pck(relative, np.ones(relative.shape, bool), threshold=0.2, within="<=")
    yield Case("perjoint", worst(got.per_joint, 100 * data["perjoint"]), EXACT)
    for joint in ("elbow", "wrist"):
        pair = [i for i, name in enumerate(names) if name.endswith(joint)]
        yield Case(joint, worst(metrics.by_group(got.per_joint, {joint: pair})[joint], 100 * data[joint]), EXACT)


def coco(root: Path) -> Iterator[Case]:
    """The ten figures, the precision curves, the largest recalls."""
    folder = root / "losses"
    if not (folder / "coco_expected.json").exists():
        return
    expected = json.loads((folder / "coco_expected.json").read_text())
    got = coco_evaluation(folder / "coco_gt.json", json.loads((folder / "coco_dt.json").read_text()))
    figures = [getattr(got.figures, name) for name in got.figures.__slots__]
    yield Case("stats", worst(figures, 100 * np.array(expected["stats"])), EXACT)
    yield Case("precision", worst(got.precision, expected["precision_all"]), 1e-9)
    yield Case("recall", worst(got.recall, expected["recall_all"]), 1e-9)


FAMILIES = {"losses/lsp": lsp, "losses/mpii": mpii, "losses/jhmdb": jhmdb, "losses/flic": flic, "losses/coco": coco}
