"""Networks with part affinity fields: listings, layers, and outputs with reproducible weights, in the folder `paf`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from families.networks import keep, load_module
from goldens import Case
from pose_export.checkpoints import convert_names, fit
from pose_export.networks import Names
from pose_export.networks.entries.openpose import FLAT
from pose_export.networks.entries.trt_pose import CLASSIFIER
from pose_export.networks.lightweight import LightweightOpenPose
from pose_export.networks.openpose import OpenPose, OpenPoseBody25
from pose_export.networks.trt_pose import TrtPose

TOLERANCE = 1e-4  # of the output's largest value, as the folder's page says
_HOW = Names(ignored=(CLASSIFIER,))


def networks() -> dict[str, nn.Module]:
    """By the beginning of their files' names."""
    return {
        "lightweight_openpose_3stages": LightweightOpenPose(refinements=3),
        "lightweight_openpose": LightweightOpenPose(refinements=1),
        "pytorch_openpose_body": OpenPose(heatmaps=19, pafs=38, relu_last=True),
        "trt_pose_resnet18_baseline_att": TrtPose(backbone="resnet"),
        "trt_pose_densenet121_baseline_att": TrtPose(backbone="densenet"),
    }


def released() -> dict[str, nn.Module]:
    """By the beginning of their files' names: those of which layers are listed, as Caffe has them."""
    return {
        "openpose_coco18": OpenPose(heatmaps=19, pafs=38),
        "openpose_mpi15": OpenPose(heatmaps=16, pafs=28),
        "openpose_mpi15_4stages": OpenPose(heatmaps=16, pafs=28, stages=4),
        "openpose_body25": OpenPoseBody25(),
    }


def paf_networks(root: Path) -> Iterator[Case]:
    """Every listing, and every fixture with its inner outputs."""
    folder = root / "paf"
    if not (folder / "fill_weights.py").exists():
        return
    fill = load_module(folder / "fill_weights.py").fill
    for name, network in networks().items():
        listing = json.loads((folder / f"{name}_state_dict.json").read_text())
        yield Case(f"{name} names", _names(listing, network), 0)
        network.load_state_dict(_filled(fill, listing, network))
        for path in sorted(folder.glob(f"{name}_io_*.npz")):
            yield from _fixture(path, network.eval())
    for name, network in released().items():
        listing = json.loads((folder / f"{name}_layers.json").read_text())
        yield Case(f"{name} layers", _layers(listing, network), 0)
    flat = json.loads((folder / "pytorch_openpose_body_checkpoint_names.json").read_text())
    yield Case("pytorch_openpose_body flat names", _names(flat, networks()["pytorch_openpose_body"]), 0)


def _filled(fill: object, listing: list, network: nn.Module) -> dict[str, Tensor]:
    weights = {name: torch.from_numpy(np.asarray(value)) for name, value in fill(listing).items()}  # type: ignore[operator]
    return fit(weights, network.state_dict(), _HOW)


def _names(listing: list, network: nn.Module) -> float:
    """0 where the listed tensors, freed of what nothing needs, are the network's."""
    own = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    how = Names(ignored=(CLASSIFIER,), renamed=FLAT if listing[0][0].startswith("conv") else ())
    names = convert_names([name for name, _ in listing], own, how)
    return 0.0 if {names[name]: list(shape) for name, shape in listing if name in names} == own else float("inf")


def _layers(listing: dict, network: nn.Module) -> float:
    """0 where the listed layers' parameters, by their own names, are the network's."""
    shapes = listing["param_shapes"]
    wanted = {
        name.replace(".slope", ".weight"): list(shape)
        for name, shape in (shapes.items() if isinstance(shapes, dict) else shapes)
    }
    own = {".".join(name.split(".")[-2:]): list(tensor.shape) for name, tensor in network.state_dict().items()}
    return 0.0 if wanted == own else float("inf")


def _fixture(path: Path, network: nn.Module) -> Iterator[Case]:
    with np.load(path) as arrays:
        data = dict(arrays)
    seen: dict[str, list[Tensor]] = {}
    inner = {"cpm": "cpm", "backbone": "0", "features": "model0", "stage1_L1": "model1_1", "stage1_L2": "model1_2"}
    modules = dict(network.named_modules())
    for key in inner.keys() & data.keys():
        modules[inner[key]].register_forward_hook(lambda _m, _i, out, key=key: keep(seen, key, out))
    if "backbone_sample" in data:
        modules["model"].register_forward_hook(
            lambda _m, _i, out: keep(seen, "backbone_sample", out[:, :: out.shape[1] // 8])
        )
    with torch.inference_mode():
        outputs = network(torch.from_numpy(data["input"]))
    found = {key: tensors[-1].numpy() for key, tensors in seen.items()}
    found |= dict(zip(_output_names(data, len(outputs)), (output.numpy() for output in outputs), strict=True))
    for key in sorted(data.keys() - {"input"}):
        yield Case(f"{path.stem} {key}", _relative(found.get(key), data[key]), TOLERANCE)


def _output_names(data: dict[str, np.ndarray], count: int) -> list[str]:
    if "cmap" in data:
        return ["cmap", "paf"]
    if "features" in data:
        return ["stage6_L2_heatmaps", "stage6_L1_pafs"]
    return [f"stage{i // 2}_{'pafs' if i % 2 else 'heatmaps'}" for i in range(count)]


def _relative(got: np.ndarray | None, wanted: np.ndarray) -> float:
    if got is None or got.shape != wanted.shape:
        return float("inf")
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


FAMILIES = {"paf/networks": paf_networks}
