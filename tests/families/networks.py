"""Goldens of the networks: state-dict listings and outputs with reproducible weights, in folders such as `hrnet/`.

A folder has `NAME_state_dict.json` (ordered names and shapes), `NAME_io.npz` (inputs, outputs, probes of inner
modules) and `fill_weights.py`, which gives every parameter its value from name and shape. The architecture is read
from NAME, its width and joints from the shapes; other architectures are left to their own families.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from goldens import Case
from pose_export.checkpoints import convert_names, fit
from pose_export.networks.higherhrnet import HigherHRNet
from pose_export.networks.hrnet import HRNet

Shapes = list[tuple[str, list[int]]]
TOLERANCE = 2e-4


def hrnet_networks(root: Path) -> Iterator[Case]:
    """All listings and their inputs and outputs in the folder `hrnet`."""
    folder = root / "hrnet"
    for listing in sorted(folder.glob("*_state_dict.json")):
        name = listing.name.removesuffix("_state_dict.json")
        build = architecture(name)
        if build is None:
            continue
        shapes: Shapes = json.loads(listing.read_text())
        network = build(dict(shapes)).eval()
        yield Case(f"{name} names", names_differ(shapes, network), 0)
        fixture = folder / f"{name}_io.npz"
        if fixture.exists():
            value = load_module(folder / "fill_weights.py").value
            names = convert_names(dict(shapes), network.state_dict())  # values belong to the authors' names
            weights = {key: torch.from_numpy(np.asarray(value(names[key], shape))) for key, shape in shapes}
            network.load_state_dict(fit(weights, network.state_dict()))
            with np.load(fixture) as arrays, torch.inference_mode():
                yield from compare(name, network, dict(arrays))


def architecture(name: str) -> Callable[[dict[str, list[int]]], nn.Module] | None:
    """How to build the network called `name` from the shapes of its state dict, or None where it is not ours."""
    if name.startswith("pose_higher_hrnet"):
        return lambda shapes: HigherHRNet(**sizes(shapes, "final_layers.1.weight"))
    if name.startswith("pose_hrnet"):
        return lambda shapes: HRNet(**sizes(shapes, "final_layer.weight"))
    return None


def sizes(shapes: dict[str, list[int]], head: str) -> dict[str, int]:
    """Joints and width from the last convolution's (joints, width, 1, 1), whatever prefix it has."""
    joints, width = next(shape[:2] for name, shape in shapes.items() if re.search(rf"(^|\.){re.escape(head)}$", name))
    return {"joints": joints, "width": width}


def names_differ(shapes: Shapes, network: nn.Module) -> float:
    """0 where the converted names, their shapes and their order are the network's own, inf otherwise."""
    own = [(key, list(tensor.shape)) for key, tensor in network.state_dict().items()]
    names = convert_names([name for name, _ in shapes], [name for name, _ in own])
    return 0.0 if [(names[name], list(shape)) for name, shape in shapes] == own else float("inf")


def compare(name: str, network: nn.Module, arrays: dict[str, np.ndarray]) -> Iterator[Case]:
    """Outputs for every `input{i}`, and the probes, which belong to input0."""
    probes = [key for key in arrays if key.startswith("probe|")]
    seen: dict[str, list[Tensor]] = {}
    modules = dict(network.named_modules())
    for module in {key.split("|")[1].rpartition(":")[0] for key in probes}:
        modules[module].register_forward_hook(lambda _m, _i, out, at=module: keep(seen, at, out))
    inputs = sorted((key for key in arrays if re.fullmatch(r"input\d+", key)), key=lambda key: int(key[5:]))
    for key in inputs:
        outputs = tensors(network(torch.from_numpy(arrays[key])))
        wanted = sorted(other for other in arrays if other.startswith(f"output{key[5:]}_"))
        found = {f"output{key[5:]}_{k}": output.numpy() for k, output in enumerate(outputs)}
        for output in wanted:
            yield Case(f"{name} {output}", difference(found.get(output), arrays[output]), TOLERANCE)
        if len(found) != len(wanted):
            yield Case(f"{name} {key} outputs", float("inf"), 0)
    for key in probes:
        module, _, branch = key.split("|")[1].rpartition(":")
        yield Case(f"{name} {key}", probe(seen[module], int(branch), key.split("|")[2], arrays[key]), TOLERANCE)


def keep(seen: dict[str, list[Tensor]], module: str, output: Tensor | list[Tensor]) -> None:
    """Remember a module's first outputs; nothing is returned, for what a hook returns replaces them."""
    seen.setdefault(module, tensors(output))


def tensors(output: Tensor | list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    """A module's outputs as copies, since later layers may work in place."""
    return [output.clone()] if isinstance(output, Tensor) else [tensor.clone() for tensor in output]


def probe(outputs: list[Tensor], branch: int, shape: str, wanted: np.ndarray) -> float:
    """Difference of mean, standard deviation and the first values, or inf where the shape is another."""
    if branch >= len(outputs) or "x".join(map(str, outputs[branch].shape)) != shape:
        return float("inf")
    values = outputs[branch].numpy().astype(np.float64)
    return difference(np.array([values.mean(), values.std(), *values.ravel()[: len(wanted) - 2]]), wanted)


def difference(got: np.ndarray | None, wanted: np.ndarray) -> float:
    """Largest absolute difference, inf where there is nothing of that shape."""
    return float("inf") if got is None or got.shape != wanted.shape else float(np.abs(got - wanted).max(initial=0))


def load_module(path: Path) -> ModuleType:
    """A Python file as a module, without leaving it in sys.modules."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = {"hrnet/networks": hrnet_networks}
