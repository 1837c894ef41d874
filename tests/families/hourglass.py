"""Hourglasses: state-dict listings, and outputs with reproducible weights, in the folder `hourglass`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from families.networks import keep, load_module, names_differ
from goldens import Case
from pose_export.checkpoints import convert_names, fit
from pose_export.networks import Names
from pose_export.networks.entries.hourglass import DEAD
from pose_export.networks.hourglass import EmbeddingHourglass, FlatStackedHourglass, StackedHourglass

TOLERANCE = 2e-5  # of the output's largest value, as the folder's page says
_HOW = Names(ignored=(DEAD,))


def build(variant: str) -> nn.Module:
    """The network called so."""
    match = re.search(r"_s(\d+)", variant)
    assert match
    stacks = int(match[1])
    if variant.startswith("psh"):
        return StackedHourglass(stacks=stacks, joints=16).eval()
    if variant.startswith("bp_hg"):
        return FlatStackedHourglass(stacks=stacks, joints=16).eval()
    return EmbeddingHourglass(stacks=stacks).eval()


def hourglass_networks(root: Path) -> Iterator[Case]:
    """Every listing, and every fixture with its probes."""
    folder = root / "hourglass"
    for path in sorted((folder / "state_dicts").glob("*.json")):
        if path.stem == "summary":
            continue
        listing = json.loads(path.read_text())
        network = build(path.stem)
        yield Case(f"{path.stem} names", _names(listing["state_dict"], network), 0)
        parameters = sum(tensor.numel() for tensor in network.parameters())
        yield Case(f"{path.stem} parameters", abs(parameters - listing["params_used_in_forward"]), 0)
    meta = folder / "fixtures" / "meta.json"
    if meta.exists():
        fill = load_module(folder / "fill_weights.py").fill
        for case in json.loads(meta.read_text()):
            yield from _fixture(folder, case, fill)


def _names(listing: list[tuple[str, list[int]]], network: nn.Module) -> float:
    kept = convert_names([name for name, _ in listing], network.state_dict(), _HOW)
    shapes = sorted((name, shape) for name, shape in listing if name in kept)
    own = sorted(network.state_dict())
    return names_differ(shapes, _Ordered(network)) if [name for name, _ in shapes] == own else float("inf")


class _Ordered(nn.Module):
    """A network whose state dict is in the order of names: the authors' order is that of their constructor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._state = dict(sorted(network.state_dict().items()))

    def state_dict(self, *_: object, **__: object) -> dict[str, Tensor]:  # type: ignore[override]
        """Sorted."""
        return self._state


def _fixture(folder: Path, case: dict, fill: object) -> Iterator[Case]:
    name = Path(case["file"]).stem
    with np.load(folder / "fixtures" / case["file"]) as arrays:
        data = dict(arrays)
    network = build(case["variant"])
    listing = json.loads((folder / "state_dicts" / f"{case['variant']}.json").read_text())["state_dict"]
    weights = {key: torch.from_numpy(np.asarray(fill(key, shape, case["gain"]))) for key, shape in listing}  # type: ignore[operator]
    network.load_state_dict(fit(weights, network.state_dict(), _HOW))
    seen: dict[str, list[Tensor]] = {}
    modules = dict(network.named_modules())
    probes = [key for key in data if key.startswith("probe:")]
    for key in probes:
        at = key.removeprefix("probe:")
        modules[at].register_forward_hook(lambda _m, _i, out, at=at: keep(seen, at, out))
    image = data["input"].astype(np.float32) / (255 if data["input"].dtype == np.uint8 else 1)
    with torch.inference_mode():
        found = network(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2))))
    yield Case(f"{name} output", _relative(torch.stack(found, 1).numpy(), data["output"]), TOLERANCE)
    for key in probes:
        got = seen[key.removeprefix("probe:")][0].numpy()[:, :8]
        yield Case(f"{name} {key}", _relative(got, data[key]), TOLERANCE)


def _relative(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


FAMILIES = {"hourglass/networks": hourglass_networks}
